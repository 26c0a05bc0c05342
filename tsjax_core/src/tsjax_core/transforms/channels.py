"""The input channels that a transform acts on, and options with one value for each of them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.types import Array, Batch, HostArray


def numbers(name: str, value: Any, *, of: str, signed: bool = False) -> HostArray:
    """Return the option `name` of the transform `of` as float64: a number (), or several (n,).

    Raises:
        ConfigError: It is something else, not finite, or negative without being `signed`.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        # Lists of unequal length, of which NumPy makes no array.
        array = np.empty((0, 0))
    if array.dtype.kind not in "iuf" or array.ndim > 1 or not array.size:
        raise ConfigError(
            f"{of} got {name} = {value!r}; give a number, or a list with one per channel.", key=name
        )
    if not np.isfinite(array).all() or (array.min() < 0.0 and not signed):
        wanted = "finite numbers" if signed else "finite numbers, 0 or more"
        raise ConfigError(f"{of} got {name} = {value!r}; give {wanted}.", key=name)
    return array.astype(np.float64)


def inputs_of(batch: Batch, *, of: str) -> Array:
    """Return `u` of `batch` on the device, (batch, time, n_u).

    Raises:
        ConfigError: The batch has no input sequences.
    """
    if "u" not in batch:
        raise ConfigError(
            f"{of} changes the inputs u, and the batch has only {', '.join(batch)}; leave it out, "
            "or read input signals.",
            key="transform",
        )
    return jnp.asarray(batch["u"])


def per_channel(values: HostArray, u: Array, *, name: str, of: str) -> Array:
    """Return the option `name` of the transform `of` in the dtype of `u`, () or (n_u,).

    Raises:
        ConfigError: It has several values, and `u` another number of channels.
    """
    if values.ndim and values.size != u.shape[-1]:
        raise ConfigError(
            f"{of} got {values.size} values of {name} ({', '.join(f'{v:g}' for v in values)}), and "
            f"u has {u.shape[-1]} channels; give one number for all channels, or one per channel.",
            key=name,
        )
    return jnp.asarray(values, u.dtype)
