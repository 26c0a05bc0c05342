"""The short-time Fourier transform of sequences, along the last axis.

It is that of `torch.stft`: frames of `n_fft` samples, `hop_length` apart, under a periodic window,
one-sided. Arrays of NumPy give arrays of NumPy, everything else arrays of jax.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from tsjax_core.checks import choice, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.losses.measured import on_host
from tsjax_core.types import AnyArray, HostArray

Window: TypeAlias = Literal["hann", "hamming", "rectangular"]

_COSINES: Final = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "rectangular": (1.0, 0.0)}

FLOOR: Final = 1e-10
"""Power that is added before a logarithm, which is finite at silence then."""


def make_window(window: Window, win_length: int, n_fft: int) -> HostArray:
    """Return a periodic window of `win_length` samples in the middle of `n_fft`, float64.

    Raises:
        ConfigError: It is longer than `n_fft`, or of an unknown kind.
    """
    choice("window", window, tuple(_COSINES))
    whole_number("n_fft", n_fft, "samples", least=2)
    whole_number("win_length", win_length, "samples", least=1)
    if win_length > n_fft:
        raise ConfigError(
            f"win_length = {win_length} is longer than the frame, n_fft = {n_fft}; give at most "
            "as many samples.",
            key="win_length",
        )
    mean, swing = _COSINES[window]
    values = mean - swing * np.cos(2.0 * np.pi * np.arange(win_length) / win_length)
    before = (n_fft - win_length) // 2
    return np.pad(values, (before, n_fft - win_length - before))


def frames_of(x: AnyArray, n_fft: int, hop_length: int) -> AnyArray:
    """Return the frames of `x` (..., time) that lie within it, (..., frames, n_fft)."""
    starts = np.arange(0, x.shape[-1] - n_fft + 1, hop_length)
    frames: AnyArray = x[..., starts[:, None] + np.arange(n_fft)]
    return frames


def stft(
    x: AnyArray,
    n_fft: int = 400,
    hop_length: int | None = None,
    *,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    normalized: bool = False,
) -> AnyArray:
    """Return the complex transform (..., n_fft // 2 + 1, frames) of `x` (..., time).

    Line k has the frequency k / (n_fft dt). Source: Allen and Rabiner, A unified approach to
    short-time Fourier analysis and synthesis (1977).

    Args:
        x: Real signals, each (time,) along the last axis.
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next; half the window unless given.
        win_length: Samples under the window, in the middle of the frame; `n_fft` unless given.
        window: hann, hamming or rectangular.
        center: Frame k has its middle at sample k `hop_length`, for which the signal is reflected
            at its ends, and there are 1 + time // hop_length of them. Otherwise frame k begins
            there, and all lie within the signal.
        normalized: Divide by the root of the sum of the window's squares, so that the mean power
            of white noise is its variance.

    Raises:
        ConfigError: An option is out of range, or the signal is too short for one frame.
    """
    win_length = n_fft if win_length is None else win_length
    weights = make_window(window, win_length, n_fft)
    hop = max(1, win_length // 2) if hop_length is None else hop_length
    whole_number("hop_length", hop, "samples", least=1)
    xp: Any = np if on_host(x) else jnp
    x = xp.asarray(x)
    length, least = x.shape[-1], n_fft // 2 + 1 if center else n_fft
    if length < least:
        raise ConfigError(
            f"a signal of {length} samples is too short for n_fft = {n_fft}"
            f"{' with reflected ends' if center else ''}, which takes {least}; give a smaller "
            "n_fft, or longer signals.",
            key="n_fft",
        )
    if center:
        ends = [(0, 0)] * (x.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        x = xp.pad(x, ends, mode="reflect")
    if normalized:
        weights = weights / np.sqrt(np.sum(np.square(weights)))
    frames = frames_of(x, n_fft, hop) * xp.asarray(weights, x.dtype)
    transform: AnyArray = xp.swapaxes(xp.fft.rfft(frames, axis=-1), -1, -2)
    return transform


def spectrogram(
    x: AnyArray,
    n_fft: int = 400,
    hop_length: int | None = None,
    *,
    power: float | None = 2.0,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    normalized: bool = False,
    pad: int = 0,
) -> AnyArray:
    """Return the spectrogram (..., n_fft // 2 + 1, frames) of `x` (..., time).

    Gradients are finite at silence too, where a magnitude has none.

    Args:
        x: Real signals, each (time,) along the last axis.
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next; half the window unless given.
        power: 2 for the power, 1 for the magnitude, any other exponent above 0 of the magnitude,
            and None for the complex transform itself.
        win_length: Samples under the window; `n_fft` unless given.
        window: hann, hamming or rectangular.
        center: Put the frames around their samples, as `stft` does.
        normalized: Divide by the root of the sum of the window's squares.
        pad: Zeros at either end, before all else.

    Raises:
        ConfigError: An option is out of range, or the signal is too short for one frame.
    """
    whole_number("pad", pad, "samples")
    if power is not None and not power > 0.0:
        raise ConfigError(f"power = {power!r}; give a number above 0, or None.", key="power")
    xp: Any = np if on_host(x) else jnp
    x = xp.pad(xp.asarray(x), [(0, 0)] * (x.ndim - 1) + [(pad, pad)])
    options: dict[str, Any] = {"win_length": win_length, "window": window}
    z = stft(x, n_fft, hop_length, **options, center=center, normalized=normalized)
    return z if power is None else power_of(z, power)


def power_of(z: AnyArray, power: float = 2.0) -> AnyArray:
    """Return |z|^power, whose derivative at 0 is 0."""
    xp: Any = np if on_host(z) else jnp
    square: AnyArray = xp.square(z.real) + xp.square(z.imag)
    if power == 2.0:
        return square
    zero = square == 0.0
    raised: AnyArray = xp.where(zero, 0.0, xp.where(zero, 1.0, square) ** (0.5 * power))
    return raised


def log_power(power: AnyArray, floor: float = FLOOR) -> AnyArray:
    """Return the decimal logarithm of a power, above `floor`: log10(power + floor)."""
    xp: Any = np if on_host(power) else jnp
    scaled: AnyArray = xp.log10(power + floor)
    return scaled
