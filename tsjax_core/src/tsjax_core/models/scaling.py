"""Normalisation inside the model, so that every model is raw in and raw out."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.types import Array, Buffer, NormStats


class Standardize(nnx.Module):
    """Maps physical units to zero mean and unit standard deviation, and back.

    The statistics are `Buffer` values: saved with the model, never trained.
    """

    def __init__(self, stats: NormStats) -> None:
        self.mean = Buffer(jnp.asarray(stats.mean))
        self.std = Buffer(jnp.asarray(stats.std))

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
