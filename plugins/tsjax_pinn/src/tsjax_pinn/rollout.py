"""Simulation of physical states from sample to sample, by any model of one interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.types import AnyArray, Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary, stats_of


class RolloutState(NamedTuple):
    """Where a simulation stands.

    `x` (batch, n_x) is the state at the last sample in units of its scale, `u` (batch, n_u) the
    input of that sample in raw units, and `begun` (batch, 1) is 1 where there was a sample; where
    it is 0, `x` is the state at the next sample.
    """

    x: Array
    u: Array
    begun: Array


class PhysicalStates(nnx.Module):
    """The states of a system: its measured outputs, then those that are not measured.

    Raises ModelError where the data have no inputs and outputs, and ConfigError where they measure
    what is said to be auxiliary.
    """

    def __init__(
        self, signals: Signals, auxiliary: FrozenMapping[Auxiliary], *, owner: str
    ) -> None:
        require_signals(signals, ["u", "y"], owner)
        self.owner = owner
        self.names = (*signals.outputs, *auxiliary)
        self.n_y = len(signals.outputs)
        self.scale = Standardize(signals.stats["y"] + stats_of(auxiliary, signals, of=owner))
        self.y_scale = Standardize(signals.stats["y"])
        self.u_scale = Standardize(signals.stats["u"])

    @property
    def size(self) -> int:
        """The number of states."""
        return len(self.names)

    def rest(self, batch_size: int) -> RolloutState:
        """Return the state before the first sample: every state and input at its mean."""
        u = self.u_scale.mean[...]
        x = jnp.zeros((batch_size, self.size), u.dtype)
        return RolloutState(x, jnp.broadcast_to(u, (batch_size, *u.shape)), x[:, :1])

    def begin_from(self, x: AnyArray | Mapping[str, Any]) -> RolloutState:
        """Return the state to simulate from physical states (batch, n_x), or (batch,) by name.

        Raises:
            ModelError: There are other states than those of the model.
        """
        if isinstance(x, Mapping):
            if x.keys() != set(self.names):
                raise ModelError(
                    f"{self.owner} got the states {', '.join(x) or 'none'}; give "
                    f"{', '.join(self.names)}."
                )
            x = jnp.stack([jnp.asarray(x[name], jnp.float32) for name in self.names], axis=-1)
        values = jnp.asarray(x, jnp.float32)
        if values.ndim != 2 or values.shape[1] != self.size:
            raise ModelError(
                f"{self.owner} got states of shape {values.shape}; give (batch, {self.size}), the "
                f"columns {', '.join(self.names)}."
            )
        return self.rest(len(values))._replace(x=self.scale.normalize(values))

    def split(self, x: Array) -> tuple[Array, Array]:
        """Return outputs and auxiliary states in physical units for `x` (..., n_x) in its scale."""
        values = self.scale.denormalize(x)
        return values[..., : self.n_y], values[..., self.n_y :]


def roll_out(
    interval: Callable[[Array, Array, Array], Array],
    u: Array,
    state: RolloutState,
    start: Array | None = None,
    at: Array | None = None,
) -> tuple[Array, RolloutState]:
    """Return the states (batch, time, n_x) at the samples of `u` (batch, time, n_u), and the last.

    Args:
        interval: Maps the state at a sample, the input there and the input at the next sample to
            the state at the next sample, all (batch, n).
        u: Inputs in raw units.
        state: Where the simulation stands.
        start: States (batch, n_x) with which rows that have not begun begin, that of `state` unless
            given.
        at: Numbers (batch,) of the samples at which they do, the first one unless given. Before it
            the state stays as it is.
    """
    begin = jnp.zeros(len(u), jnp.int32) if at is None else at
    first = state.x if start is None else start

    def step(
        carry: tuple[Array, Array, Array], given: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array, Array], Array]:
        x, before, begun = carry
        number, now = given
        # An input that was never there must not reach the equations.
        moved = interval(x, jnp.where(begun > 0, before, now), now)
        begins = (number == begin)[:, None]
        x = jnp.where(begun > 0, moved, jnp.where(begins, first, x))
        return (x, now, jnp.maximum(begun, begins.astype(begun.dtype))), x

    given = (jnp.arange(u.shape[1]), jnp.swapaxes(u, 0, 1))
    before = (state.x, state.u, state.begun)
    carry, states = jax.lax.scan(step, before, given)
    return jnp.swapaxes(states, 0, 1), RolloutState(*carry)
