"""A loss made of another one.

It keeps the name of the loss that it wraps, and declares what that one declares. A composed loss
is wrapped term by term, so that every term keeps its name and its weight.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tsjax_core.losses.compose import ComposedLoss
from tsjax_core.protocols import LossTerm
from tsjax_core.signatures import LOSS_ARGUMENTS, TERM_PARAMETERS, declared, name_of
from tsjax_core.types import AnyArray, Array


class Arguments(NamedTuple):
    """What a loss is called with; `given` has the values of the arguments that it declares."""

    pred: Any
    target: Any
    y_mean: Any
    y_std: Any
    given: Mapping[str, Any]


class Points(NamedTuple):
    """The value and the weight of a loss at every sample, (batch, time, n).

    n is 1, or the channels where `per_channel`. The loss is `sum(weights * values) /
    sum(weights)`; the weight is 0 where nothing was measured.
    """

    values: AnyArray
    weights: AnyArray
    per_channel: bool


@dataclass(frozen=True)
class Term:
    """A loss that is wrapped, and the arguments that it declares."""

    loss: Callable[..., Array]
    wants: frozenset[str]

    def __call__(self, arguments: Arguments) -> Array:
        """Return the value of the loss, which gets exactly what it declares."""
        given = {name: arguments.given[name] for name in self.wants}
        return self.loss(*arguments[:4], **given)


@dataclass(frozen=True)
class Form:
    """What a wrapper makes of a term.

    Args:
        value: The loss.
        points: The loss at every sample.
        adds: What the wrapper itself declares.
        channelwise: Whether the loss is meaningful for each output channel alone.
        narrow: For a loss that is the wrapped one of a part of the samples or channels: that part.
        again: Wraps another loss in the same way.
    """

    value: Callable[[Arguments], Array]
    points: Callable[[Arguments], Points]
    adds: frozenset[str] = frozenset()
    channelwise: bool = False
    narrow: Callable[[Arguments], Arguments] | None = None
    again: Callable[[LossTerm], LossTerm] | None = None


def term_of(loss: Callable[..., Array]) -> Term:
    """Return `loss` with what it declares.

    Raises:
        SignatureError: It declares an argument that tsjax does not give.
    """
    wants = declared(loss, kind="loss", offered=LOSS_ARGUMENTS, positional=TERM_PARAMETERS)
    return Term(loss, wants)


def form_of(loss: Callable[..., Array]) -> Form | None:
    """Return what a wrapper made of the loss inside it, None for a loss that wraps none."""
    form: Form | None = getattr(loss, "wrapping", None)
    return form


def wrap(loss: LossTerm, make: Callable[[Term], Form]) -> LossTerm:
    """Return the loss that `make` forms of `loss`, or of each term of a composed one.

    Raises:
        SignatureError: `loss` is no loss, or declares an argument that tsjax does not give.
    """
    if isinstance(loss, ComposedLoss):
        return wrap_terms(loss, lambda term: wrap(term, make))
    return _wrapped(term_of(loss), make)


def wrap_terms(
    loss: ComposedLoss, wrapper: Callable[[Callable[..., Array]], LossTerm]
) -> ComposedLoss:
    """Return `loss` with `wrapper` around each term, under the same names and weights."""
    terms = []
    for named in loss.terms:
        term = wrapper(named.term)
        terms.append(replace(named, term=term, wants=term_of(term).wants))
    return ComposedLoss(tuple(terms))


def _wrapped(term: Term, make: Callable[[Term], Form]) -> LossTerm:
    form = make(term)
    signature = _signature(term, form.adds)

    def loss(*values: Any, **options: Any) -> Array:
        bound = signature.bind(*values, **options)
        bound.apply_defaults()
        given = dict(bound.arguments)
        pred, target, y_mean, y_std = (given.pop(name) for name in TERM_PARAMETERS)
        return form.value(Arguments(pred, target, y_mean, y_std, given))

    loss.__name__ = loss.__qualname__ = name_of(term.loss)
    loss.__doc__ = inspect.getdoc(term.loss)
    vars(loss).update(
        __signature__=signature, wrapping=form, inner=term.loss, channelwise=form.channelwise
    )
    return loss


def _signature(term: Term, adds: frozenset[str]) -> inspect.Signature:
    """Return the signature of a loss term that declares what `term` does and `adds`."""
    own = inspect.signature(term.loss).parameters
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [p for p in own.values() if p.kind in kinds][:4]
    # A metric may be called with prediction and target alone.
    defaults = [p.default for p in first] if len(first) == 4 else [inspect.Parameter.empty] * 4
    positional = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in zip(TERM_PARAMETERS, defaults, strict=True)
    ]
    further = [
        own.get(name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY))
        if name not in adds
        else inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
        for name in sorted(term.wants | adds)
    ]
    return inspect.Signature([*positional, *further])
