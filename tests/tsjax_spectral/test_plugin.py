"""What tsjax-spectral registers."""

from __future__ import annotations

from tsjax_core.testing import PluginConformance


class TestPlugin(PluginConformance):
    namespace = "spectral"
    offers = {
        "model": {"front_end"},
        "loss": {"magnitude", "complex"},
        "transform": {"spectrogram"},
        "plot": {"spectrogram", "frequency_response", "best_linear_approximation"},
    }
    not_imported = ("matplotlib", "tsjax_spectral.front_end", "tsjax_spectral.plots")
