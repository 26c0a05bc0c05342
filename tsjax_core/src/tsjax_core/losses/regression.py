"""Losses and metrics of a simulated output against a measured one.

All take `pred` and `target` as (batch, time, n_y), or (batch, n_y) for scalar targets, in the
outputs' physical units, and the mean and standard deviation of the training targets, (n_y,). All
return a scalar. Reductions run over batch and time together, so that a metric of a whole split is
that of one long record; figures that are relative to a channel are averaged over the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from tsjax_core.types import AnyArray, Array

F = TypeVar("F", bound=Callable[..., Any])


def channelwise(metric: F) -> F:
    """Mark `metric` as meaningful for each output channel alone, and return it."""
    vars(metric)["channelwise"] = True
    return metric


def _prepared(pred: AnyArray, target: AnyArray) -> tuple[Any, Any, Any]:
    """Return the library to compute with, and both arrays.

    In host memory that is NumPy in float64: jax would compile anew for the length of every record,
    and float32 loses digits when a long one is summed.
    """
    if isinstance(pred, np.ndarray) and isinstance(target, np.ndarray):
        return np, pred.astype(np.float64), target.astype(np.float64)
    return jnp, pred, target


def _over_samples(x: AnyArray) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


@channelwise
def mse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean squared error, in the squared unit of the outputs."""
    xp, p, t = _prepared(pred, target)
    mean: Array = xp.mean(xp.square(p - t))
    return mean


@channelwise
def mae(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean absolute error, in the unit of the outputs."""
    xp, p, t = _prepared(pred, target)
    mean: Array = xp.mean(xp.abs(p - t))
    return mean


def normalized_mse(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean squared error of the outputs in units of their training standard deviation."""
    xp, p, t = _prepared(pred, target)
    mean: Array = xp.mean(xp.square((p - t) / y_std))
    return mean


def normalized_mae(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean absolute error of the outputs in units of their training standard deviation."""
    xp, p, t = _prepared(pred, target)
    mean: Array = xp.mean(xp.abs((p - t) / y_std))
    return mean


@channelwise
def rmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Root mean squared error over all samples and channels, in the unit of the outputs."""
    xp, p, t = _prepared(pred, target)
    root: Array = xp.sqrt(xp.mean(xp.square(p - t)))
    return root


@channelwise
def nrmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """RMSE over the standard deviation of `target`, without unit; the mean over the channels.

    0 is a perfect simulation, 1 is no better than the mean of the measured output. It is infinite
    for a channel that is constant in `target`.
    """
    xp, p, t = _prepared(pred, target)
    axes = _over_samples(target)
    error = xp.sqrt(xp.mean(xp.square(p - t), axes))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Array = xp.mean(error / xp.std(t, axes))
    return mean


@channelwise
def fit_percent(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Fit of Ljung, System Identification (1999): 100 (1 - NRMSE), in percent."""
    return 100.0 * (1.0 - nrmse(pred, target, y_mean, y_std))


@channelwise
def vaf(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Variance accounted for: 100 (1 - var(target - pred) / var(target)), in percent.

    The mean over the channels. It does not see a constant offset. Source: Verhaegen and Verdult,
    Filtering and System Identification (2007).
    """
    xp, p, t = _prepared(pred, target)
    axes = _over_samples(target)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = xp.var(t - p, axes) / xp.var(t, axes)
        mean: Array = xp.mean(100.0 * (1.0 - ratio))
    return mean
