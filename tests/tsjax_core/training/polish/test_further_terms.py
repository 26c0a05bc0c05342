"""Terms beside the simulation error: their normal equations, and what a polish does with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from tsjax_core import (
    GRU,
    Learner,
    compose_losses,
    flatten_state,
    normalized_mse,
    predict,
    unflatten_state,
)
from tsjax_core.losses.compose import named_terms
from tsjax_core.models.linear import Linear
from tsjax_core.training.polish.further_terms import find_further_terms
from tsjax_core.training.polish.problem import SimulationProblem
from tsjax_core.training.records import TrainingRecord
from tsjax_core.types import NormStats, Signals

SIGNALS = Signals(
    inputs=("a",),
    outputs=("p", "q"),
    stats={"u": NormStats([1.0], [2.0]), "y": NormStats([3.0, 0.1], [0.5, 10.0])},
)
CHUNK = 16


@dataclass(frozen=True)
class Balance:
    """An equation that no data show: the rate of p is the input times a parameter, less q."""

    hidden: bool = False

    __name__ = "balance"

    @property
    def wants(self):
        return frozenset({"batch", "model"} | ({"aux"} if self.hidden else set()))

    def residuals(self, pred, target, y_mean, y_std, *, batch, model, aux=None):
        rate = jnp.diff(pred[..., 0], axis=1)
        first = nnx.state(model, nnx.Param)
        gain = jax.tree.leaves(first)[0].reshape(-1)[0]
        equation = rate - gain * batch["u"][:, 1:, 0] + 0.01 * pred[:, 1:, 1]
        parts = [equation[..., None]]
        if self.hidden:
            parts.append(aux["hidden"][:, 1:, :2])
        return jnp.concatenate(parts, axis=-1)

    def __call__(self, pred, target, y_mean, y_std, **given):
        return jnp.mean(jnp.sum(self.residuals(pred, target, y_mean, y_std, **given) ** 2, -1))


def draw_record(n: int, name: str) -> TrainingRecord:
    rng = np.random.default_rng(n)
    u = (rng.standard_normal((n, 1)) * 2.0 + 1.0).astype(np.float32)
    y = (rng.standard_normal((n, 2)) * [0.5, 10.0] + [3.0, 0.1]).astype(np.float32)
    return TrainingRecord(name, (u,), y, np.arange(n) >= 3)


@pytest.mark.parametrize(
    "spec,term",
    [(Linear(order=2), Balance()), (GRU(hidden_size=3), Balance(hidden=True))],
    ids=["linear", "intermediate values"],
)
def test_their_rows_join_the_normal_equations(spec, term):
    """Against the Jacobian of all residuals of two records, chunk after chunk, as JAX takes it."""
    records = [draw_record(2 * CHUNK, "a"), draw_record(CHUNK, "b")]
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    weight = 0.3
    found = find_further_terms(
        named_terms(compose_losses((normalized_mse, 1.0), (term, weight))), ("u",), SIGNALS
    )
    problem = SimulationProblem(
        model, records, SIGNALS.stats["y"].std, np.ones(2), nnx.Param, chunk=CHUNK, terms=found
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def residuals(theta, starts):
        merged = nnx.merge(graphdef, unravel(theta), rest)
        rows, further = [], []
        for record, start in zip(records, starts, strict=True):
            like = merged.initial_state(1)
            state = unflatten_state(flatten_state(like) + start, like)
            for begin in range(0, len(record.target), CHUNK):
                part = slice(begin, begin + CHUNK)
                u = jnp.asarray(record.inputs[0][None, part], theta.dtype)
                if term.hidden:
                    y, state, aux = merged.advance_with_aux(u, state)
                else:
                    (y, state), aux = merged.advance(u, state), {}
                error = (record.target[part] - y[0]) / SIGNALS.stats["y"].std
                rows.append(jnp.ravel(error * record.counts[part, None]))
                given = {"batch": {"u": u}, "model": merged}
                given |= {"aux": aux} if term.hidden else {}
                equation = term.residuals(y, None, None, None, **given)
                # A chunk counts as its mean over the samples, of 3 chunks in all.
                further.append(-jnp.ravel(equation) * np.sqrt(weight * problem.count / 3 / CHUNK))
        return jnp.concatenate(rows + further)

    rng = np.random.default_rng(1)
    starts = 0.3 * rng.standard_normal((2, problem.n_states))
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        rest = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.inexact) else x,
            rest,
        )
        _, unravel = ravel_pytree(params)
        evaluated = problem.evaluate(problem.theta[None], starts[None])
        normal = problem.linearize(problem.theta, evaluated, 0)
        error = np.asarray(residuals(jnp.asarray(problem.theta), jnp.asarray(starts)))
        jacobians = jax.jit(jax.jacrev(residuals, (0, 1)))(
            jnp.asarray(problem.theta), jnp.asarray(starts)
        )
    by_theta, by_start = (-np.asarray(x) for x in jacobians)
    for got, expected in (
        (evaluated.costs[0], error @ error),
        (normal.theta, by_theta.T @ by_theta),
        (normal.gradient, by_theta.T @ error),
        (normal.mixed, np.einsum("irs,ip->rsp", by_start, by_theta)),
        (normal.state, np.einsum("irs,irt->rst", by_start, by_start)),
        (normal.state_gradient, np.einsum("irs,i->rs", by_start, error)),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["exact", "part", "conjugate"])
def test_every_method_obeys_them(bent_data, method):
    """A heavy equation, that the outputs do not change in time, holds better after a polish."""
    n_outputs = len(bent_data.signals.outputs)

    @dataclass(frozen=True)
    class Level:
        """The outputs do not change in time."""

        __name__ = "level"
        wants = frozenset({"model"})

        def residuals(self, pred, target, y_mean, y_std, *, model):
            return jnp.diff(pred, axis=1)[..., :n_outputs] / y_std

        def __call__(self, pred, target, y_mean, y_std, *, model):
            return jnp.mean(
                jnp.sum(self.residuals(pred, target, y_mean, y_std, model=model) ** 2, -1)
            )

    def rate(weight: float) -> float:
        loss = compose_losses((normalized_mse, 1.0), (Level(), weight))
        learner = Learner(GRU(hidden_size=4), bent_data, loss=loss, n_skip=20)
        learner.polish(iterations=5, method=method, show_progress=False)
        record = next(iter(learner.training_records()))
        prediction = np.asarray(predict(learner.model, *record.inputs))
        return float(np.mean((np.diff(prediction, axis=0) / learner.signals.stats["y"].std) ** 2))

    assert rate(100.0) < 0.1 * rate(0.0)


def test_terms_that_compare_outputs_alone_are_not_added():
    """They are in the simulation error already, and those of no weight cost nothing."""
    terms = named_terms(compose_losses(a=(normalized_mse, 1.0), b=(Balance(), 0.0)))
    assert find_further_terms(terms, ("u",), SIGNALS) is None
    more = [*terms[:1], replace(terms[1], weight=2.0)]
    assert [term.name for term in find_further_terms(more, ("u",), SIGNALS).terms] == ["b"]
