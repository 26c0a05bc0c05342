"""Losses whose samples do not count alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from tsjax_core.checks import positive
from tsjax_core.errors import ConfigError
from tsjax_core.losses.pointwise import WeighedLoss, library
from tsjax_core.losses.wrapping import Arguments, Points, wrap_each
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Batch


@dataclass(frozen=True)
class BatchWeightedLoss(WeighedLoss):
    """The mean of the inner loss over all samples with weights from the batch."""

    weights: Callable[[Batch], AnyArray]

    adds: ClassVar[frozenset[str]] = frozenset({"batch"})

    def weigh(self, points: Points, arguments: Arguments) -> AnyArray:
        """Return the weights so far times those from the batch."""
        found = jnp.asarray(self.weights(arguments.given["batch"]))
        changed: AnyArray = points.weights * _aligned(found, points)
        return changed


@dataclass(frozen=True)
class TimeWeightedLoss(WeighedLoss):
    """The mean of the inner loss over time with weights from `first` to `last`."""

    first: float = 1.0
    last: float = 0.1

    sequences_only: ClassVar[bool] = True
    label: ClassVar[str] = "time_weighted"

    def weigh(self, points: Points, _arguments: Arguments) -> AnyArray:
        """Return the weights so far times those of the samples in their sequence."""
        course = np.geomspace(self.first, self.last, points.values.shape[1])[:, None]
        # In the type of the values, float32 on the device.
        weights: AnyArray = points.weights * library(points).asarray(course, points.values.dtype)
        return weights


def weighted_loss(loss: LossTerm, weights: Callable[[Batch], AnyArray]) -> LossTerm:
    """The mean of the loss over all samples with weights: sum(w value) / sum(w).

    `loss` is a mean over samples, or is computed on each sample alone and then averaged. A target
    that is NaN has the weight 0. In validation it counts only where no other term does without
    the batch.

    Args:
        loss: A loss, or a composed loss, each of whose terms is wrapped.
        weights: Function of the batch whose array broadcasts to (batch, time), or, for a loss that
            is marked channelwise, to (batch, time, n_y). Weights are 0 or more. Of an array that is
            longer than the prediction the last samples of time count.

    Raises:
        ConfigError: When the loss is computed: the weights do not fit the prediction.
    """
    return wrap_each(loss, lambda term: BatchWeightedLoss(term, weights))


def _aligned(weights: Any, points: Points) -> Any:
    """Return `weights` in a shape that broadcasts to that of the values."""
    wanted = points.values.shape
    aligned = weights[..., None] if weights.ndim <= 2 else weights
    if aligned.ndim > 1 and aligned.shape[-2] > wanted[1]:
        aligned = aligned[..., aligned.shape[-2] - wanted[1] :, :]
    try:
        fits = np.broadcast_shapes(aligned.shape, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        also = f" or {wanted}" if points.per_channel else ""
        raise ConfigError(
            f"weighted_loss got weights of shape {weights.shape}, and the loss has {wanted[0]} "
            f"sequences of {wanted[1]} samples; return an array that broadcasts to {wanted[:2]}"
            f"{also}.",
            key="loss",
        )
    return aligned


def time_weighted(loss: LossTerm, first: float = 1.0, last: float = 0.1) -> LossTerm:
    """The mean of the loss over time with weights from `first` to `last`, evenly in logarithm.

    Only their ratio matters. `loss` is a mean over samples, or is computed on each sample alone
    and then averaged.

    Args:
        loss: A loss, or a composed loss, each of whose terms is wrapped.
        first: Weight of the first sample of a sequence.
        last: Weight of the last sample.

    Raises:
        ConfigError: A weight is not a positive number; or, when the loss is computed, the targets
            are scalars.
    """
    first, last = (positive(key, value) for key, value in (("first", first), ("last", last)))
    return wrap_each(loss, lambda term: TimeWeightedLoss(term, first, last))
