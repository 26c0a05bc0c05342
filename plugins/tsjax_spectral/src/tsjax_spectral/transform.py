"""The spectrogram of the inputs beside the inputs, for losses that look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp

from tsjax_core.checks import choice
from tsjax_core.errors import ConfigError
from tsjax_core.types import AnyArray, Array, Batch
from tsjax_spectral.fourier import Window, log_power, make_window, spectrogram

Scaling = Literal["log", "power", "magnitude"]


def scaled_spectrogram(
    x: AnyArray, scaling: Scaling, n_fft: int, hop_length: int | None, **options: Any
) -> Array:
    """Return the spectrogram of `x` (batch, time, n) as features, (batch, frames, n lines).

    Feature c (n_fft // 2 + 1) + k is line k of channel c.
    """
    power = 1.0 if scaling == "magnitude" else 2.0
    s = spectrogram(jnp.swapaxes(jnp.asarray(x), 1, 2), n_fft, hop_length, power=power, **options)
    s = jnp.moveaxis(jnp.asarray(s), 3, 1)
    flat = s.reshape(*s.shape[:2], -1)
    return jnp.asarray(log_power(flat)) if scaling == "log" else flat


def add_spectrogram(
    key: str = "u",
    to: str = "spectrogram",
    n_fft: int = 100,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    scaling: Scaling = "log",
    normalized: bool = False,
) -> Callable[..., Mapping[str, Any]]:
    """Add the spectrogram of the signals of a batch under a further key, for losses.

    It is (batch, frames, features), each frame around every `hop_length`-th sample; line k of
    channel c is feature c (n_fft // 2 + 1) + k. A model does not see it: `predict` applies no
    transform, and a model on spectrograms is `spectral/front_end`.

    Args:
        key: The batch key of the signals.
        to: The batch key of the spectrogram.
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next; half the window unless given.
        win_length: Samples under the window; `n_fft` unless given.
        window: hann, hamming or rectangular.
        scaling: log10(power + 1e-10), the power, or the magnitude.
        normalized: Divide by the root of the sum of the window's squares.
    """
    choice("scaling", scaling, ("log", "power", "magnitude"))
    make_window(window, n_fft if win_length is None else win_length, n_fft)

    def with_spectrogram(batch: Batch) -> Mapping[str, Any]:
        if key not in batch or to in batch:
            raise ConfigError(
                f"spectral/spectrogram makes {to!r} of {key!r}, and the batch has "
                f"{', '.join(batch)}; give key = one of these, and to = another name.",
                key="key" if key not in batch else "to",
            )
        features = scaled_spectrogram(
            batch[key],
            scaling,
            n_fft,
            hop_length,
            win_length=win_length,
            window=window,
            normalized=normalized,
        )
        return {**batch, to: features}

    return with_spectrogram
