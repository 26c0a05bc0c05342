"""What tsjax-pinn registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "pinn"
    offers = {
        "model": {"pirnn", "pinc", "ddpinn", "grey_box"},
        "loss": {
            "physics_loss",
            "collocation_loss",
            "surrogate_loss",
            "consistency",
            "balance_gradients",
        },
    }
