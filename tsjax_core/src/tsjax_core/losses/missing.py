"""Losses that do not know of samples that were not measured."""

from __future__ import annotations

import numpy as np

from tsjax_core.losses.compose import ComposedLoss
from tsjax_core.losses.measured import on_host, ratio
from tsjax_core.losses.pointwise import points_of, weighted_mean, with_time
from tsjax_core.losses.wrapping import Arguments, Form, Term, form_of, wrap, wrap_terms
from tsjax_core.protocols import LossTerm
from tsjax_core.types import Array


def ignore_nan(loss: LossTerm) -> LossTerm:
    """The loss of the samples all of whose channels were measured; a target that is NaN was not.

    For losses that know nothing of NaN; those of core leave it out by themselves, and channel by
    channel. On the device, `loss` is computed on each sample alone and then averaged, so that
    shapes do not depend on the data; in host memory, where metrics are computed, it is computed on
    the measured samples as one record, whatever it is. What is not measured has no gradient.

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
    """

    def make(term: Term) -> Form:
        points = points_of(term, whole_samples=True)

        def value(arguments: Arguments) -> Array:
            pred, target = arguments.pred, arguments.target
            if term.wants or not on_host(pred, target):
                return weighted_mean(points(with_time(arguments)))
            rows = ~np.isnan(target).any(-1)
            if not rows.any():
                nothing: Array = ratio(np, 0.0, 0)
                return nothing
            lead = (1,) if target.ndim == 3 else ()
            pred, target = (x[rows].reshape(*lead, -1, x.shape[-1]) for x in (pred, target))
            return term(arguments._replace(pred=pred, target=target))

        return Form(value, points, channelwise=getattr(term.loss, "channelwise", False))

    if isinstance(loss, ComposedLoss):
        return wrap_terms(loss, ignore_nan)
    form = form_of(loss)
    if form is None:
        return wrap(loss, make)
    # Of a part of the samples, that part decides what is measured; weights go on top.
    return loss if form.again is None else form.again(ignore_nan(vars(loss)["inner"]))
