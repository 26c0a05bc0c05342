"""What tsjax-tbptt registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "tbptt"
    offers = {"model": {"rnn"}, "source": {"chunks"}}
