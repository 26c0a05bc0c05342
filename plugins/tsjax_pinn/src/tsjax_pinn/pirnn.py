"""PIRNN: two encoders find the state of one prognosis network, whose outputs obey physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.checks import check_choices, check_counts, share
from tsjax_core.models.layers import Head, linear
from tsjax_core.models.parameters import Bounded, BoundedParameter
from tsjax_core.models.recurrent_stack import LAYERS, Cell, RecurrentStack
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.types import Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary, stats_of
from tsjax_pinn.residual import NOTHING
from tsjax_pinn.units import check_unit


class PIRNNState(NamedTuple):
    """State of a `PIRNNModel`.

    `encoder` is the state of the sequence encoder, `prognosis` (batch, S) the flat state of the
    prognosis, which acts after the initial window, and `samples` (batch, 1) the samples so far.
    """

    encoder: Any
    prognosis: Array
    samples: Array


@dataclass(frozen=True)
class PIRNN:
    """A recurrent network that simulates from inputs alone, with two encoders for its state.

    The sequence encoder reads inputs and measured outputs of the initial window; the state encoder
    reads the outputs of one sample, so that physics losses can begin anywhere. Train it with
    `physics_loss`, `collocation_loss` and `consistency`.

    Args:
        hidden_size: Units in each layer of the prognosis and of the sequence encoder.
        num_layers: Layers of both.
        cell: Their kind: `rnn`, `gru` or `lstm`.
        linear_layers: Hidden layers between the last recurrent layer and the outputs.
        init_window: Samples of measured output at the start of a sequence.
        encoder_size: Hidden units of the state encoder.
        p_state_encoder: Probability that a training sequence begins from the state encoder instead
            of the sequence encoder. In evaluation it is always the sequence encoder.
        auxiliary: Outputs by name that are not measured, and that physics losses alone shape.
        parameters: Unknown physical parameters by name, which are trained within their bounds.
    """

    hidden_size: int = 64
    num_layers: int = 1
    cell: Cell = "gru"
    linear_layers: int = 1
    init_window: int = 50
    encoder_size: int = 64
    p_state_encoder: float = 0.3
    auxiliary: FrozenMapping[Auxiliary] = NOTHING
    parameters: FrozenMapping[Bounded] = NOTHING

    def __post_init__(self) -> None:
        check_counts(
            self, hidden_size=1, num_layers=1, linear_layers=0, init_window=1, encoder_size=1
        )
        check_choices(self, "cell")
        share("p_state_encoder", self.p_state_encoder, "a probability")
        for name, bounded in self.parameters.items():
            check_unit("unit", bounded.unit, of=f"the parameter {name!r}")

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "y")

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> PIRNNModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return PIRNNModel(self, signals, rngs=rngs)


class PIRNNModel(nnx.Module):
    """Two encoders and a prognosis, raw physical units at every entry.

    `call_with_aux` gives `auxiliary` (batch, time, n), the auxiliary outputs in their units;
    `encoded_sequence` and `encoded_state` (batch, S), the states by both encoders at the end of the
    initial window; `from_state` (batch,), 1 where the prognosis began from the state encoder;
    `output`, the outputs, and `begin` (batch,), the length of the window.
    """

    def __init__(self, spec: PIRNN, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["u", "y"], "PIRNN")
        stats = stats_of(spec.auxiliary, signals, of="PIRNN")
        self.spec = spec
        self.u_scale = Standardize(signals.stats["u"])
        self.y_scale = Standardize(signals.stats["y"])
        # A checkpoint holds no arrays without elements.
        self.auxiliary_scale = Standardize(stats) if spec.auxiliary else None
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        layer, hidden = LAYERS[spec.cell], spec.hidden_size
        self.encoder = RecurrentStack(layer, n_u + n_y, hidden, spec.num_layers, rngs=rngs)
        self.prognosis = RecurrentStack(layer, n_u, hidden, spec.num_layers, rngs=rngs)
        size = flatten_state(self.prognosis.zero_state(1)).shape[-1]
        self.to_state = linear(hidden, size, rngs=rngs)
        self.state_hidden = linear(n_y, spec.encoder_size, rngs=rngs)
        self.state_out = linear(spec.encoder_size, size, rngs=rngs)
        self.head = Head(hidden, n_y + len(spec.auxiliary), spec.linear_layers, rngs=rngs)
        self.physical = nnx.Dict({k: BoundedParameter(b) for k, b in spec.parameters.items()})

    @property
    def init_window(self) -> int:
        """Samples of measured output that the model uses."""
        return self.spec.init_window

    @property
    def auxiliary_outputs(self) -> tuple[str, ...]:
        """Names of the auxiliary outputs."""
        return tuple(self.spec.auxiliary)

    def quantities(self) -> Mapping[str, tuple[Array, str]]:
        """Return value and unit of each physical parameter."""
        return {name: parameter.quantity for name, parameter in self.physical.items()}

    def __call__(
        self, u: Array, y: Array, *, key: Array | None = None, progress: Array | None = None
    ) -> Array:
        """Simulate `u` (batch, time, n_u) after the first outputs of `y` (batch, time, n_y).

        A `progress` says that it is training, in which a `key` decides between the encoders.
        """
        return self.call_with_aux(u, y, key=key, progress=progress)[0]

    def call_with_aux(
        self, u: Array, y: Array, *, key: Array | None = None, progress: Array | None = None
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the intermediate values."""
        batch, time = u.shape[:2]
        n = min(self.init_window, time)
        y = self._fill(y)
        states, _ = self._encode(u[:, :n], y[:, :n], self.encoder.zero_state(batch))
        by_sequence, by_state = states[:, -1], self.encode_state(y[:, n - 1])
        drawn = jnp.zeros((batch,), bool)
        if progress is not None and key is not None:
            drawn = jax.random.bernoulli(key, self.spec.p_state_encoder, (batch,))
        start = jnp.where(drawn[:, None], by_state, by_sequence)
        hidden = self._observe(states)
        if time > n:
            after = self._run(u[:, n:], start)[0]
            hidden = jnp.concatenate([hidden, after], axis=1)
        output, auxiliary = self._outputs(hidden)
        return output, {
            "auxiliary": auxiliary,
            "encoded_sequence": by_sequence,
            "encoded_state": by_state,
            "from_state": drawn.astype(output.dtype),
            "output": output,
            "begin": jnp.full((batch,), self.init_window),
        }

    def encode_state(self, y: Array) -> Array:
        """Return the flat state (batch, S) for the outputs `y` (batch, n_y) of one sample."""
        return self.state_out(jax.nn.relu(self.state_hidden(self.y_scale.normalize(y))))

    def simulate_from(self, u: Array, state: Array) -> tuple[Array, Mapping[str, Array]]:
        """Simulate all of `u` from the flat state (batch, S); return outputs and `auxiliary`."""
        output, auxiliary = self._outputs(self._run(u, state)[0])
        return output, {"auxiliary": auxiliary}

    def initial_state(self, batch_size: int) -> PIRNNState:
        """Return the state before the first sample."""
        prognosis = flatten_state(self.prognosis.zero_state(batch_size))
        samples = jnp.zeros((batch_size, 1), prognosis.dtype)
        return PIRNNState(self.encoder.zero_state(batch_size), prognosis, samples)

    def begin_from(self, state: Array) -> PIRNNState:
        """Return the state to simulate from the flat state (batch, S), without initial window."""
        fresh = self.initial_state(len(state))
        return fresh._replace(prognosis=state, samples=fresh.samples + self.init_window)

    def estimate_state(self, u: Array, y: Array) -> PIRNNState:
        """Return the state after `u` (batch, time, n_u) and `y` (batch, time, n_y), all measured.

        The sequence encoder reads all of it.
        """
        states, _ = self._encode(u, self._fill(y), self.encoder.zero_state(len(u)))
        return self.begin_from(states[:, -1])

    def advance(
        self, u: Array, state: PIRNNState, y: Array | None = None
    ) -> tuple[Array, PIRNNState]:
        """Simulate one chunk from `state`; return its outputs and the state after it.

        `y` is looked at in the initial window alone, and may be left out after it.
        """
        batch, time = u.shape[:2]
        if y is None:
            y = jnp.full((batch, time, self.y_scale.mean.shape[-1]), jnp.nan, u.dtype)
        n = min(time, self.init_window)
        left = self.init_window - state.samples[:, 0]
        begin = jnp.clip(left, 0, time).astype(jnp.int32)
        known = self._fill(y[:, :n])
        found, encoder = self._encode(u[:, :n], known, state.encoder)
        at = jnp.clip(begin - 1, 0, n - 1)[:, None, None]
        last = jnp.take_along_axis(found, at, axis=1)[:, 0]
        start = jnp.where(begin[:, None] > 0, last, state.prognosis)
        # Turned so that the prognosis of every sequence begins at once, and back.
        number = jnp.arange(time)
        there = ((number + begin[:, None]) % time)[..., None]
        back = ((number - begin[:, None]) % time)[..., None]
        hidden, states = self._run(jnp.take_along_axis(u, there, axis=1), start)
        hidden, states = (jnp.take_along_axis(x, back, axis=1) for x in (hidden, states))
        before = (number < begin[:, None])[..., None]
        early = jnp.pad(self._observe(found), ((0, 0), (0, time - n), (0, 0)))
        output, _ = self._outputs(jnp.where(before, early, hidden))
        prognosis = jnp.where(begin[:, None] < time, states[:, -1], start)
        return output, PIRNNState(encoder, prognosis, state.samples + time)

    def _fill(self, y: Array) -> Array:
        """Return `y` with the mean where nothing was measured."""
        return jnp.where(jnp.isnan(y), self.y_scale.mean[...], y)

    def _encode(self, u: Array, y: Array, state: Any) -> tuple[Array, Any]:
        """Return flat states (batch, time, S) of the prognosis, and the encoder's own state."""
        x = jnp.concatenate([self.u_scale.normalize(u), self.y_scale.normalize(y)], -1)
        hidden, after = self.encoder(x, state)
        return self.to_state(hidden), after

    def _run(self, u: Array, state: Array) -> tuple[Array, Array]:
        """Return what the head sees and the flat states, for `u` from the flat state (batch, S)."""
        parts = unflatten_state(state, self.prognosis.zero_state(1))
        hidden, _, states = self.prognosis.run(self.u_scale.normalize(u), parts)
        return hidden, states

    def _observe(self, states: Array) -> Array:
        """Return what the head sees in flat states (batch, time, S): the h of the last layer."""
        batch, time, size = states.shape
        like = self.prognosis.zero_state(1)
        last: Array = unflatten_state(states.reshape(batch * time, size), like)[-1][0]
        return jnp.reshape(last, (batch, time, -1))

    def _outputs(self, hidden: Array) -> tuple[Array, Array]:
        """Return outputs and auxiliary outputs in physical units."""
        out = self.head(hidden)
        n_y = self.y_scale.mean.shape[-1]
        output, more = self.y_scale.denormalize(out[..., :n_y]), out[..., n_y:]
        scale = self.auxiliary_scale
        return output, more if scale is None else scale.denormalize(more)
