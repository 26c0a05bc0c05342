"""Losses of some of the output channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.losses.measured import on_host
from tsjax_core.losses.pointwise import points_of
from tsjax_core.losses.wrapping import Arguments, NarrowedLoss, Points, wrap_each
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray


@dataclass(frozen=True)
class MaskedLoss(NarrowedLoss):
    """The inner loss of the channels whose mask is true."""

    mask: tuple[bool, ...] = ()

    def narrow(self, arguments: Arguments) -> Arguments:
        """Return the channels that count."""
        pred, target, *stats, given = arguments
        y_mean, y_std = (None if s is None else self._select(s, "statistics") for s in stats)
        pred, target = self._select(pred, "prediction"), self._select(target, "target")
        return Arguments(pred, target, y_mean, y_std, given)

    def points(self, arguments: Arguments) -> Points:
        """Return the inner loss at every sample, with the weight 0 where a channel is masked."""
        found = points_of(self.inner)(self.narrow(arguments))
        if not found.per_channel:
            return found
        values, weights = self._widen(found.values), self._widen(found.weights)
        return found._replace(values=values, weights=weights)

    def _select(self, values: Any, what: str) -> Any:
        width, chosen = values.shape[-1], np.flatnonzero(self.mask)
        if width == len(self.mask):
            return values[..., chosen]
        if width == len(chosen) and what != "prediction":
            return values
        raise ConfigError(
            f"masked_loss has a channel_mask of {len(self.mask)} channels, {len(chosen)} of them "
            f"true, and the {what} has {width}; give one value for each channel of the prediction.",
            key="loss",
        )

    def _widen(self, part: AnyArray) -> AnyArray:
        xp: Any = np if on_host(part) else jnp
        columns = [xp.zeros_like(part[..., 0])] * len(self.mask)
        for column, channel in enumerate(np.flatnonzero(self.mask)):
            columns[channel] = part[..., column]
        wide: AnyArray = xp.stack(columns, axis=-1)
        return wide


def masked_loss(loss: LossTerm, channel_mask: Sequence[bool] | AnyArray) -> LossTerm:
    """The loss of the channels whose mask is true; the others have no gradient.

    A prediction may have more channels than the targets, such as states that only a physics loss
    sees: the mask then has one value for each channel of the prediction, and the targets have
    either as many channels or those that are selected. (A learner wants as many in both; there,
    give what is not measured as an intermediate value, in `aux`.)

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
        channel_mask: Whether each channel of the prediction counts: a list, or an array of NumPy or
            jax.

    Raises:
        ConfigError: The mask holds something else than true and false, or no true; or, when the
            loss is computed, its length is not that of the channels.
    """
    given: Any = channel_mask
    values = np.asarray(given) if hasattr(given, "dtype") else np.asarray(list(given), object)
    kinds = {type(value) for value in values.reshape(-1).tolist()}
    if values.ndim != 1 or not kinds <= {bool, np.bool_} or not values.any():
        raise ConfigError(
            f"channel_mask = {values.tolist()!r}; give true or false for each channel, and at "
            "least one true.",
            key="channel_mask",
        )
    mask = tuple(bool(value) for value in values)
    return wrap_each(loss, lambda term: MaskedLoss(term, mask))
