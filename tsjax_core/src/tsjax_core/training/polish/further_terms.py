"""Terms of the loss that a polish minimises beside the simulation error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tsjax_core.losses.compose import NamedTerm
from tsjax_core.losses.wrapping import has_residuals
from tsjax_core.types import Array, Signals

_OFFERED = frozenset({"batch", "model", "aux", "signals", "progress"})


@dataclass(frozen=True, eq=False)
class FurtherTerms:
    """Means of squares that depend on more than output and target, such as those of equations.

    They are computed chunk by chunk of the training records, so that a residual with differences
    in time has its ends at those of the chunks.

    Args:
        terms: Terms that are a `ResidualTerm`, with their weights.
        reads: The batch keys of the model's inputs, in their order.
        signals: Names, sampling time and statistics.
        scale: What the sum of squares of one chunk is multiplied by.
    """

    terms: tuple[NamedTerm, ...]
    reads: tuple[str, ...]
    signals: Signals
    scale: float = 1.0

    @property
    def wants_aux(self) -> bool:
        """Whether a term reads intermediate values of the model."""
        return any("aux" in term.wants for term in self.terms)

    def __call__(
        self, model: Any, u: Array, scalars: Sequence[Array], y: Array, aux: Mapping[str, Array]
    ) -> Array:
        """Return the residuals of a batch of chunks, (batch, m), for outputs (batch, time, n_y)."""
        batch = dict(zip(self.reads, (u, *scalars), strict=True))
        stats = self.signals.stats["y"]
        given = {
            "batch": batch,
            "model": model,
            "aux": aux,
            "signals": self.signals,
            "progress": jnp.ones((), y.dtype),
        }
        rows = []
        for term in self.terms:
            wanted = {name: given[name] for name in term.wants}
            loss: Any = term.loss.component
            residuals = loss.residuals(y, y, stats.mean, stats.std, **term.loss.bound, **wanted)
            factor = math.sqrt(term.weight * self.scale / y.shape[1])
            rows.append(factor * residuals.reshape(len(y), -1))
        return jnp.concatenate(rows, axis=1).astype(y.dtype)


def find_further_terms(
    terms: Sequence[NamedTerm], reads: Sequence[str], signals: Signals
) -> FurtherTerms | None:
    """Return the terms that a polish adds to the simulation error, None where there is none.

    They have residuals, and read the model, its inputs or its intermediate values. What compares
    outputs with targets alone is in the simulation error already.
    """
    found = tuple(
        term
        for term in terms
        if has_residuals(term.loss.component)
        and term.weight > 0.0
        and (term.wants | term.loss.bound.keys()) & {"batch", "model", "aux"}
        and term.wants <= _OFFERED
    )
    return FurtherTerms(found, tuple(reads), signals) if found else None
