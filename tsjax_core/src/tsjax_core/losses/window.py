"""Losses of a part of the time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.losses.pointwise import checked_sequences, library, points_of
from tsjax_core.losses.wrapping import Arguments, Form, Points, Term, wrap
from tsjax_core.protocols import LossTerm


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
    return _cut(loss, f"skip_n(n={n})", whole_number("n", n, "samples"), 0)


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
    return _cut(loss, f"cut_loss(left={left}, right={right})", left, right)


def _cut(loss: LossTerm, name: str, left: int, right: int) -> LossTerm:
    def narrow(arguments: Arguments) -> Arguments:
        checked_sequences(name, arguments)
        length = arguments.pred.shape[1]
        if length <= left + right:
            raise ConfigError(
                f"{name} leaves nothing of a sequence of {length} samples; cut less, or use longer "
                "sequences.",
                key="loss",
            )
        part = slice(left, length - right)
        given = arguments.given
        if "batch" in given and right:
            given = {**given, "batch": _without_last(given["batch"], right)}
        return arguments._replace(
            pred=arguments.pred[:, part], target=arguments.target[:, part], given=given
        )

    def make(term: Term) -> Form:
        inner = points_of(term)

        def points(arguments: Arguments) -> Points:
            found = inner(narrow(arguments))
            pad = partial(library(found).pad, pad_width=((0, 0), (left, right), (0, 0)))
            return found._replace(values=pad(found.values), weights=pad(found.weights))

        return Form(
            lambda arguments: term(narrow(arguments)),
            points,
            channelwise=getattr(term.loss, "channelwise", False),
            narrow=narrow,
            again=lambda other: _cut(other, name, left, right),
        )

    return wrap(loss, make)


def _without_last(batch: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {k: v if k.endswith("_scalar") else v[:, : v.shape[1] - n] for k, v in batch.items()}
