"""Linear models of the training records, by least squares and by subspace identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import check_counts
from tsjax_core.errors import ConfigError, DataError, ModelError
from tsjax_core.models.arx_coefficients import ARXCoefficients, fit_arx
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.models.subspace import (
    Records,
    StateSpaceMatrices,
    estimate_start,
    fit_inputs,
    identify_state_space,
    reflect_poles,
)
from tsjax_core.types import Array, Buffer, HostArray, Signals

_ORDERS = (1, 2, 3, 4, 5, 6, 8, 10)
"""Orders from which validation chooses."""

_BETTER = 0.98
"""A higher order is taken where its error is below this share of a lower order's."""


S = TypeVar("S", "Linear", "ARX")


@dataclass(frozen=True)
class Linear:
    """Linear state space by subspace identification (PO-MOESP), stable.

    A learner begins with the model of its training records, and further training starts there.

    Args:
        order: Number of states. If not given, the validation records choose it among 1 to 10.
        direct: Whether the present input acts on the present output.
        horizon: Samples of past and future that the identification looks at, 2 order + 4 if not
            given.
    """

    order: int | None = None
    direct: bool = True
    horizon: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_counts(self, **{k: 1 for k in ("order", "horizon") if getattr(self, k) is not None})
        if self.horizon is not None and self.order is not None and self.horizon <= self.order:
            raise ConfigError(
                f"horizon = {self.horizon} and order = {self.order}; give a longer horizon.",
                key="horizon",
            )

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> LinearModel:
        """Return a stable random model of the given order."""
        return LinearModel(signals, _order_of(self), direct=self.direct, rngs=rngs)

    def identify(
        self, signals: Signals, train: Records, valid: Records, *, rngs: nnx.Rngs
    ) -> tuple[Linear, LinearModel]:
        """Return the specification with its order, and the model of the training records.

        Raises:
            DataError: The records are too short for the horizon.
        """
        orders: tuple[int, ...] = _ORDERS if self.order is None else (self.order,)
        if self.horizon is not None:
            orders = tuple(order for order in orders if order < self.horizon)
        normalized, checked = (_normalize(records, signals) for records in (train, valid))
        found = _identify_possible(normalized, orders, self.horizon, direct=self.direct)
        return _begin(self, found, normalized, checked, signals, rngs)


@dataclass(frozen=True)
class ARX:
    """Linear ARX model: least squares of one-step-ahead prediction, stable, as a simulation model.

    A learner begins with the model of its training records, and further training starts there.

    Args:
        order: Past outputs and past inputs in the equation. If not given, the validation records
            choose it among 1 to 10, by simulation.
        direct: Whether the present input acts on the present output.
    """

    order: int | None = None
    direct: bool = True

    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_counts(self, **({} if self.order is None else {"order": 1}))

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> LinearModel:
        """Return a stable random model of the given order."""
        n = _order_of(self) * len(signals.outputs)
        return LinearModel(signals, n, direct=self.direct, rngs=rngs)

    def identify(
        self, signals: Signals, train: Records, valid: Records, *, rngs: nnx.Rngs
    ) -> tuple[ARX, LinearModel]:
        """Return the specification with its order, and the model of the training records.

        Raises:
            DataError: The records are too short for the order.
        """
        normalized, checked = (_normalize(records, signals) for records in (train, valid))
        found: dict[int, StateSpaceMatrices] = {}
        longest = max(len(u) for u, _ in normalized)
        for order in _ORDERS if self.order is None else (self.order,):
            if order < longest or self.order is not None:
                model = _realize(fit_arx(normalized, order, order + 1, direct=self.direct))
                stable = reflect_poles(model.a)
                if stable is not model.a:
                    model = fit_inputs(normalized, stable, model.c, direct=self.direct)
                found[order] = model
        return _begin(self, found, normalized, checked, signals, rngs)


