"""Losses of a part of each batch that is drawn, or chosen by the loss itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from tsjax_core import checks
from tsjax_core.errors import ConfigError
from tsjax_core.losses.pointwise import WeighedLoss, library
from tsjax_core.losses.wrapping import Arguments, Points, wrap_each
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array


@dataclass(frozen=True)
class RandomLengthLoss(WeighedLoss):
    """The mean over the sequences of the inner loss of a beginning of random length."""

    shortest: int = 1
    longest: int | None = None
    mode: int = 1

    adds: ClassVar[frozenset[str]] = frozenset({"key"})
    sequences_only: ClassVar[bool] = True
    label: ClassVar[str] = "random_length"

    def weigh(self, points: Points, arguments: Arguments) -> AnyArray:
        """Return the weights so far of the samples in each beginning, summing up to 1."""
        rows, time = points.values.shape[:2]
        most = time if self.longest is None else min(self.longest, time)
        lengths = _triangular(
            arguments.given["key"], rows, min(self.shortest, most), min(self.mode, most), most
        )
        xp = library(points)
        counts = xp.asarray(jnp.arange(time) < lengths[:, None])[..., None]
        weights = points.weights * counts
        # Every sequence counts alike, however long its beginning is.
        sums = weights.sum((1, 2), keepdims=True)
        shares: AnyArray = weights / xp.where(sums == 0, 1, sums)
        return shares


@dataclass(frozen=True)
class HardestLoss(WeighedLoss):
    """The mean of the inner loss over the sequences of a batch with the largest losses."""

    share: float = 0.9

    def weigh(self, points: Points, _arguments: Arguments) -> AnyArray:
        """Return the weights so far of the sequences that are kept."""
        xp = library(points)
        values, weights = points.values, points.weights
        if xp is jnp:
            values, weights = lax.stop_gradient((values, weights))
        sums = weights.sum((1, 2))
        total = (xp.where(weights == 0, 0.0, values) * weights).sum((1, 2))
        kept = _hardest(xp, total / xp.where(sums == 0, 1, sums), self.share)
        changed: AnyArray = points.weights * kept[:, None, None]
        return changed


def random_length(
    loss: LossTerm, shortest: int = 1, longest: int | None = None, mode: int | None = None
) -> LossTerm:
    """The mean over the sequences of a batch of the loss of a beginning of random length.

    Each sequence has a length of its own, drawn in every step from a triangular distribution.
    `loss` is a mean over samples, or is computed on each sample alone and then averaged. In
    validation, where it counts only if no other term does without a random key, the lengths are
    the same every time.

    Args:
        loss: A loss, or a composed loss, each of whose terms is wrapped.
        shortest: Least length in samples.
        longest: Greatest length; that of the sequence if not given, and never more.
        mode: Most probable length; `shortest` if not given.

    Raises:
        ConfigError: The lengths are not in the order 1, shortest, mode, longest; or, when the loss
            is computed, the targets are scalars.
    """
    middle = shortest if mode is None else mode
    order = [1, shortest, middle, *([] if longest is None else [longest])]
    if order != sorted(order):
        raise ConfigError(
            f"random_length got shortest = {shortest}, mode = {mode} and longest = {longest}; give "
            "1 <= shortest <= mode <= longest.",
            key="shortest",
        )

    return wrap_each(loss, lambda term: RandomLengthLoss(term, shortest, longest, middle))


def _triangular(key: Array, n: int, low: int, mode: int, high: int) -> Array:
    """Draw n whole numbers from `low` to `high`, of which `mode` is the most probable.

    The floor of a triangular variate on [low, high + 1] with its mode in the middle of that of the
    numbers; by the inverse of its distribution function.
    """
    width, rise, fall = high + 1 - low, mode + 0.5 - low, high + 0.5 - mode
    u = jax.random.uniform(key, (n,))
    left = low + jnp.sqrt(u * width * rise)
    right = high + 1 - jnp.sqrt((1.0 - u) * width * fall)
    return jnp.clip(jnp.floor(jnp.where(u < rise / width, left, right)), low, high)


def hardest(loss: LossTerm, share: float = 0.9) -> LossTerm:
    """The mean of the loss over the sequences of a batch with the largest losses.

    These are the fewest that make up `share` of the sum of the losses of all sequences, and at
    least one. Others have no gradient. The loss is not negative; it is a mean over samples, or is
    computed on each sample alone and then averaged.

    Args:
        loss: A loss, or a composed loss, each of whose terms is wrapped and chooses by itself.
        share: Share of the summed losses, above 0 and at most 1.

    Raises:
        ConfigError: `share` is out of its range.
    """
    share = checks.share("share", share, ends="(]")
    return wrap_each(loss, lambda term: HardestLoss(term, share))


def _hardest(xp: Any, losses: Any, share: float) -> Any:
    """Return which of `losses` (batch,) are the fewest that make up `share` of their sum."""
    order = xp.argsort(-losses)
    ranked = losses[order]
    before = xp.concatenate([xp.zeros_like(ranked[:1]), xp.cumsum(ranked)[:-1]])
    within = before < share * xp.sum(ranked)
    rank = xp.argsort(order)
    # A loss that is NaN is no reason to train on without it.
    return within[rank] | (rank == 0) | xp.isnan(losses)
