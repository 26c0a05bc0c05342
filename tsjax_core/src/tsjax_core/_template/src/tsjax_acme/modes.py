"""A Wiener model: linear modes that ring and decay, read by a static network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from tsjax_core import Signals
from tsjax_core.checks import check_counts
from tsjax_core.models.scaling import Standardize


@dataclass(frozen=True)
class Modes:
    """Damped oscillators in parallel, read by a static network.

    Args:
        n_modes: Oscillators. Their frequencies and time constants are trained.
        hidden_size: Units in the hidden layer of the network.
    """

    reads: ClassVar[tuple[str, ...]] = ("u",)

    n_modes: int = 16
    hidden_size: int = 32

    def __post_init__(self) -> None:
        check_counts(self, n_modes=1, hidden_size=1)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> ModesModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return ModesModel(self, signals, rngs=rngs)


class ModesModel(nnx.Module):
    """The model that `Modes` describes, raw physical units in and out.

    A mode is one complex number that each sample turns by `frequency` (radians) and shrinks by
    exp(-1 / time constant): x' = p x + (1 - |p|) v, with its share v of the inputs. Before the
    first sample all are zero. Source: diagonal recurrences as in Orvieto et al., Resurrecting
    recurrent neural networks for long sequences (2023).
    """

    def __init__(self, spec: Modes, signals: Signals, *, rngs: nnx.Rngs) -> None:
        n, n_u, n_y = spec.n_modes, len(signals.inputs), len(signals.outputs)
        self.u_scale = Standardize(signals.stats["u"])
        self.y_scale = Standardize(signals.stats["y"])
        # Logarithms keep time constants positive; both spread from fast to slow, in samples.
        self.log_time_constant = nnx.Param(jnp.linspace(jnp.log(2.0), jnp.log(200.0), n))
        self.frequency = nnx.Param(jnp.geomspace(2.0, 0.02, n))
        self.share = nnx.Linear(n_u, n, use_bias=False, rngs=rngs)
        self.hidden = nnx.Linear(2 * n + n_u, spec.hidden_size, rngs=rngs)
        self.out = nnx.Linear(spec.hidden_size, n_y, rngs=rngs)

    def __call__(self, u: jax.Array) -> jax.Array:
        """Simulate from zero state: `u` (batch, time, n_u) to (batch, time, n_y)."""
        y, _ = self.advance(u, self.initial_state(u.shape[0]))
        return y

    def initial_state(self, batch_size: int) -> jax.Array:
        """Return the zero state, (batch, n_modes)."""
        return jnp.zeros((batch_size, self.frequency.shape[0]), jnp.complex64)

    def advance(self, u: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        u = self.u_scale.normalize(u)
        decay = jnp.exp(-jnp.exp(-self.log_time_constant[...]))
        pole = decay * jnp.exp(1j * self.frequency[...])
        drive = (1.0 - decay) * self.share(u)

        def step(x: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = pole * x + v
            return x, x

        state, modes = jax.lax.scan(step, state, jnp.swapaxes(drive, 0, 1), unroll=8)
        modes = jnp.swapaxes(modes, 0, 1)
        hidden = jnp.tanh(self.hidden(jnp.concatenate([modes.real, modes.imag, u], -1)))
        return self.y_scale.denormalize(self.out(hidden)), state
