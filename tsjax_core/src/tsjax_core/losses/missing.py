"""Losses that do not know of samples that were not measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tsjax_core.losses.measured import on_host, ratio
from tsjax_core.losses.pointwise import points_of, weighted_mean, with_time
from tsjax_core.losses.wrapping import (
    Arguments,
    Points,
    WrappedLoss,
    call_loss,
    wrap_each,
)
from tsjax_core.protocols import LossTerm
from tsjax_core.types import Array


@dataclass(frozen=True)
class MeasuredLoss(WrappedLoss):
    """The inner loss of the samples all of whose channels were measured."""

    @property
    def channelwise(self) -> bool:
        """Whether the loss is meaningful for each output channel alone."""
        return bool(getattr(self.inner, "channelwise", False))

    def value(self, arguments: Arguments) -> Array:
        """Return the inner loss of the measured samples."""
        pred, target = arguments.pred, arguments.target
        if self.wants - {"signals"} or not on_host(pred, target):
            return weighted_mean(self.points(with_time(arguments)))
        rows = ~np.isnan(target).any(-1)
        if not rows.any():
            nothing: Array = ratio(np, 0.0, 0)
            return nothing
        lead = (1,) if target.ndim == 3 else ()
        pred, target = (x[rows].reshape(*lead, -1, x.shape[-1]) for x in (pred, target))
        return call_loss(self.inner, arguments._replace(pred=pred, target=target))

    def points(self, arguments: Arguments) -> Points:
        """Return the inner loss at every sample, with the weight 0 where one is not measured."""
        return points_of(self.inner, whole_samples=True)(arguments)


def ignore_nan(loss: LossTerm) -> LossTerm:
    """The loss of the samples all of whose channels were measured; a target that is NaN was not.

    For losses that know nothing of NaN; those of core leave it out by themselves, and channel by
    channel. On the device, `loss` is computed on each sample alone and then averaged, so that
    shapes do not depend on the data; in host memory, where metrics are computed, it is computed on
    the measured samples as one record, whatever it is. What is not measured has no gradient.

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
    """
    return wrap_each(loss, _ignore_nan)


def _ignore_nan(term: LossTerm) -> LossTerm:
    if isinstance(term, MeasuredLoss):
        return term
    if isinstance(term, WrappedLoss):
        # Of a part of the samples, that part decides what is measured; weights go on top.
        return replace(term, inner=_ignore_nan(term.inner))
    return MeasuredLoss(term)
