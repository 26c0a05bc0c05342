"""Normal equations of whole records against the Jacobian that JAX takes of the same residuals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from tsjax_core import GRU, LSTM, NormStats, Signals, flatten_state, unflatten_state
from tsjax_core.models.linear import Linear
from tsjax_core.training.polish.problem import SimulationProblem
from tsjax_core.training.records import TrainingRecord

SIGNALS = Signals(
    inputs=("a", "b"),
    outputs=("p", "q", "r"),
    stats={
        "u": NormStats([1.0, -20.0], [2.0, 30.0]),
        "y": NormStats([3.0, 0.1, -5.0], [0.5, 10.0, 1.0]),
        "u_scalar": NormStats([1.5], [0.5]),
    },
    scalar_inputs=("mass",),
)
WEIGHTS = np.array([1.0, 0.25, 4.0])


def draw_records(lengths, *, scalars: bool = False) -> list[TrainingRecord]:
    """Records with gaps in the targets and samples that do not count."""
    rng = np.random.default_rng(0)
    records = []
    for number, n in enumerate(lengths):
        u = (rng.standard_normal((n, 2)) * [2.0, 30.0] + [1.0, -20.0]).astype(np.float32)
        y = (rng.standard_normal((n, 3)) * [0.5, 10.0, 1.0] + [3.0, 0.1, -5.0]).astype(np.float32)
        y[n // 2 : n // 2 + 3, 1] = np.nan
        inputs = (u, np.float32([1.0 + number])) if scalars else (u,)
        records.append(TrainingRecord(str(number), inputs, y, np.arange(n) >= 5))
    return records


def residuals_of(model, problem, records):
    """Return the residuals as one function of parameters and initial states, by whole records."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    _, unravel = ravel_pytree(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params))
    rest = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.inexact) else x, rest
    )

    def residuals(theta, starts):
        merged = nnx.merge(graphdef, unravel(theta), rest)
        merged.eval()
        rows = []
        for record, start in zip(records, starts, strict=True):
            like = merged.initial_state(1)
            state = unflatten_state(flatten_state(like) + start, like)
            y, _ = merged.advance(
                record.inputs[0][None], state, *(x[None] for x in record.inputs[1:])
            )
            counts = jnp.isfinite(record.target) & record.counts[:, None]
            error = jnp.where(counts, record.target - y[0], 0.0) / SIGNALS.stats["y"].std
            rows.append(jnp.ravel(error * jnp.sqrt(WEIGHTS)))
        return jnp.concatenate(rows)

    return residuals


@pytest.mark.parametrize(
    "spec,scalars",
    [
        (Linear(order=3), False),
        pytest.param(GRU(hidden_size=3, num_layers=2), False, marks=pytest.mark.slow),
        (LSTM(hidden_size=2, scalar_inputs=True), True),
    ],
    ids=["linear", "gru", "lstm"],
)
def test_normal_equations_are_those_of_the_whole_jacobian(spec, scalars):
    """In float64 to 1e-10, for records of unequal length cut into chunks and for their states."""
    records = draw_records((70, 33, 9), scalars=scalars)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    problem = SimulationProblem(
        model, records, SIGNALS.stats["y"].std, WEIGHTS, nnx.Param, np.float64, chunk=16
    )
    rng = np.random.default_rng(1)
    theta = problem.theta + 0.05 * rng.standard_normal(problem.n_params)
    starts = 0.3 * rng.standard_normal((3, problem.n_states))
    with jax.enable_x64(True):
        evaluated = problem.evaluate(theta[None], starts[None])
        normal = problem.linearize(theta, evaluated, 0)
        residuals = residuals_of(model, problem, records)
        error = np.asarray(residuals(jnp.asarray(theta), jnp.asarray(starts)))
        by_theta, by_start = jax.jit(jax.jacrev(residuals, (0, 1)))(
            jnp.asarray(theta), jnp.asarray(starts)
        )
    by_theta, by_start = (-np.asarray(x) for x in (by_theta, by_start))

    def close(got, expected):
        np.testing.assert_allclose(got, expected, atol=1e-10 * np.abs(expected).max())

    close(evaluated.costs[0], error @ error)
    close(normal.theta, by_theta.T @ by_theta)
    close(normal.gradient, by_theta.T @ error)
    close(normal.mixed, np.einsum("irs,ip->rsp", by_start, by_theta))
    close(normal.state, np.einsum("irs,irt->rst", by_start, by_start))
    close(normal.state_gradient, np.einsum("irs,i->rs", by_start, error))
    measured = sum(float((np.isfinite(r.target[5:]) * WEIGHTS).sum()) for r in records)
    assert problem.count == pytest.approx(measured)


def test_in_float32_they_agree_to_rounding():
    """The precision of the methods for larger models."""
    records = draw_records((90, 40))
    model = GRU(hidden_size=4).build(SIGNALS, rngs=nnx.Rngs(0))
    found = []
    for dtype in (np.float32, np.float64):
        problem = SimulationProblem(
            model, records, SIGNALS.stats["y"].std, WEIGHTS, nnx.Param, dtype, chunk=16
        )
        starts = np.zeros((1, 2, problem.n_states))
        evaluated = problem.evaluate(problem.theta[None], starts)
        found.append(problem.linearize(problem.theta, evaluated, 0).theta)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[1]).max())


def test_a_part_of_the_records_is_near_to_all_of_them():
    """Stretches with a run-up have the Jacobian of the whole, where the model has forgotten."""
    records = draw_records((16 * 40,))
    model = Linear(order=2).build(SIGNALS, rngs=nnx.Rngs(0))
    model.a[...] = jnp.diag(jnp.array([0.3, -0.4]))
    problem = SimulationProblem(
        model, records, SIGNALS.stats["y"].std, WEIGHTS, nnx.Param, np.float64, chunk=16
    )
    evaluated = problem.evaluate(problem.theta[None], np.zeros((1, 1, 2)))
    whole = problem.linearize(problem.theta, evaluated, 0)
    parts = [
        problem.linearize(problem.theta, evaluated, 0, share=0.3, seed=seed) for seed in range(40)
    ]
    again = problem.linearize(problem.theta, evaluated, 0, share=0.3, seed=3)
    np.testing.assert_array_equal(again.theta, parts[3].theta)
    scale = whole.theta[0, 0]
    # Of 8 stretches, 2 are drawn, and 4 of the 5 chunks of each count.
    mean = np.mean([part.theta[0, 0] for part in parts])
    assert mean / scale == pytest.approx(2 / 8 * 4 / 5, rel=0.1)
    assert len({part.theta[0, 0] for part in parts}) > 10


def test_parameters_go_back_into_the_model_in_their_own_precision():
    """`update` gives the model float32 parameters, in the places from which they came."""
    model = GRU(hidden_size=3).build(SIGNALS, rngs=nnx.Rngs(0))
    problem = SimulationProblem(
        model, draw_records((20,)), SIGNALS.stats["y"].std, WEIGHTS, nnx.Param
    )
    before = jax.tree.leaves(nnx.state(model, nnx.Param))
    problem.update(model, problem.theta)
    for a, b in zip(before, jax.tree.leaves(nnx.state(model, nnx.Param)), strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)
    problem.update(model, problem.theta + 1.0)
    for a, b in zip(before, jax.tree.leaves(nnx.state(model, nnx.Param)), strict=True):
        np.testing.assert_allclose(np.asarray(a) + 1.0, b, rtol=1e-6)
