"""How sure the parameters of a model are, and what it simulates with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.training.optimizer.parameter_names import parameter_name
from tsjax_core.training.polish.normal_equations import NormalEquations
from tsjax_core.training.polish.options import PolishOptions
from tsjax_core.training.polish.polish import make_task, trained_filter, trains_starts
from tsjax_core.training.polish.problem import SimulationProblem
from tsjax_core.training.polish.simulation import Structure, Variables
from tsjax_core.types import AnyArray, Array, HostArray

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

_RANK = 1e-10
"""Eigenvalues of the scaled J'J below this share of the largest count as zero."""


@dataclass(frozen=True, eq=False)
class ModelUncertainty:
    """The covariance of the parameters of a model, and what follows for its outputs.

    It holds to first order, for a model that can describe the system and for errors of measurement
    that are white: the covariance is (J'J)^-1 with the Jacobian in standard deviations of the
    error of each output. Directions of the parameters that no output shows, such as another basis
    of the states, have no part in it. Source: Ljung, System Identification (1999), section 9.2.
    """

    covariance: HostArray
    """(P, P), in the order of `names`."""
    names: tuple[str, ...]
    """Name of each parameter, with its place in the array: `a[0, 1]`."""
    noise: HostArray
    """Standard deviation of the error of each output on the training records, (n_y,), raw units."""
    _problem: SimulationProblem = field(repr=False)

    @property
    def std(self) -> dict[str, float]:
        """The standard deviation of each parameter by its name."""
        deviations = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return dict(zip(self.names, deviations.tolist(), strict=True))

    def output_std(self, u: AnyArray, *scalars: AnyArray) -> HostArray:
        """Return the standard deviation of the simulated outputs, (time, n_y), raw units.

        It is that of the model's uncertainty alone: a measurement has the error `noise` besides.
        The simulation of `u` (time, n_u) begins at the model's own initial state.

        Raises:
            ModelError: `u` is not (time, n_u).
        """
        problem = self._problem
        given = np.asarray(u)
        if given.ndim != 2:
            raise ModelError(
                f"output_std got inputs of shape {given.shape}; give one record, (time, n_u)."
            )
        with problem.precision():
            variance = _output_variance(
                problem.structure,
                jnp.asarray(problem.theta, problem.dtype),
                problem.variables,
                jnp.asarray(given, problem.dtype),
                [jnp.asarray(x, problem.dtype) for x in scalars],
                jnp.asarray(self.covariance, problem.dtype),
            )
            return np.sqrt(np.maximum(np.asarray(variance, np.float64), 0.0))


def model_uncertainty(learner: Learner, **options: Any) -> ModelUncertainty:
    """Return the uncertainty of a learner's model, from the Jacobian of the training records.

    The model is to be at a minimum of its simulation error, as `learner.polish` leaves it.
    `options` are those of a polish: `frozen` parameters are taken as known, and with
    `initial_states` that are trained, these are unknown too.

    Raises:
        ModelError: The model is no `StatefulModel`, or reads measured outputs.
        ConfigError: An option is wrong, or the records have fewer samples than parameters.
    """
    settings = PolishOptions(iterations=1, method="exact", **options)
    problem = make_task(learner, settings).problem
    n_y = len(learner.signals.outputs)
    starts = np.zeros((1, problem.n_records, problem.n_states))
    trained = trains_starts(learner, settings)
    squares, counts = _squares(problem, starts, n_y, trained)
    variance = squares / np.maximum(counts - problem.n_params / n_y, 1.0)
    # Each output counts by its own error.
    std = np.asarray(learner.signals.stats["y"].std, np.float64)
    whitened = SimulationProblem(
        learner.model,
        learner.training_records(),
        std,
        1.0 / np.maximum(variance, 1e-30),
        trained_filter(settings.frozen),
    )
    normal = whitened.linearize(whitened.theta, whitened.evaluate(whitened.theta[None], starts), 0)
    names = []
    params = nnx.state(learner.model, trained_filter(settings.frozen))
    for path, leaf in jax.tree.leaves_with_path(params):
        places = np.ndindex(*leaf.shape)
        names += [f"{parameter_name(path)}{list(place) or ''}" for place in places]
    covariance = _invert(_reduce(normal) if trained else normal.theta)
    return ModelUncertainty(covariance, tuple(names), np.sqrt(variance) * std, whitened)


def _squares(
    problem: SimulationProblem, starts: HostArray, n_y: int, trained: bool
) -> tuple[HostArray, HostArray]:
    """Return the sum of squared residuals and the number of samples of each output, (n_y,)."""
    evaluated = problem.evaluate(problem.theta[None], starts)
    if trained:
        normal = problem.linearize(problem.theta, evaluated, 0)
        own = normal.state + 1e-9 * np.trace(normal.state, axis1=1, axis2=2)[:, None, None] * (
            np.eye(problem.n_states)
        )
        found = np.linalg.solve(own, normal.state_gradient[..., None])[..., 0]
        starts[0] += found
        evaluated = problem.evaluate(problem.theta[None], starts)
    squares, counts = np.zeros(n_y), np.zeros(n_y)
    for residuals, weight in zip(evaluated.residuals, problem.weights, strict=True):
        squares += np.square(np.asarray(residuals[0], np.float64)).reshape(-1, n_y).sum(0)
        counts += (np.asarray(weight) != 0.0).reshape(-1, n_y).sum(0)
    return squares, counts


def _reduce(normal: NormalEquations) -> HostArray:
    """Return J'J of the parameters where the initial states of the records are unknown too."""
    floor = 1e-12 * np.trace(normal.state, axis1=1, axis2=2)[:, None, None] + 1e-30
    own = normal.state + floor * np.eye(normal.state.shape[1])
    reduced = np.linalg.solve(own, normal.mixed)
    return np.asarray(normal.theta - np.einsum("rsp,rsq->pq", normal.mixed, reduced, optimize=True))


def _invert(gram: HostArray) -> HostArray:
    """Return the inverse of J'J on the directions that the outputs show."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    kept = values > _RANK * values.max(initial=0.0)
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return np.asarray(inverse / np.outer(scale, scale))


@partial(jax.jit, static_argnums=0)
def _output_variance(
    structure: Structure,
    theta: Array,
    variables: Variables,
    u: Array,
    scalars: list[Array],
    covariance: Array,
) -> Array:
    """Return the variance of each output that the covariance of `theta` gives, (time, n_y)."""
    batched = [x[None] for x in scalars]

    def step(theta: Array, x: Array, u: Array) -> tuple[Array, Array]:
        y, after = structure.advance(theta, variables, u[None, None], batched, x[None])
        return after[0], y[0, 0]

    def carry(before: tuple[Array, Array], u: Array) -> tuple[tuple[Array, Array], Array]:
        x, sensitivity = before
        (of_theta, y_theta), (of_x, y_x) = (tuple(jax.jacrev(step, k)(theta, x, u)) for k in (0, 1))
        row = y_x @ sensitivity + y_theta
        variance = jnp.einsum("yp,pq,yq->y", row, covariance, row)
        return (step(theta, x, u)[0], of_x @ sensitivity + of_theta), variance

    start = structure.start(theta, variables)
    own = jax.jacfwd(lambda theta: structure.start(theta, variables))(theta)
    _, variance = jax.lax.scan(carry, (start, own), u)
    return variance
