"""What tsjax-tune registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "tune"
    offers = {"command": {"tune"}}
    # The arguments of a command are declared by Typer.
    not_imported = ("grain", "h5py", "matplotlib", "optuna", "orbax", "ray")
