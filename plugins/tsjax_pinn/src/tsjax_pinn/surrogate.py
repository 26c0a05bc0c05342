"""Surrogates of differential equations: networks that are functions of time in one interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ConfigError
from tsjax_core.types import AnyArray, Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.rollout import PhysicalStates, RolloutState, roll_out


class Interval(Protocol):
    """A solution over one interval, without units.

    `x` (batch, n_x) is the state at its begin and `u` (batch, n_u) the input, which is held, both
    normalised; `t` (batch, k) is the time, 0 at the begin and 1 at the end. It returns the states
    (batch, k, n_x) and their derivatives in time up to `order`, which are exact.
    """

    def __call__(self, x: Array, u: Array, t: Array, order: int) -> tuple[Array, ...]:
        """Return the states and their derivatives."""
        ...


class SurrogateModel(nnx.Module):
    """A surrogate, simulated from interval to interval, raw physical units at every entry.

    The interval is the sampling time of the data, over which the input of its begin is held.
    `call_with_aux` gives `auxiliary` (batch, time, n), the states that are not measured.
    """

    def __init__(
        self, spec: Any, signals: Signals, auxiliary: FrozenMapping[Auxiliary], interval: Any
    ) -> None:
        self.spec = spec
        self.interval = interval
        self.states = PhysicalStates(signals, auxiliary, owner=type(spec).__name__)
        self.step_size = interval_of(signals, owner=type(spec).__name__)
        self.auxiliary_outputs = tuple(auxiliary)

    def trajectory(
        self, x: AnyArray, u: AnyArray, t: AnyArray, order: int = 0
    ) -> tuple[Array, ...]:
        """Return the states within one interval, and their exact derivatives in time.

        Args:
            x: States at the begin of the interval, (batch, n_x): outputs, then auxiliary states.
            u: Inputs, which are held, (batch, n_u).
            t: Times in seconds from the begin of the interval on, (batch, k).
            order: Highest derivative.

        Returns:
            `order + 1` arrays (batch, k, n_x), in physical units per power of a second.
        """
        scale, T = self.states.scale, self.step_size
        begin = scale.normalize(jnp.asarray(x))
        held = self.states.u_scale.normalize(jnp.asarray(u))
        values, *slopes = self.interval(begin, held, jnp.asarray(t) / T, order)
        std = scale.std[...]
        return scale.denormalize(values), *(s * std / T**k for k, s in enumerate(slopes, 1))

    def __call__(self, u: Array) -> Array:
        """Simulate `u` (batch, time, n_u) from the mean of every state."""
        return self.call_with_aux(u)[0]

    def call_with_aux(self, u: Array) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the states that are not measured."""
        x, _ = self._run(u, self.initial_state(u.shape[0]))
        y, auxiliary = self.states.split(x)
        return y, {"auxiliary": auxiliary}

    def initial_state(self, batch_size: int) -> RolloutState:
        """Return the state before the first sample, every physical state at its mean."""
        return self.states.rest(batch_size)

    def begin_from(self, x: AnyArray | Mapping[str, Any]) -> RolloutState:
        """Return the state to simulate from physical states (batch, n_x), or (batch,) by name."""
        return self.states.begin_from(x)

    def advance(self, u: Array, state: RolloutState) -> tuple[Array, RolloutState]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        x, state = self._run(u, state)
        return self.states.split(x)[0], state

    def _run(self, u: Array, state: RolloutState) -> tuple[Array, RolloutState]:
        def interval(x: Array, before: Array, _: Array) -> Array:
            end = jnp.ones((len(x), 1), x.dtype)
            held = self.states.u_scale.normalize(before)
            values: Array = self.interval(x, held, end, 0)[0]
            return values[:, 0]

        return roll_out(interval, u, state)


def interval_of(signals: Signals, *, owner: str) -> float:
    """Return the sampling time in seconds; ConfigError where it is not known."""
    if signals.dt is None:
        raise ConfigError(
            f"{owner} needs the sampling time, and the data have none; give dt in [data] or in "
            "create_grain_dls.",
            key="dt",
        )
    return float(signals.dt)
