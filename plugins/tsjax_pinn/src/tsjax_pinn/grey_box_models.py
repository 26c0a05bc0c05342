"""The models of `GreyBox`: states that are integrated from sample to sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from tsjax_core.types import AnyArray, Array
from tsjax_pinn.networks import SmoothNetwork
from tsjax_pinn.rollout import RolloutState, roll_out
from tsjax_pinn.solver import Method
from tsjax_pinn.vector_field import VectorField


class GreyBoxModel(nnx.Module):
    """Differential equations, simulated from a state on, raw physical units at every entry.

    `call_with_aux` gives `auxiliary` (batch, time, n), the states that are not measured.
    """

    def __init__(self, spec: Any, equations: VectorField, method: Method) -> None:
        self.spec = spec
        self.equations = equations
        self.method = method
        self.auxiliary_outputs = equations.states.names[equations.states.n_y :]

    def quantities(self) -> Mapping[str, tuple[Array, str]]:
        """Return value and unit of each physical parameter."""
        return self.equations.quantities()

    def __call__(self, u: Array) -> Array:
        """Simulate `u` (batch, time, n_u) from the mean of every state."""
        return self.call_with_aux(u)[0]

    def call_with_aux(self, u: Array) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the states that are not measured."""
        x, _ = simulate(self.equations, self.method, u, self.initial_state(u.shape[0]))
        y, auxiliary = self.equations.states.split(x)
        return y, {"auxiliary": auxiliary}

    def initial_state(self, batch_size: int) -> RolloutState:
        """Return the state before the first sample, every physical state at its mean."""
        return self.equations.states.rest(batch_size)

    def begin_from(self, x: AnyArray | Mapping[str, Any]) -> RolloutState:
        """Return the state to simulate from physical states (batch, n_x), or (batch,) by name."""
        return self.equations.states.begin_from(x)

    def advance(self, u: Array, state: RolloutState) -> tuple[Array, RolloutState]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        x, state = simulate(self.equations, self.method, u, state)
        return self.equations.states.split(x)[0], state


class WindowState(NamedTuple):
    """State of a `WindowedGreyBoxModel`.

    `rollout` is where the simulation stands, `past` (batch, init_window, n_u + n_y) the last
    samples, normalised, the last one last, and `samples` (batch, 1) the samples so far.
    """

    rollout: RolloutState
    past: Array
    samples: Array


class WindowedGreyBoxModel(nnx.Module):
    """Differential equations, simulated from a state that a network estimates.

    The network reads inputs and measured outputs of the initial window and gives the state at its
    last sample, in addition to the outputs measured there; from there on the simulation runs on
    inputs alone. Within the window, the outputs are the measured ones.
    """

    def __init__(
        self,
        spec: Any,
        equations: VectorField,
        method: Method,
        init_window: int,
        encoder_size: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.spec = spec
        self.equations = equations
        self.method = method
        self.window = init_window
        states = equations.states
        self.auxiliary_outputs = states.names[states.n_y :]
        n_in = init_window * (len(equations.inputs) + states.n_y)
        self.encoder = SmoothNetwork(n_in, states.size, encoder_size, 1, rngs=rngs)

    @property
    def init_window(self) -> int:
        """Samples of measured output that the model uses."""
        return self.window

    def quantities(self) -> Mapping[str, tuple[Array, str]]:
        """Return value and unit of each physical parameter."""
        return self.equations.quantities()

    def __call__(self, u: Array, y: Array) -> Array:
        """Simulate `u` (batch, time, n_u) after the first outputs of `y` (batch, time, n_y)."""
        return self.call_with_aux(u, y)[0]

    def call_with_aux(self, u: Array, y: Array) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the states that are not measured."""
        output, auxiliary, _ = self._run(u, self.initial_state(u.shape[0]), y)
        return output, {"auxiliary": auxiliary}

    def initial_state(self, batch_size: int) -> WindowState:
        """Return the state before the first sample."""
        rest = self.equations.states.rest(batch_size)
        width = rest.u.shape[1] + self.equations.states.n_y
        past = jnp.zeros((batch_size, self.window, width), rest.x.dtype)
        return WindowState(rest, past, rest.begun)

    def begin_from(self, x: AnyArray | Mapping[str, Any]) -> WindowState:
        """Return the state to simulate from physical states, (batch, n_x) or (batch,) by name.

        There is no initial window then.
        """
        begin = self.equations.states.begin_from(x)
        fresh = self.initial_state(len(begin.x))
        return WindowState(begin, fresh.past, fresh.samples + self.window)

    def estimate_state(self, u: Array, y: Array) -> WindowState:
        """Return the state after `u` (batch, time, n_u) and `y` (batch, time, n_y), all measured.

        It is estimated from the last `init_window` samples, or from fewer where there are no more.
        """
        n = min(self.window, u.shape[1])
        fresh = self.initial_state(u.shape[0])
        late = fresh._replace(samples=fresh.samples + self.window - n)
        return self._run(u[:, -n:], late, y[:, -n:])[2]

    def advance(
        self, u: Array, state: WindowState, y: Array | None = None
    ) -> tuple[Array, WindowState]:
        """Simulate one chunk from `state`; return its outputs and the state after it.

        `y` is looked at in the initial window alone, and may be left out after it.
        """
        output, _, state = self._run(u, state, y)
        return output, state

    def _run(
        self, u: Array, state: WindowState, y: Array | None
    ) -> tuple[Array, Array, WindowState]:
        """Return outputs, auxiliary states and the state after the last sample."""
        batch, time = u.shape[:2]
        states, n = self.equations.states, self.window
        y_scale = states.y_scale
        if y is None:
            y = jnp.full((batch, time, states.n_y), jnp.nan, u.dtype)
        left = n - state.samples[:, 0].astype(jnp.int32)
        in_window = (jnp.arange(time) < left[:, None])[..., None]
        # The mean stands where nothing was measured, and where it is not to be looked at.
        known = jnp.where(in_window & ~jnp.isnan(y), y_scale.normalize(y), 0.0)
        now = jnp.concatenate([states.u_scale.normalize(u), known], -1)
        everything = jnp.concatenate([state.past, now], axis=1)
        # The window ends with sample left - 1 of this chunk.
        places = jnp.clip(left[:, None] + jnp.arange(n), 0, n + time - 1)[..., None]
        seen = jnp.take_along_axis(everything, places, axis=1)
        measured = jnp.pad(seen[:, -1, -states.n_y :], ((0, 0), (0, states.size - states.n_y)))
        found = measured + self.encoder(seen.reshape(batch, -1))
        start = jnp.where(left[:, None] > 0, found, state.rollout.x)
        at = jnp.maximum(left - 1, 0)
        x, rollout = simulate(self.equations, self.method, u, state.rollout, start, at)
        output, auxiliary = states.split(x)
        output = jnp.where(in_window, y_scale.denormalize(known), output)
        after = WindowState(rollout, everything[:, time:], state.samples + time)
        return output, auxiliary, after


def simulate(
    equations: VectorField,
    method: Method,
    u: Array,
    state: RolloutState,
    start: Array | None = None,
    at: Array | None = None,
) -> tuple[Array, RolloutState]:
    """Return the states (batch, time, n_x) at the samples of `u`, as `roll_out` does."""

    def interval(x: Array, before: Array, now: Array) -> Array:
        return method.integrate(equations, x, before, now, equations.step_size)

    return roll_out(interval, u, state, start, at)
