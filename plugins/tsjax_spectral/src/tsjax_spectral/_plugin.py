"""What the plugin `spectral` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import BatchTransform
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type]:
    """Return the models of `spectral`."""
    from tsjax_spectral.front_end import SpectralFrontEnd

    return {"front_end": SpectralFrontEnd}


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `spectral`."""
    from tsjax_spectral.losses import spectral_complex, spectral_magnitude

    return {"magnitude": spectral_magnitude, "complex": spectral_complex}


@hookimpl
def tsjax_transforms() -> Mapping[str, Callable[..., BatchTransform]]:
    """Return the transforms of `spectral`."""
    from tsjax_spectral.transform import add_spectrogram

    return {"spectrogram": add_spectrogram}


@hookimpl
def tsjax_plots() -> Mapping[str, Callable[..., Any]]:
    """Return the plots of `spectral`."""
    from tsjax_spectral import plots

    return {
        "best_linear_approximation": plots.plot_best_linear_approximation,
        "frequency_response": plots.plot_frequency_response,
        "spectrogram": plots.plot_spectrogram,
    }
