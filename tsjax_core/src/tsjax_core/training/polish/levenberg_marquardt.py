"""Levenberg-Marquardt steps, several of them tried at once on the whole records."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from threadpoolctl import ThreadpoolController

from tsjax_core.training.polish.normal_equations import NormalEquations
from tsjax_core.training.polish.problem import Evaluated, SimulationProblem
from tsjax_core.types import HostArray

_FACTORS = np.array([0.003, 0.03, 0.3, 3.0])
"""What the damping is multiplied by for each step that is tried."""

_GAIN = 1e-5
"""Share by which the error has to fall for a step to count."""

_GAIN_OF_A_PART = 1e-4

_LEAST_DAMPING = 1e-10


@dataclass(frozen=True, eq=False)
class PolishState:
    """Where a polish is: parameters (P,), initial states (R, S), and the damping of the next step.

    `prior` is where the parameters began, to which the penalty refers. `cost` is the sum of squares
    with the penalty, `share` that of the records whose Jacobian the
    next step uses, and `chosen` the place that the last step had among those that were tried.
    """

    theta: HostArray
    starts: HostArray
    prior: HostArray
    cost: float
    damping: float = 1.0
    failures: int = 0
    iteration: int = 0
    share: float = 1.0
    chosen: int = 0


class LevenbergMarquardt:
    """Minimises the error of a problem and a penalty, with damping by the diagonal of J'J.

    Source: Marquardt (1963); the scaling by the diagonal makes the steps independent of the units
    of the parameters.

    Args:
        problem: The records and the model.
        train_starts: Whether the initial state of each record is trained along.
        penalty: Weight of the squared distance of each parameter from where it began, (P,), beside
            a mean of squares.
        share: Share of the records whose Jacobian the first steps use. It doubles when no step
            makes the error of the whole records smaller.
    """

    def __init__(
        self,
        problem: SimulationProblem,
        *,
        train_starts: bool,
        penalty: HostArray | None = None,
        share: float = 1.0,
    ) -> None:
        self._share = min(share, 1.0)
        self.problem = problem
        self.train_starts = train_starts
        self.prior = problem.theta
        weight = np.zeros(problem.n_params) if penalty is None else np.asarray(penalty, float)
        self.penalty = weight * problem.count
        self._evaluated: tuple[Evaluated, int] | None = None

    def begin(self, theta: HostArray, starts: HostArray) -> PolishState:
        """Return the state before the first step from `theta` and `starts`."""
        self.prior = theta
        cost = self._evaluate(theta, starts, 0)
        return PolishState(theta, starts, theta, cost, share=self._share)

    def resume(self, state: PolishState) -> PolishState:
        """Return `state` ready for the next step, after it was read from a checkpoint."""
        self.prior = state.prior
        self._evaluate(state.theta, state.starts, state.chosen)
        return state

    def step(self, state: PolishState) -> PolishState:
        """Return the state after one iteration; its cost is never larger."""
        dampings = state.damping * _FACTORS
        steps, start_steps = self._propose(state, dampings)
        thetas, starts = state.theta + steps, state.starts + start_steps
        evaluated = self.problem.evaluate(thetas, starts)
        costs = evaluated.costs + self._penalty_of(thetas)
        best = int(np.argmin(costs))
        part = state.share < 1.0
        # A part of the records suggests steps that gain hardly anything on all of them.
        if costs[best] < state.cost * (1.0 - (_GAIN_OF_A_PART if part else _GAIN)):
            self._evaluated = (evaluated, best)
            return PolishState(
                thetas[best],
                starts[best],
                self.prior,
                float(costs[best]),
                max(float(dampings[best]), _LEAST_DAMPING),
                0,
                state.iteration + 1,
                state.share,
                best,
            )
        if part:
            return replace(
                state,
                share=min(2.0 * state.share, 1.0),
                damping=min(state.damping * 3.0, 1e-2),
                iteration=state.iteration + 1,
            )
        return replace(
            state,
            damping=state.damping * 100.0,
            failures=state.failures + 1,
            iteration=state.iteration + 1,
        )

    def _propose(self, state: PolishState, dampings: HostArray) -> tuple[HostArray, HostArray]:
        """Return steps of the parameters (K, P) and of the initial states (K, R, S)."""
        normal = self.problem.linearize(
            state.theta, *self._current(), share=state.share, seed=state.iteration
        )
        # Threads of BLAS compete with those of JAX: a small system takes a hundred times longer.
        with (
            ThreadpoolController().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(len(dampings)) as pool,
        ):
            steps = list(pool.map(partial(self._solve, normal, state.theta), dampings))
        thetas, starts = zip(*steps, strict=True)
        return np.stack(thetas), np.stack(starts)

    def _current(self) -> tuple[Evaluated, int]:
        """Return the candidates among which the present parameters are, and their place."""
        assert self._evaluated is not None
        return self._evaluated

    def _evaluate(self, theta: HostArray, starts: HostArray, place: int) -> float:
        # As many candidates as in every step, so that one program serves both. What goes on from
        # a checkpoint has its old place among them, and so the same bits.
        n = len(_FACTORS)
        evaluated = self.problem.evaluate(
            np.repeat(theta[None], n, axis=0), np.repeat(starts[None], n, axis=0)
        )
        self._evaluated = (evaluated, place)
        return float(evaluated.costs[place] + self._penalty_of(theta[None])[0])

    def _penalty_of(self, thetas: HostArray) -> HostArray:
        return np.asarray(np.square(thetas - self.prior) @ self.penalty)

    def _solve(
        self, normal: NormalEquations, theta: HostArray, damping: float
    ) -> tuple[HostArray, HostArray]:
        """Return the steps of the parameters (P,) and of the initial states (R, S).

        The initial states are eliminated record by record, so that many records cost little.
        """
        matrix = normal.theta + np.diag(self.penalty)
        gradient = normal.gradient - self.penalty * (theta - self.prior)
        matrix[np.diag_indices_from(matrix)] += damping * _floored(np.diag(matrix))
        states = np.zeros_like(normal.state_gradient)
        if not self.train_starts:
            return _solve_symmetric(matrix, gradient), states
        diagonals = np.diagonal(normal.state, axis1=1, axis2=2)
        floor = _floored(diagonals)
        own = normal.state + damping * floor[:, :, None] * np.eye(normal.state.shape[1])
        reduced = np.linalg.solve(own, normal.mixed)
        reduced_gradient = np.linalg.solve(own, normal.state_gradient[..., None])[..., 0]
        matrix -= np.einsum("rsp,rsq->pq", normal.mixed, reduced, optimize=True)
        gradient = gradient - np.einsum("rsp,rs->p", normal.mixed, reduced_gradient)
        step = _solve_symmetric(matrix, gradient)
        return step, reduced_gradient - reduced @ step


def _floored(diagonal: HostArray) -> HostArray:
    """Return the scale of each unknown; those that act on nothing have that of the weakest."""
    return np.maximum(diagonal, max(1e-9 * float(diagonal.max(initial=0.0)), 1e-30))


def _solve_symmetric(matrix: HostArray, right: HostArray) -> HostArray:
    """Return the solution, NaN where rounding leaves the matrix without one."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)
