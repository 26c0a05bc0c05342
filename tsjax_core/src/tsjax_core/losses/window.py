"""Losses of a part of the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.losses.pointwise import check_sequences, library, points_of
from tsjax_core.losses.wrapping import Arguments, NarrowedLoss, Points, wrap_each
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, is_sequence


@dataclass(frozen=True)
class CutLoss(NarrowedLoss):
    """The inner loss without the first `left` and the last `right` samples of each sequence."""

    left: int = 0
    right: int = 0
    label: str = "cut_loss"

    @property
    def channelwise(self) -> bool:
        """Whether the loss is meaningful for each output channel alone."""
        return bool(getattr(self.inner, "channelwise", False))

    def narrow(self, arguments: Arguments) -> Arguments:
        """Return the samples that count, and the batch without its last samples."""
        check_sequences(self.label, arguments)
        length = arguments.pred.shape[1]
        if length <= self.left + self.right:
            raise ConfigError(
                f"{self.label} leaves nothing of a sequence of {length} samples; cut less, or use "
                "longer sequences.",
                key="loss",
            )
        part = slice(self.left, length - self.right)
        given = arguments.given
        if "batch" in given and self.right:
            given = {**given, "batch": _without_last(given["batch"], self.right)}
        return arguments._replace(
            pred=arguments.pred[:, part], target=arguments.target[:, part], given=given
        )

    def points(self, arguments: Arguments) -> Points:
        """Return the inner loss at every sample, with the weight 0 where it is cut."""
        found = points_of(self.inner)(self.narrow(arguments))
        ends = ((0, 0), (self.left, self.right), (0, 0))

        def pad(part: AnyArray) -> AnyArray:
            padded: AnyArray = library(found).pad(part, ends)
            return padded

        return found._replace(values=pad(found.values), weights=pad(found.weights))


def skip_n(loss: LossTerm, n: int) -> LossTerm:
    """The loss without the first n samples of each sequence, such as those of a transient.

    They have no gradient. `n_skip` of a learner does so for all losses and metrics at once. Of a
    metric, the first n samples of each sequence are left out too, before it is computed on the
    whole split.

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
        n: Samples at the start that do not count.

    Raises:
        ConfigError: `n` is no whole number from 0 on; or, when the loss is computed, nothing of a
            sequence is left, or the targets are scalars.
    """
    n = whole_number("n", n, "samples")
    return wrap_each(loss, lambda term: CutLoss(term, n, 0, f"skip_n(n={n})"))


def cut_loss(loss: LossTerm, left: int = 0, right: int = 0) -> LossTerm:
    """The loss without the first and the last samples of each sequence.

    They have no gradient. A loss that declares `batch` gets its sequences without the last
    samples, so that those of prediction and batch are still the same.

    Args:
        loss: A loss, a metric, or a composed loss, each of whose terms is wrapped.
        left: Samples at the start that do not count.
        right: Samples at the end that do not count.

    Raises:
        ConfigError: `left` or `right` is no whole number from 0 on; or, when the loss is computed,
            nothing of a sequence is left, or the targets are scalars.
    """
    left, right = (
        whole_number(key, value, "samples") for key, value in (("left", left), ("right", right))
    )
    label = f"cut_loss(left={left}, right={right})"
    return wrap_each(loss, lambda term: CutLoss(term, left, right, label))


def _without_last(batch: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {k: v[:, : v.shape[1] - n] if is_sequence(k) else v for k, v in batch.items()}
