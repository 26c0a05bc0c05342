"""Normalisation inside the model, so that every model is raw in and raw out."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.types import Array, Buffer, NormStats, Signals


class Standardize(nnx.Module):
    """Maps physical units to zero mean and unit standard deviation, and back.

    The statistics are `Buffer` values: saved with the model, never trained.
    """

    def __init__(self, stats: NormStats) -> None:
        self.mean = Buffer(jax.device_put(stats.mean))
        self.std = Buffer(jax.device_put(stats.std))

    def normalize(self, x: Array) -> Array:
        """Return `x` (..., n) in units of the standard deviation around the mean.

        Raises:
            ModelError: `x` has another number of channels than the statistics.
        """
        if x.shape[-1] != self.mean.shape[-1]:
            # One channel would broadcast against any number of means without an error.
            raise ModelError(
                f"the model was built for {self.mean.shape[-1]} channels and got an array of "
                f"shape {x.shape}; the last axis holds the channels."
            )
        return (x - self.mean[...]) / self.std[...]

    def denormalize(self, x: Array) -> Array:
        """Return `x` (..., n) in physical units."""
        return x * self.std[...] + self.mean[...]


class InputScale(nnx.Module):
    """Makes one normalised array of `u` and, where the model reads it, of `u_scalar`.

    Scalars become channels that are constant over a sequence. `width` is the number of channels.

    Raises:
        ModelError: The data have no `u`, or no `u_scalar` and `scalar_inputs` is set.
    """

    def __init__(self, signals: Signals, *, scalar_inputs: bool, owner: str) -> None:
        keys = ("u", "u_scalar") if scalar_inputs else ("u",)
        require_signals(signals, keys, f"{owner} with scalar_inputs = {scalar_inputs}")
        self.owner = owner
        self.width = sum(len(signals.names[key]) for key in keys)
        self.u = Standardize(signals.stats["u"])
        self.scalar = Standardize(signals.stats["u_scalar"]) if scalar_inputs else None

    def __call__(self, u: Array, u_scalar: Array | None = None) -> Array:
        """Return (batch, time, width) for `u` (batch, time, n_u) and `u_scalar` (batch, n)."""
        x = self.u.normalize(u)
        if self.scalar is None:
            return x
        if u_scalar is None:
            raise ModelError(
                f"this {self.owner} was built with scalar_inputs = True and was "
                "called without 'u_scalar'; give it as the second input, (batch, n)."
            )
        constant = self.scalar.normalize(u_scalar)[:, None, :]
        return jnp.concatenate(
            [x, jnp.broadcast_to(constant, (*x.shape[:2], constant.shape[-1]))], -1
        )


def require_signals(signals: Signals, keys: Sequence[str], owner: str) -> None:
    """Raise ModelError where the data lack one of the batch keys `keys` that `owner` needs."""
    for key in keys:
        if key not in signals.names:
            raise ModelError(
                f"{owner} needs {key!r}, and the data have {', '.join(signals.names)}. Change the "
                "option, or name the signals of the data in u, y, u_scalars and y_scalars."
            )
