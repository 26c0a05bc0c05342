"""What tsjax-pinn registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "pinn"
    offers = {
        "model": {"pirnn"},
        "loss": {"physics_loss", "collocation_loss", "consistency"},
    }
