"""What tsjax-ar registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "ar"
    offers = {
        "model": {"ar", "fransys"},
        "loss": {
            "state_sync",
            "diagnosis_loss",
            "one_step_sync",
            "one_step_loss",
            "temporal_activation",
            "consistency",
            "transition_smoothness",
        },
    }
