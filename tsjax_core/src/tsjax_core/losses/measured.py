"""Errors where there is a measurement, and means over them.

A target that is NaN was not measured. Its error is taken as 0, which has no gradient, and it does
not count in any mean: per element of the outputs, so that channels may have gaps of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tsjax_core.types import AnyArray

_ROUNDING = 1e-6
"""Changes of a channel below this share of its largest value are rounding."""


class Compared(NamedTuple):
    """A prediction beside its target.

    `xp` is the library to compute with; `error`, `target` and `measured` have the shape of the
    target. Where `measured` is false, error and target are 0.
    """

    xp: Any
    error: Any
    target: Any
    measured: Any


def on_host(*arrays: Any) -> bool:
    """Return whether all of `arrays` are NumPy's."""
    return all(isinstance(array, np.ndarray) for array in arrays)


def compare(pred: AnyArray, target: AnyArray) -> Compared:
    """Return `pred - target` where `target` is measured.

    In host memory that is computed by NumPy in float64: jax would compile anew for the length of
    every record, and float32 loses digits when a long one is summed.
    """
    if on_host(pred, target):
        xp: Any = np
        pred, target = pred.astype(np.float64), target.astype(np.float64)
    else:
        xp = jnp
    measured = ~xp.isnan(target)
    # Outside of `where` the derivative would be 0 times NaN.
    error = xp.where(measured, pred - target, 0.0)
    return Compared(xp, error, xp.where(measured, target, 0.0), measured)


def mean_over(compared: Compared, values: Any) -> Any:
    """Return the mean of `values` over all measured elements; `values` are 0 elsewhere.

    Of nothing it is NaN in host memory, and 0 on the device, where a batch without measurement
    teaches nothing.
    """
    return ratio(compared.xp, compared.xp.sum(values), compared.xp.sum(compared.measured))


def ratio(xp: Any, total: Any, count: Any) -> Any:
    """Return `total / count`; for the count 0, NaN in host memory and 0 on the device."""
    if xp is np:
        return total / count if count else np.float64(np.nan)
    return total / jnp.where(count == 0, 1, count)


def channel_means(compared: Compared, values: Any) -> Any:
    """Return the mean of `values` over the measured samples of each channel, (n_y,); 0 of none."""
    xp, axes = compared.xp, tuple(range(values.ndim - 1))
    total = xp.sum(xp.where(compared.measured, values, 0.0), axes)
    return total / xp.maximum(xp.sum(compared.measured, axes), 1)


def mean_of_channels(compared: Compared, above: Any, below: Any) -> Any:
    """Return the mean of `above / below`, both (n_y,), over the channels that were measured.

    Channels whose target does not change are left out, unless there is no other: relative to a
    spread of 0 every error is infinite.
    """
    xp = compared.xp
    known = xp.any(compared.measured, tuple(range(compared.measured.ndim - 1)))
    flat = flat_channels(compared)
    varying = known & ~flat
    known = xp.where(xp.any(varying), varying, known)
    below = xp.where(flat, 0.0, below)
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = xp.where(known, above, 0.0) / xp.where(known, below, 1.0)
    return ratio(xp, xp.sum(figures), xp.sum(known))


def flat_channels(compared: Compared) -> Any:
    """Return which channels of the target do not change beyond rounding, (n_y,)."""
    xp, axes = compared.xp, tuple(range(compared.measured.ndim - 1))
    low = xp.min(xp.where(compared.measured, compared.target, xp.inf), axes)
    high = xp.max(xp.where(compared.measured, compared.target, -xp.inf), axes)
    largest = xp.maximum(xp.abs(low), xp.abs(high))
    return (high - low <= _ROUNDING * largest) & xp.isfinite(largest)


def root(xp: Any, square: Any) -> Any:
    """Return the square root, with the derivative 0 at 0, where it has none."""
    zero = square == 0.0
    return xp.where(zero, 0.0, xp.sqrt(xp.where(zero, 1.0, square)))
