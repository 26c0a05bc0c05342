"""Losses in the frequency domain: what a simulation does at each frequency, and when.

Both compare short-time spectra of prediction and target, of frames that lie within the record, in
units of the outputs' training standard deviation. A frame with a sample that was not measured does
not count. The value of an error that is white noise is its variance in these units, whatever the
window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.losses.measured import on_host, ratio
from tsjax_core.types import AnyArray, Array
from tsjax_spectral.fourier import Window, frames_of, log_power, make_window, power_of, stft


def spectral_magnitude(
    n_fft: int = 64,
    hop_length: int | None = None,
    window: Window = "hann",
    log: bool = False,
) -> Callable[..., Array]:
    """Mean squared difference of the magnitudes at each frequency, blind to the phase.

    Args:
        n_fft: Samples in a frame, at most as many as the shortest sequence has.
        hop_length: Samples from one frame to the next; half a frame unless given.
        window: hann, hamming or rectangular.
        log: Compare log10 of the power instead, so that weak frequencies count as strong ones.
    """
    _check(n_fft, hop_length, window)

    def magnitude(z: AnyArray) -> AnyArray:
        # A floor far above rounding, below which a spectrum is nothing.
        return log_power(power_of(z), 1e-6) if log else power_of(z, 1.0)

    def spectral_magnitude(
        pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray
    ) -> Array:
        """Mean squared difference of the magnitudes."""
        xp, first, second, counts = _spectra(pred, target, y_mean, y_std, n_fft, hop_length, window)
        return _mean(xp, xp.square(magnitude(first) - magnitude(second)), counts)

    return spectral_magnitude


def spectral_complex(
    n_fft: int = 64, hop_length: int | None = None, window: Window = "hann"
) -> Callable[..., Array]:
    """Mean squared magnitude of the difference at each frequency, phase included.

    Args:
        n_fft: Samples in a frame, at most as many as the shortest sequence has.
        hop_length: Samples from one frame to the next; half a frame unless given.
        window: hann, hamming or rectangular.
    """
    _check(n_fft, hop_length, window)

    def spectral_complex(
        pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray
    ) -> Array:
        """Mean squared magnitude of the difference."""
        xp, first, second, counts = _spectra(pred, target, y_mean, y_std, n_fft, hop_length, window)
        return _mean(xp, power_of(first - second), counts)

    return spectral_complex


def _check(n_fft: int, hop_length: int | None, window: Window) -> None:
    make_window(window, n_fft, n_fft)
    if hop_length is not None:
        whole_number("hop_length", hop_length, "samples", least=1)


def _spectra(
    pred: AnyArray,
    target: AnyArray,
    y_mean: AnyArray,
    y_std: AnyArray,
    n_fft: int,
    hop_length: int | None,
    window: Window,
) -> tuple[Any, AnyArray, AnyArray, Any]:
    """Return both spectra (batch, n_y, lines, frames), and the frames that count."""
    if on_host(pred, target):
        xp: Any = np
        pred, target = pred.astype(np.float64), target.astype(np.float64)
    else:
        xp = jnp
    measured = ~xp.isnan(target)
    hop = max(1, n_fft // 2) if hop_length is None else hop_length

    def spectrum(y: AnyArray) -> AnyArray:
        scaled = xp.where(measured, (y - y_mean) / y_std, 0.0)
        return stft(
            xp.swapaxes(scaled, 1, 2), n_fft, hop, window=window, center=False, normalized=True
        )

    first, second = spectrum(pred), spectrum(target)
    frames = frames_of(xp.swapaxes(measured, 1, 2), n_fft, hop)
    return xp, first, second, xp.all(frames, axis=-1)[:, :, None, :]


def _mean(xp: Any, values: AnyArray, counts: Any) -> Array:
    lines = values.shape[-2]
    mean: Array = ratio(xp, xp.sum(xp.where(counts, values, 0.0)), lines * xp.sum(counts))
    return mean
