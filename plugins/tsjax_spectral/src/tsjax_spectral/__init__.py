"""Spectral views of signals: transforms, losses, models on spectrograms, frequency responses."""

from tsjax_spectral.averaged import AveragedResponse, average_response
from tsjax_spectral.factory import SpectralLearner
from tsjax_spectral.fourier import log_power, spectrogram, stft
from tsjax_spectral.front_end import SpectralFrontEnd
from tsjax_spectral.losses import spectral_complex, spectral_magnitude
from tsjax_spectral.periods import find_period
from tsjax_spectral.plots import (
    plot_best_linear_approximation,
    plot_frequency_response,
    plot_response,
    plot_spectrogram,
)
from tsjax_spectral.response import FrequencyResponse, estimate_response
from tsjax_spectral.transform import add_spectrogram

__all__ = [
    "AveragedResponse",
    "FrequencyResponse",
    "SpectralFrontEnd",
    "SpectralLearner",
    "add_spectrogram",
    "average_response",
    "estimate_response",
    "find_period",
    "log_power",
    "plot_best_linear_approximation",
    "plot_frequency_response",
    "plot_response",
    "plot_spectrogram",
    "spectral_complex",
    "spectral_magnitude",
    "spectrogram",
    "stft",
]
