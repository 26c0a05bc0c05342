"""DD-PINN: a network that gives the coefficients of damped oscillations over one interval."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.checks import check_counts
from tsjax_core.types import Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.networks import SmoothNetwork
from tsjax_pinn.residual import NOTHING
from tsjax_pinn.surrogate import SurrogateModel


@dataclass(frozen=True)
class DDPINN:
    """A domain-decoupled network: initial state and held input give a function of time.

    The network does not take the time. It gives amplitudes a, frequencies b, phases c and dampings
    d of a sum of a (exp(-d t) sin(b t + c) - sin(c)), which is 0 at t = 0, so that the initial
    state is met by construction, and whose derivatives in time are closed formulas. It is
    simulated from interval to interval, and trained with `surrogate_loss`.

    Source: Krauss, Habich, Bartholdt, Seel and Schappler, Domain-decoupled physics-informed neural
    networks with closed-form gradients for fast model learning of dynamical systems (2024).

    Args:
        hidden_size: Units in each hidden layer.
        num_layers: Hidden layers.
        basis: Damped oscillations for each state.
        auxiliary: States by name that are not measured outputs.
    """

    hidden_size: int = 64
    num_layers: int = 2
    basis: int = 8
    auxiliary: FrozenMapping[Auxiliary] = NOTHING

    def __post_init__(self) -> None:
        check_counts(self, hidden_size=1, num_layers=1, basis=1)

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u",)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> SurrogateModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        n_x, n_u = len(signals.outputs) + len(self.auxiliary), len(signals.inputs)
        interval = DampedInterval(n_x, n_u, self, rngs=rngs)
        return SurrogateModel(self, signals, self.auxiliary, interval)


class DampedInterval(nnx.Module):
    """An interval by damped oscillations, whose derivatives are closed formulas."""

    def __init__(self, n_x: int, n_u: int, spec: DDPINN, *, rngs: nnx.Rngs) -> None:
        self.basis = spec.basis
        width = 4 * n_x * spec.basis
        self.network = SmoothNetwork(n_x + n_u, width, spec.hidden_size, spec.num_layers, rngs=rngs)

    def __call__(self, x: Array, u: Array, t: Array, order: int) -> tuple[Array, ...]:
        """Return the states and their derivatives, as `Interval` says."""
        given = self.network(jnp.concatenate([x, u], -1))
        # (4, batch, 1, n_x, basis), beside times (batch, k, 1, 1).
        parts = given.reshape(len(x), 1, x.shape[-1], self.basis, 4)
        a, b, c, d = jnp.moveaxis(parts, -1, 0)
        b, d = 2.0 * jnp.pi * b, jax.nn.softplus(d)
        t = t[..., None, None]
        decay, angle = jnp.exp(-d * t), b * t + c
        sine, cosine = decay * jnp.sin(angle), decay * jnp.cos(angle)
        found = [x[:, None] + jnp.sum(a * (sine - jnp.sin(c)), -1)]
        # Every derivative is p sine + q cosine, beginning with p = 1 and q = 0.
        p, q = jnp.ones_like(d), jnp.zeros_like(d)
        for _ in range(order):
            p, q = -d * p - b * q, b * p - d * q
            found.append(jnp.sum(a * (p * sine + q * cosine), -1))
        return tuple(found)
