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

from tsjax_core.types import AnyArray, Array

F = TypeVar("F", bound=Callable[..., Any])


def channelwise(metric: F) -> F:
    """Mark `metric` as meaningful for each output channel alone, and return it."""
    vars(metric)["channelwise"] = True
    return metric


def _over_samples(x: AnyArray) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


@channelwise
def mse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean squared error, in the squared unit of the outputs."""
    return jnp.mean(jnp.square(pred - target))


@channelwise
def mae(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean absolute error, in the unit of the outputs."""
    return jnp.mean(jnp.abs(pred - target))


def normalized_mse(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean squared error of the outputs in units of their training standard deviation."""
    return jnp.mean(jnp.square((pred - target) / y_std))


def normalized_mae(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean absolute error of the outputs in units of their training standard deviation."""
    return jnp.mean(jnp.abs((pred - target) / y_std))


@channelwise
def rmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Root mean squared error over all samples and channels, in the unit of the outputs."""
    return jnp.sqrt(jnp.mean(jnp.square(pred - target)))


@channelwise
def nrmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """RMSE over the standard deviation of `target`, without unit; the mean over the channels.

    0 is a perfect simulation, 1 is no better than the mean of the measured output. It is infinite
    for a channel that is constant in `target`.
    """
    axes = _over_samples(target)
    error = jnp.sqrt(jnp.mean(jnp.square(pred - target), axes))
    return jnp.mean(error / jnp.std(target, axes))


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
    axes = _over_samples(target)
    return jnp.mean(100.0 * (1.0 - jnp.var(target - pred, axes) / jnp.var(target, axes)))
