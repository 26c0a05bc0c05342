"""What tsjax-ss registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "ss"
    offers = {"model": {"lti", "neural", "wiener", "hammerstein", "wiener_hammerstein"}}
