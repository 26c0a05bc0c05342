"""Gauss-Newton steps by conjugate gradients, for models whose Jacobian is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.training.polish.levenberg_marquardt import PolishState
from tsjax_core.training.polish.problem import Evaluated, SimulationProblem
from tsjax_core.training.polish.simulation import Structure, Variables
from tsjax_core.types import Array, HostArray

_TRIED = (3, 6, 12, 24)
"""Iterations of conjugate gradients after which a step is tried; few of them damp as well."""

_PROBES = 8
"""Random vectors from which the diagonal of J'J is estimated."""

_GAIN = 1e-5


class ConjugateGaussNewton:
    """Minimises the error of a problem and a penalty by steps that need no Jacobian as a matrix.

    A step solves (J'J + damping diag J'J) x = J'e by conjugate gradients, with products of J and J'
    by automatic differentiation. The records are cut into stretches that are simulated side by
    side, each from its own state and with the samples before it as a run-up; the diagonal, which
    scales and preconditions, is estimated by random signs (Bekas, Kokiopoulou and Saad, 2007).
    Source: Nocedal and Wright, Numerical Optimization (2006), section 7.1.
    """

    def __init__(self, problem: SimulationProblem, *, penalty: HostArray | None = None) -> None:
        self.problem = problem
        self.prior = problem.theta
        weight = np.zeros(problem.n_params) if penalty is None else np.asarray(penalty, float)
        self._penalty = weight * problem.count
        self._evaluated: tuple[Evaluated, int] | None = None

    def begin(self, theta: HostArray, starts: HostArray) -> PolishState:
        """Return the state before the first step from `theta`; `starts` are kept as they are."""
        return PolishState(theta, starts, self._evaluate(theta, starts, 0), damping=0.1)

    def resume(self, state: PolishState) -> PolishState:
        """Return `state` ready for the next step, after it was read from a checkpoint."""
        self._evaluate(state.theta, state.starts, state.chosen)
        return state

    def step(self, state: PolishState) -> PolishState:
        """Return the state after one iteration; its cost is never larger."""
        assert self._evaluated is not None
        problem = self.problem
        with problem.precision():
            steps = _solve(
                problem.structure,
                jnp.asarray(state.theta, problem.dtype),
                problem.variables,
                problem.stretches(*self._evaluated),
                jnp.asarray(self._penalty, problem.dtype),
                jnp.asarray(self.prior, problem.dtype),
                jnp.asarray(state.damping, problem.dtype),
                jax.random.key(state.iteration),
            )
        thetas = state.theta + np.asarray(steps, np.float64)
        starts = np.repeat(state.starts[None], len(_TRIED), axis=0)
        evaluated = problem.evaluate(thetas, starts)
        costs = evaluated.costs + np.square(thetas - self.prior) @ self._penalty
        best = int(np.argmin(costs))
        if not costs[best] < state.cost * (1.0 - _GAIN):
            return replace(
                state,
                damping=state.damping * 10.0,
                failures=state.failures + 1,
                iteration=state.iteration + 1,
            )
        self._evaluated = (evaluated, best)
        # Where all iterations serve, less damping lets the next step go further.
        factor = 0.3 if best == len(_TRIED) - 1 else 1.5
        return replace(
            state,
            theta=thetas[best],
            cost=float(costs[best]),
            damping=max(state.damping * factor, 1e-8),
            failures=0,
            iteration=state.iteration + 1,
            chosen=best,
        )

    def _evaluate(self, theta: HostArray, starts: HostArray, place: int) -> float:
        n = len(_TRIED)
        evaluated = self.problem.evaluate(
            np.repeat(theta[None], n, axis=0), np.repeat(starts[None], n, axis=0)
        )
        self._evaluated = (evaluated, place)
        penalty = float(np.square(theta - self.prior) @ self._penalty)
        return float(evaluated.costs[place]) + penalty


@partial(jax.jit, static_argnums=0)
def _solve(
    structure: Structure,
    theta: Array,
    variables: Variables,
    stretches: Sequence[tuple[Array, Array, Array, Array, tuple[Array, ...]]],
    penalty: Array,
    prior: Array,
    damping: Array,
    key: Array,
) -> Array:
    """Return the steps after each number of iterations in `_TRIED`, (len(_TRIED), P).

    A stretch is (state, u, residual, weight, scalars), with the stretches as the first axis.
    """

    def weighted_outputs(theta: Array) -> list[Array]:
        outputs = []
        for state, u, _, weight, scalars in stretches:
            y, _ = structure.advance(theta, variables, u, scalars, state)
            outputs.append(weight * y)
        return outputs

    _, push = jax.linearize(weighted_outputs, theta)
    transposed: Any = jax.linear_transpose(push, theta)

    def pull(rows: list[Array]) -> Array:
        column: Array = transposed(rows)[0]
        return column

    gradient = pull([residual for _, _, residual, _, _ in stretches])
    gradient = gradient - penalty * (theta - prior)

    def probe(key: Array) -> Array:
        signs = [
            jax.random.rademacher(each, residual.shape, residual.dtype)
            for each, (_, _, residual, _, _) in zip(
                jax.random.split(key, len(stretches)), stretches, strict=True
            )
        ]
        return jnp.square(pull(signs))

    estimate = jax.lax.map(probe, jax.random.split(key, _PROBES)).mean(0) + penalty
    diagonal = jnp.maximum(estimate, 1e-6 * estimate.max()) + 1e-30

    def product(x: Array) -> Array:
        return pull(push(x)) + (penalty + damping * diagonal) * x

    def iterate(
        carry: tuple[Array, Array, Array, Array], _: Any
    ) -> tuple[tuple[Array, Array, Array, Array], Array]:
        x, rest, direction, size = carry
        along = product(direction)
        length = size / jnp.maximum(direction @ along, 1e-30)
        x, rest = x + length * direction, rest - length * along
        scaled = rest / diagonal
        new = rest @ scaled
        direction = scaled + new / jnp.maximum(size, 1e-30) * direction
        return (x, rest, direction, new), x

    scaled = gradient / diagonal
    begin = (jnp.zeros_like(theta), gradient, scaled, gradient @ scaled)
    _, found = jax.lax.scan(iterate, begin, None, length=_TRIED[-1])
    return found[jnp.array(_TRIED) - 1]