class LinearModel(nnx.Module):
    """x+ = a x + b u, y = c x + d u + offset, in normalised inputs and outputs.

    The state before the first sample is zero, the equilibrium of inputs at their mean.
    """

    def __init__(self, signals: Signals, order: int, *, direct: bool, rngs: nnx.Rngs) -> None:
        require_signals(signals, ("u", "y"), "a linear model")
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in ("u", "y"))
        key = rngs.params()
        keys = jax.random.split(key, 4)
        # Time constants of 2 to 20 samples.
        decay = jnp.exp(-1.0 / jnp.exp(jax.random.uniform(keys[0], (order,), minval=0.7, maxval=3)))
        self.a = nnx.Param(jnp.diag(decay))
        self.b = nnx.Param(jax.random.normal(keys[1], (order, n_u)) * (1.0 - decay)[:, None])
        self.c = nnx.Param(jax.random.normal(keys[2], (n_y, order)) / jnp.sqrt(order))
        d = 0.1 * jax.random.normal(keys[3], (n_y, n_u))
        self.d: nnx.Param[Array] | Buffer = nnx.Param(d) if direct else Buffer(jnp.zeros_like(d))
        self.offset = nnx.Param(jnp.zeros(n_y))

    def __call__(self, u: Array) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u)."""
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def initial_state(self, batch_size: int) -> Array:
        """Return the zero state, (batch, order)."""
        return jnp.zeros((batch_size, len(self.a[...])), self.a.dtype)

    def advance(self, u: Array, state: Array) -> tuple[Array, Array]:
        """Simulate a chunk `u` (batch, time, n_u) from `state` (batch, order)."""
        normalized = self.u_scale.normalize(u)
        driven = jnp.moveaxis(normalized @ self.b[...].T, 1, 0)
        a = self.a[...].T

        def step(x: Array, force: Array) -> tuple[Array, Array]:
            return x @ a + force, x

        after, states = jax.lax.scan(step, state, driven)
        y = jnp.moveaxis(states, 0, 1) @ self.c[...].T + normalized @ self.d[...].T
        return self.y_scale.denormalize(y + self.offset[...]), after

    def set_matrices(self, matrices: StateSpaceMatrices) -> None:
        """Take over matrices for normalised inputs and outputs.

        Raises:
            ModelError: A shape differs from the model's.
        """
        for name in ("a", "b", "c", "d", "offset"):
            variable, value = getattr(self, name), getattr(matrices, name)
            if variable.shape != value.shape:
                raise ModelError(
                    f"the matrix {name} has shape {value.shape}, and the model needs "
                    f"{variable.shape}."
                )
            variable[...] = jnp.asarray(value, variable.dtype)

    def normalized_matrices(self) -> StateSpaceMatrices:
        """Return the matrices for normalised inputs and outputs."""
        values = (getattr(self, name)[...] for name in ("a", "b", "c", "d", "offset"))
        return StateSpaceMatrices(*(np.asarray(value, float) for value in values))

    def matrices(self) -> StateSpaceMatrices:
        """Return the matrices for inputs and outputs in raw units.

        Their zero state is that of the inputs' mean: x+ = a x + b u, y = c x + d u + offset holds
        for deviations of `u` from its mean.
        """
        own = self.normalized_matrices()
        u_std, y_std, y_mean = (
            np.asarray(x[...], float)
            for x in (self.u_scale.std, self.y_scale.std, self.y_scale.mean)
        )
        return StateSpaceMatrices(
            own.a,
            own.b / u_std,
            own.c * y_std[:, None],
            own.d * y_std[:, None] / u_std,
            own.offset * y_std + y_mean,
        )

    def poles(self) -> HostArray:
        """Return the eigenvalues of a, complex (order,)."""
        return np.linalg.eigvals(self.normalized_matrices().a)

    def step_response(self, time: int) -> HostArray:
        """Return the outputs for a unit step of each input from rest, (time, n_y, n_u), raw units.

        `time` is a number of samples.
        """
        own = self.matrices()
        columns = []
        for number in range(own.b.shape[1]):
            u = np.zeros((time, own.b.shape[1]))
            u[:, number] = 1.0
            columns.append(own.simulate(u) - own.offset)
        return np.stack(columns, axis=-1)

    def frequency_response(self, frequencies: Sequence[float] | HostArray) -> HostArray:
        """Return c (z - a)^-1 b + d at each frequency, complex (frequencies, n_y, n_u), raw units.

        `frequencies` are in Hz, or in cycles per sample where the sampling time is not known.
        """
        own = self.matrices()
        dt = getattr(self, "dt", None) or 1.0
        z = np.exp(2j * np.pi * np.asarray(frequencies, float) * dt)
        inverse = np.linalg.inv(z[:, None, None] * np.eye(own.order) - own.a)
        return np.asarray(own.c @ inverse @ own.b + own.d)


def _begin(
    spec: S,
    found: dict[int, StateSpaceMatrices],
    train: Records,
    valid: Records,
    signals: Signals,
    rngs: nnx.Rngs,
) -> tuple[S, LinearModel]:
    """Return `spec` with the order that suits `valid` best, and the model of that order."""
    order = _choose(found, valid)
    chosen = replace(spec, order=order)
    model = chosen.build(signals, rngs=rngs)
    model.set_matrices(_scale_states(found[order], train))
    return chosen, model


def _order_of(spec: Linear | ARX) -> int:
    if spec.order is None:
        raise ModelError(
            f"{type(spec).__name__} has no order; give one, or train it with a Learner, whose "
            "validation records choose it."
        )
    return spec.order


def _normalize(records: Records, signals: Signals) -> list[tuple[HostArray, HostArray]]:
    u, y = signals.stats["u"], signals.stats["y"]
    return [
        (
            (np.asarray(inputs, float) - u.mean) / u.std,
            (np.asarray(outputs, float) - y.mean) / y.std,
        )
        for inputs, outputs in records
    ]


def _identify_possible(
    records: Records, orders: Sequence[int], horizon: int | None, *, direct: bool
) -> dict[int, StateSpaceMatrices]:
    """Return the models of `orders`, without the highest where the records are too short."""
    orders = list(orders)
    while True:
        try:
            return identify_state_space(records, orders, horizon=horizon, direct=direct)
        except DataError:
            if len(orders) == 1:
                raise
            orders.pop()


def _choose(models: dict[int, StateSpaceMatrices], valid: Records) -> int:
    """Return the lowest order whose error of simulation on `valid` is nearly the least."""
    errors: dict[int, float] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for order, model in models.items():
            pairs = [
                (model.simulate(u, estimate_start(model, u[: _head(u)], y[: _head(u)])), y)
                for u, y in valid
            ]
            # Errors of rounding are no reason for a higher order.
            floor = 1e-10 * sum(float(np.nansum(np.square(y))) for _, y in valid)
            error = sum(float(np.nansum(np.square(pred - y))) for pred, y in pairs)
            errors[order] = error if np.isnan(error) else max(error, floor)
    finite = {order: error for order, error in errors.items() if np.isfinite(error)}
    if not finite:
        return min(models)
    chosen = min(finite)
    for order in sorted(finite):
        if finite[order] < _BETTER * finite[chosen]:
            chosen = order
    return chosen


def _head(u: HostArray) -> int:
    """Return the samples from which a record's initial state is estimated."""
    return min(len(u), max(50, len(u) // 10))


def _realize(arx: ARXCoefficients) -> StateSpaceMatrices:
    """Return an ARX model in the observer form.

    Its state has a block for each lag: block i of the next sample is what the samples up to now
    contribute to the output i samples later.
    """
    lags, n_y = max(len(arx.a), len(arx.b) - 1), arx.c.size
    n_u = arx.b.shape[1]
    a = np.zeros((lags, n_y, n_y))
    a[: len(arx.a)] = arx.a.transpose(0, 2, 1)
    b = np.zeros((lags + 1, n_y, n_u))
    b[: len(arx.b)] = arx.b.transpose(0, 2, 1)
    big_a = np.zeros((lags * n_y, lags * n_y))
    big_a[:, :n_y] = a.reshape(-1, n_y)
    big_a[:-n_y, n_y:] += np.eye((lags - 1) * n_y)
    big_b = (b[1:] + a @ b[0]).reshape(-1, n_u)
    big_c = np.eye(n_y, lags * n_y)
    rest = np.linalg.lstsq(np.eye(n_y) - a.sum(0), arx.c, rcond=None)[0]
    return StateSpaceMatrices(big_a, big_b, big_c, b[0], rest)


def _scale_states(model: StateSpaceMatrices, records: Records) -> StateSpaceMatrices:
    """Return the model with states of unit spread on the records."""
    states = np.concatenate([model.simulate_states(np.nan_to_num(u)) for u, _ in records])
    spread = states.std(0)
    spread = np.where(spread > 0.0, spread, 1.0)
    return StateSpaceMatrices(
        model.a * spread / spread[:, None],
        model.b / spread[:, None],
        model.c * spread,
        model.d,
        model.offset,
    )
