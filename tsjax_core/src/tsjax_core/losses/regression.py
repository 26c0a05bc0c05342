"""Losses and metrics of a simulated output against a measured one.

All take `pred` and `target` as (batch, time, n_y), or (batch, n_y) for scalar targets, in the
outputs' physical units, and the mean and standard deviation of the training targets, (n_y,). All
return a scalar. Reductions run over batch and time together, so that a metric of a whole split is
that of one long record; figures that are relative to a channel are averaged over the channels.

A target that is NaN was not measured and is left out, each channel by itself. Without any
measurement the value is NaN in host memory; on the device all gradients are 0, and the value is
that of a perfect prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tsjax_core.losses.measured import (
    Compared,
    channel_means,
    compare,
    mean_of_channels,
    mean_over,
    root,
)
from tsjax_core.types import AnyArray, Array

F = TypeVar("F", bound=Callable[..., Any])


def channelwise(metric: F) -> F:
    """Mark `metric` as meaningful for each output channel alone, and return it."""
    vars(metric)["channelwise"] = True
    return metric


def higher_is_better(metric: F) -> F:
    """Mark `metric` as one of which more is better, and return it."""
    vars(metric)["higher_is_better"] = True
    return metric


def squares_of(residuals: Callable[..., Any]) -> Callable[[F], F]:
    """Mark a loss as the mean of the squares of `residuals`; see `ResidualTerm`."""

    def mark(loss: F) -> F:
        vars(loss)["residuals"] = residuals
        return loss

    return mark


def errors(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Any:
    """Return the errors of the outputs, 0 where nothing was measured."""
    return compare(pred, target).error


def normalized_errors(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Any:
    """Return the errors in units of the training standard deviation, 0 where not measured."""
    return compare(pred, target).error / y_std


@squares_of(errors)
@channelwise
def mse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean squared error, in the squared unit of the outputs."""
    both = compare(pred, target)
    mean: Array = mean_over(both, both.xp.square(both.error))
    return mean


@channelwise
def mae(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Mean absolute error, in the unit of the outputs."""
    both = compare(pred, target)
    mean: Array = mean_over(both, both.xp.abs(both.error))
    return mean


@squares_of(normalized_errors)
@channelwise
def normalized_mse(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean squared error of the outputs in units of their training standard deviation."""
    both = compare(pred, target)
    mean: Array = mean_over(both, both.xp.square(both.error / y_std))
    return mean


@channelwise
def normalized_mae(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
    """Mean absolute error of the outputs in units of their training standard deviation."""
    both = compare(pred, target)
    mean: Array = mean_over(both, both.xp.abs(both.error / y_std))
    return mean


@channelwise
def rmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Root mean squared error over all samples and channels, in the unit of the outputs."""
    both = compare(pred, target)
    value: Array = root(both.xp, mean_over(both, both.xp.square(both.error)))
    return value


@channelwise
def nrmse(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """RMSE over the standard deviation of `target`, without unit; the mean over the channels.

    0 is a perfect simulation, 1 is no better than the mean of the measured output. Channels that
    are constant in `target` are left out of the mean; it is infinite where all of them are.
    """
    both = compare(pred, target)
    error = root(both.xp, channel_means(both, both.xp.square(both.error)))
    spread = root(both.xp, _variances(both, both.target))
    mean: Array = mean_of_channels(both, error, spread)
    return mean


@channelwise
@higher_is_better
def fit_percent(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Fit of Ljung, System Identification (1999): 100 (1 - NRMSE), in percent."""
    return 100.0 * (1.0 - nrmse(pred, target, y_mean, y_std))


@channelwise
@higher_is_better
def vaf(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray | None = None, y_std: AnyArray | None = None
) -> Array:
    """Variance accounted for: 100 (1 - var(target - pred) / var(target)), in percent.

    The mean over the channels. It does not see a constant offset. Source: Verhaegen and Verdult,
    Filtering and System Identification (2007).
    """
    both = compare(pred, target)
    share = mean_of_channels(both, _variances(both, both.error), _variances(both, both.target))
    value: Array = 100.0 * (1.0 - share)
    return value


def _variances(both: Compared, values: AnyArray) -> Any:
    """Return the variance of each channel over its measured samples, (n_y,)."""
    return channel_means(both, both.xp.square(values - channel_means(both, values)))
