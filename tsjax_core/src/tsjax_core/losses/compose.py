"""Weighted sums of loss terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import Declared, declare, name_of
from tsjax_core.types import AnyArray, Array


@dataclass(frozen=True)
class NamedTerm:
    """One term of a loss: its name in the history, the loss with what it declares, its weight."""

    name: str
    loss: Declared
    weight: float

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that every call has to give."""
        return self.loss.wants

    def __call__(
        self,
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray | None,
        y_std: AnyArray | None,
        given: Mapping[str, Any],
    ) -> Array:
        """Return the weighted value; `given` holds at least the arguments in `wants`."""
        value: Array = self.weight * self.loss(pred, target, y_mean, y_std, given=given)
        return value

    def bind(self, **values: Any) -> NamedTerm:
        """Return the term with those of `values` that it wants bound to it."""
        return replace(self, loss=self.loss.bind(**values))


@dataclass(frozen=True)
class ComposedLoss:
    """The weighted sum of named terms, itself a loss term. Made by `compose_losses`."""

    terms: tuple[NamedTerm, ...]

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the terms declare together."""
        return frozenset[str]().union(*(term.wants for term in self.terms))

    def __call__(
        self,
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray | None = None,
        y_std: AnyArray | None = None,
        *,
        key: Array | None = None,
        **given: Any,
    ) -> Array:
        """Return the weighted sum as a scalar; `given` has what the terms declare."""
        values = [
            term(pred, target, y_mean, y_std, {**given, "key": term_key(key, number)})
            for number, term in enumerate(self.terms)
        ]
        return sum(values[1:], start=values[0])


def term_key(key: Array | None, number: int) -> Array | None:
    """Return the key of a term by its place, so that no two terms draw the same numbers."""
    return None if key is None else jax.random.fold_in(key, number)


def named_terms(loss: Callable[..., Array]) -> tuple[NamedTerm, ...]:
    """Return the terms of `loss`: those of a composed loss, or the loss alone under its name.

    Raises:
        SignatureError: The loss declares an argument that tsjax does not give.
    """
    if isinstance(loss, ComposedLoss):
        return loss.terms
    return (NamedTerm(name_of(loss), declare("loss", loss), 1.0),)


def compose_losses(
    *terms: tuple[Callable[..., Array], float], **named: tuple[Callable[..., Array], float]
) -> ComposedLoss:
    """Return the loss `sum(weight * term)`, whose terms appear by name in the history.

    `compose_losses((normalized_mse, 1.0), (physics, 0.1))` takes the names from the functions;
    `compose_losses(fit=(normalized_mse, 1.0), physics=(physics, 0.1))` gives them. A composed loss
    may be a term of another: its terms are taken over with their weights multiplied.

    Raises:
        ConfigError: No term, a term that is not a pair, a weight that is not finite, or one name
            twice.
        SignatureError: A term declares an argument that tsjax does not give.
    """
    pairs = [(None, pair) for pair in terms] + list(named.items())
    if not pairs:
        raise ConfigError("compose_losses got no term; give at least one (loss, weight) pair.")
    flat: list[NamedTerm] = []
    for name, pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[0])):
            raise ConfigError(
                f"compose_losses got {pair!r}; each term is a pair (loss, weight), "
                "such as (normalized_mse, 1.0)."
            )
        loss, weight = pair
        if not abs(float(weight)) < float("inf"):
            raise ConfigError(
                f"compose_losses got the weight {weight!r} for {name or name_of(loss)!r}; "
                "weights are finite numbers."
            )
        inner = named_terms(loss)
        for term in inner:
            label = (
                term.name if name is None else name if len(inner) == 1 else f"{name}.{term.name}"
            )
            flat.append(NamedTerm(label, term.loss, float(weight) * term.weight))
    labels = [term.name for term in flat]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(
            f"compose_losses got two terms named {', '.join(map(repr, twice))}; "
            "name them by keyword: compose_losses(first=(loss, 1.0), second=(loss, 0.1))."
        )
    return ComposedLoss(tuple(flat))
