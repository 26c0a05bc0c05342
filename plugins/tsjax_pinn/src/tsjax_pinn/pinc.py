"""PINC: a network that solves differential equations over one interval of a held input."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx

from tsjax_core.checks import check_counts
from tsjax_core.types import Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.exact import time_derivatives
from tsjax_pinn.networks import SmoothNetwork
from tsjax_pinn.residual import NOTHING
from tsjax_pinn.surrogate import SurrogateModel


@dataclass(frozen=True)
class PINC:
    """A network of initial state, held input and time, trained by equations alone.

    It gives the state at any time within one sampling interval, and is simulated from interval to
    interval, the end of one being the begin of the next. Train it with `surrogate_loss`, which
    needs no measured signals.

    Source: Antonelo, Camponogara, Seman, de Souza, Jordanou and Huebner, Physics-informed neural
    nets for control of dynamical systems (2022). Here the network adds to the initial state.

    Args:
        hidden_size: Units in each hidden layer.
        num_layers: Hidden layers.
        auxiliary: States by name that are not measured outputs.
    """

    hidden_size: int = 64
    num_layers: int = 2
    auxiliary: FrozenMapping[Auxiliary] = NOTHING

    def __post_init__(self) -> None:
        check_counts(self, hidden_size=1, num_layers=1)

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u",)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> SurrogateModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        n_x, n_u = len(signals.outputs) + len(self.auxiliary), len(signals.inputs)
        interval = NetworkInterval(n_x, n_u, self.hidden_size, self.num_layers, rngs=rngs)
        return SurrogateModel(self, signals, self.auxiliary, interval)


class NetworkInterval(nnx.Module):
    """An interval by a network that takes the time; derivatives are those of forward mode."""

    def __init__(
        self, n_x: int, n_u: int, hidden_size: int, num_layers: int, *, rngs: nnx.Rngs
    ) -> None:
        self.network = SmoothNetwork(n_x + n_u + 1, n_x, hidden_size, num_layers, rngs=rngs)

    def __call__(self, x: Array, u: Array, t: Array, order: int) -> tuple[Array, ...]:
        """Return the states and their derivatives, as `Interval` says."""

        def solution(t: Array) -> Array:
            shape = (*t.shape, x.shape[-1] + u.shape[-1])
            given = jnp.broadcast_to(jnp.concatenate([x, u], -1)[:, None], shape)
            # The time runs from -1 to 1, about the range of the other inputs.
            inputs = jnp.concatenate([given, 2.0 * t[..., None] - 1.0], -1)
            return x[:, None] + self.network(inputs)

        return time_derivatives(solution, t, order) if order else (solution(t),)
