"""Gauss-Newton steps by conjugate gradients, for models whose Jacobian is too large."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.training.polish.levenberg_marquardt import LevenbergMarquardt, PolishState
from tsjax_core.training.polish.problem import SimulationProblem
from tsjax_core.training.polish.simulation import Structure, Variables
from tsjax_core.types import Array, HostArray

_ITERATIONS = 40
"""Iterations of conjugate gradients. Few of them damp the step as well."""

_PROBES = 8
"""Random vectors from which the diagonal of J'J is estimated."""


class ConjugateGaussNewton(LevenbergMarquardt):
    """Levenberg-Marquardt steps that need no Jacobian as a matrix.

    A step solves (J'J + damping diag J'J) x = J'e by conjugate gradients, with products of J and J'
    by automatic differentiation. The records are cut into stretches that are simulated side by
    side, each from its own state and with the samples before it as a run-up; the diagonal, which
    scales and preconditions, is estimated by random signs (Bekas, Kokiopoulou and Saad, 2007).
    Source: Nocedal and Wright, Numerical Optimization (2006), section 7.1.

    Args:
        problem: The records and the model.
        penalty: As of `LevenbergMarquardt`. Initial states stay as they are.
    """

    def __init__(self, problem: SimulationProblem, *, penalty: HostArray | None = None) -> None:
        super().__init__(problem, train_starts=False, penalty=penalty)

    def _propose(self, state: PolishState, dampings: HostArray) -> tuple[HostArray, HostArray]:
        problem = self.problem
        with problem.precision():
            steps = _solve(
                problem.structure,
                jnp.asarray(state.theta, problem.dtype),
                problem.variables,
                problem.stretches(*self._current()),
                jnp.asarray(self.penalty, problem.dtype),
                jnp.asarray(self.prior, problem.dtype),
                jnp.asarray(dampings, problem.dtype),
                jax.random.key(state.iteration),
            )
        starts = np.zeros((len(dampings), *state.starts.shape))
        return np.asarray(steps, np.float64), starts


@partial(jax.jit, static_argnums=0)
def _solve(
    structure: Structure,
    theta: Array,
    variables: Variables,
    stretches: Sequence[tuple[Array, Array, Array, Array, tuple[Array, ...], Array]],
    penalty: Array,
    prior: Array,
    dampings: Array,
    key: Array,
) -> Array:
    """Return the step for each of `dampings` (K,), as (K, P).

    A stretch is (state, u, residual, weight, scalars, number of chunks), with the stretches as the
    first axis.
    """

    def weighted_outputs(theta: Array) -> list[Array]:
        outputs = []
        for state, u, _, weight, scalars, number in stretches:
            y, _ = structure.advance(theta, variables, u, scalars, state)
            further = structure.further(theta, variables, u, scalars, state)
            outputs += [weight * y, jnp.sqrt(number)[:, None] * further]
        return outputs

    now, push = jax.linearize(weighted_outputs, theta)
    transposed: Any = jax.linear_transpose(push, theta)

    def pull(rows: list[Array]) -> Array:
        column: Array = transposed(rows)[0]
        return column

    # The error of a further term is its value with the opposite sign: it is to be 0.
    errors = [stretch[2] for stretch in stretches]
    further = [-value for value in now[1::2]]
    rows = [row for pair in zip(errors, further, strict=True) for row in pair]
    gradient = pull(rows)
    gradient = gradient - penalty * (theta - prior)

    def probe(key: Array) -> Array:
        signs = [
            jax.random.rademacher(each, row.shape, row.dtype)
            for each, row in zip(jax.random.split(key, len(rows)), rows, strict=True)
        ]
        return jnp.square(pull(signs))

    estimate = jax.lax.map(probe, jax.random.split(key, _PROBES)).mean(0) + penalty
    diagonal = jnp.maximum(estimate, 1e-6 * estimate.max()) + 1e-30

    def solve(damping: Array) -> Array:
        own = penalty + damping * diagonal
        scale = estimate + damping * diagonal + 1e-30

        def iterate(
            carry: tuple[Array, Array, Array, Array], _: Any
        ) -> tuple[tuple[Array, Array, Array, Array], None]:
            x, rest, direction, size = carry
            along = pull(push(direction)) + own * direction
            length = size / jnp.maximum(direction @ along, 1e-30)
            x, rest = x + length * direction, rest - length * along
            scaled = rest / scale
            new = rest @ scaled
            direction = scaled + new / jnp.maximum(size, 1e-30) * direction
            return (x, rest, direction, new), None

        scaled = gradient / scale
        begin = (jnp.zeros_like(theta), gradient, scaled, gradient @ scaled)
        (x, *_), _ = jax.lax.scan(iterate, begin, None, length=_ITERATIONS)
        return x

    steps: Array = jax.lax.map(solve, dampings)
    return steps
