"""Losses that grow linearly for large errors, so that outliers do not decide the fit.

Arguments and the treatment of targets that are NaN are those of `tsjax_core.losses.regression`.
"""

from __future__ import annotations

import math

from tsjax_core.checks import positive
from tsjax_core.losses.measured import compare, mean_over
from tsjax_core.losses.regression import channelwise
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array


def normalized_huber(delta: float = 1.0) -> LossTerm:
    """Mean of e^2 / 2 up to an error of delta and of delta (|e| - delta / 2) beyond it.

    e is the error in units of the training standard deviation of its channel. Source: Huber,
    Robust estimation of a location parameter, Annals of Mathematical Statistics 35 (1964).

    Args:
        delta: Error from which on the loss is linear, in training standard deviations.

    Raises:
        ConfigError: `delta` is not a positive number.
    """
    delta = positive("delta", delta, of="normalized_huber")

    @channelwise
    def huber(pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray) -> Array:
        both = compare(pred, target)
        size = both.xp.abs(both.error / y_std)
        near, beyond = both.xp.minimum(size, delta), both.xp.maximum(size - delta, 0.0)
        mean: Array = mean_over(both, 0.5 * both.xp.square(near) + delta * beyond)
        return mean

    huber.__name__, huber.__doc__ = "normalized_huber", normalized_huber.__doc__
    return huber


@channelwise
def normalized_log_cosh(
    pred: AnyArray, target: AnyArray, y_mean: AnyArray, y_std: AnyArray
) -> Array:
    """Mean of log(cosh(e)): e^2 / 2 for small errors, |e| - log(2) for large ones.

    e is the error in units of the training standard deviation of its channel. Source: Green,
    Bayesian reconstructions from emission tomography data using a modified EM algorithm, IEEE
    Transactions on Medical Imaging 9 (1990).
    """
    both = compare(pred, target)
    xp, size = both.xp, both.xp.abs(both.error / y_std)
    # Each form where it neither cancels nor overflows.
    is_small = size < 1.0
    small, large = xp.where(is_small, size, 1.0), xp.where(is_small, 1.0, size)
    near = xp.log1p(2.0 * xp.square(xp.sinh(0.5 * small)))
    far = large + xp.log1p(xp.exp(-2.0 * large)) - math.log(2.0)
    mean: Array = mean_over(both, xp.where(is_small, near, far))
    return mean
