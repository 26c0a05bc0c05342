"""Losses of some of the output channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.losses.measured import on_host
from tsjax_core.losses.pointwise import points_of
from tsjax_core.losses.wrapping import Arguments, Form, Points, Term, wrap
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray


def masked_loss(loss: LossTerm, channel_mask: Sequence[bool]) -> LossTerm:
    """The loss of the channels whose mask is true; the others have no gradient.

    A prediction may have more channels than the targets, such as states that only a physics loss
    sees: the mask then has one value for each channel of the prediction, and the targets have
    either as many channels or those that are selected. (A learner wants as many in both; there,
    give what is not measured as an intermediate value, in `aux`.)

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
        channel_mask: Whether each channel of the prediction counts.

    Raises:
        ConfigError: The mask holds something else than true and false, or no true; or, when the
            loss is computed, its length is not that of the channels.
    """
    mask = tuple(channel_mask)
    if not all(isinstance(value, bool | np.bool_) for value in mask) or not any(mask):
        raise ConfigError(
            f"channel_mask = {list(mask)!r}; give true or false for each channel, and at least one "
            "true.",
            key="channel_mask",
        )
    chosen = np.flatnonzero(mask)

    def select(values: Any, what: str) -> Any:
        width = values.shape[-1]
        if width == len(mask):
            return values[..., chosen]
        if width == len(chosen) and what != "prediction":
            return values
        raise ConfigError(
            f"masked_loss has a channel_mask of {len(mask)} channels, {len(chosen)} of them true, "
            f"and the {what} has {width}; give one value for each channel of the prediction.",
            key="loss",
        )

    def narrow(arguments: Arguments) -> Arguments:
        pred, target, *stats, given = arguments
        y_mean, y_std = (None if s is None else select(s, "statistics") for s in stats)
        return Arguments(select(pred, "prediction"), select(target, "target"), y_mean, y_std, given)

    def make(term: Term) -> Form:
        inner = points_of(term)

        def points(arguments: Arguments) -> Points:
            found = inner(narrow(arguments))
            if not found.per_channel:
                return found
            return found._replace(values=widen(found.values), weights=widen(found.weights))

        return Form(
            lambda arguments: term(narrow(arguments)),
            points,
            narrow=narrow,
            again=lambda other: masked_loss(other, mask),
        )

    def widen(part: AnyArray) -> AnyArray:
        xp: Any = np if on_host(part) else jnp
        columns = [xp.zeros_like(part[..., 0])] * len(mask)
        for column, channel in enumerate(chosen):
            columns[channel] = part[..., column]
        wide: AnyArray = xp.stack(columns, axis=-1)
        return wide

    return wrap(loss, make)
