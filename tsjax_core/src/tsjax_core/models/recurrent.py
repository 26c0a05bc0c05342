"""RNN, GRU and LSTM as simulation models: inputs in, outputs out, state carried exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from flax import nnx

from tsjax_core.checks import (
    check_between_layers,
    check_choices,
    check_counts,
    check_probabilities,
)
from tsjax_core.models.layers import GRULayer, Head, Kernel, LSTMLayer, RNNLayer
from tsjax_core.models.recurrent_stack import RecurrentLayer, RecurrentStack, RecurrentState
from tsjax_core.models.scaling import InputScale, Standardize, require_signals
from tsjax_core.types import Array, Signals


@dataclass(frozen=True)
class RecurrentSpec:
    """Hyperparameters that all recurrent models share.

    Args:
        hidden_size: Units in each layer.
        num_layers: Recurrent layers, one on top of the other.
        input_dropout: Probability of dropping an input channel, for a whole sequence.
        hidden_dropout: Probability of dropping a unit between layers, for a whole sequence.
        weight_dropout: Probability of dropping a recurrent connection, for a whole batch.
        normalization: `layernorm` normalises each layer's output over its units.
        residual: Add each layer's input to its output, from the second layer on.
        linear_layers: Hidden layers between the last recurrent layer and the output.
        scalar_inputs: Read `u_scalar` too, as inputs that are constant over a sequence.
        output: `sequence` gives an output at every sample; `last` gives one per sequence, from
            the state after its last sample, for targets that are scalars.
        kernel: How the layers are computed. `auto` is fast and has derivatives of any order;
            `plain` runs the equations and leaves derivatives to JAX. Both agree to rounding.
    """

    hidden_size: int = 64
    num_layers: int = 1
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    weight_dropout: float = 0.0
    normalization: Literal["none", "layernorm"] = "none"
    residual: bool = False
    linear_layers: int = 0
    scalar_inputs: bool = False
    output: Literal["sequence", "last"] = "sequence"
    kernel: Kernel = "auto"

    layer: ClassVar[type[RecurrentLayer]]

    def __post_init__(self) -> None:
        check_counts(self, hidden_size=1, num_layers=1, linear_layers=0)
        check_probabilities(self, "input_dropout", "hidden_dropout", "weight_dropout")
        check_choices(self, "normalization", "output", "kernel")
        check_between_layers(self, "hidden_dropout", "num_layers")

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "u_scalar") if self.scalar_inputs else ("u",)

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> RecurrentModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return RecurrentModel(self, signals, rngs=rngs)


@dataclass(frozen=True)
class RNN(RecurrentSpec):
    """Elman network. Its gradients fade over long times; prefer `GRU` or `LSTM`."""

    layer = RNNLayer


@dataclass(frozen=True)
class GRU(RecurrentSpec):
    """Gated recurrent units: the model to begin with."""

    layer = GRULayer


@dataclass(frozen=True)
class LSTM(RecurrentSpec):
    """Long short-term memory."""

    layer = LSTMLayer


class RecurrentModel(nnx.Module):
    """A stack of recurrent layers and an output head, raw units in and out.

    The state before the first sample is zero. `call_with_aux` and `advance_with_aux` give `hidden`,
    the output of the last layer, (batch, time, hidden_size), and `states`, the states of all layers
    after every sample as `flatten_state` joins them, (batch, time, S).
    """

    def __init__(self, spec: RecurrentSpec, signals: Signals, *, rngs: nnx.Rngs) -> None:
        target = "y" if spec.output == "sequence" else "y_scalar"
        owner = type(spec).__name__
        require_signals(signals, [target], f"{owner} with output = {spec.output!r}")
        self.spec = spec
        self.u_scale = InputScale(signals, scalar_inputs=spec.scalar_inputs, owner=owner)
        self.y_scale = Standardize(signals.stats[target])
        self.stack = RecurrentStack(
            spec.layer,
            self.u_scale.width,
            spec.hidden_size,
            spec.num_layers,
            input_dropout=spec.input_dropout,
            hidden_dropout=spec.hidden_dropout,
            weight_dropout=spec.weight_dropout,
            normalization=spec.normalization,
            residual=spec.residual,
            kernel=spec.kernel,
            rngs=rngs,
        )
        n_out = len(signals.names[target])
        self.head = Head(spec.hidden_size, n_out, spec.linear_layers, rngs=rngs)

    def __call__(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u), `u_scalar` (batch, n)."""
        return self.call_with_aux(u, u_scalar, key=key)[0]

    def call_with_aux(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate from zero state; return the outputs and `{"hidden": ..., "states": ...}`."""
        state = self.initial_state(u.shape[0])
        y, _, aux = self.advance_with_aux(u, state, u_scalar, key=key)
        return y, aux

    def initial_state(self, batch_size: int) -> RecurrentState:
        """Return the zero state."""
        return self.stack.zero_state(batch_size)

    def advance(
        self,
        u: Array,
        state: RecurrentState,
        u_scalar: Array | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, RecurrentState]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        y, state, _ = self.advance_with_aux(u, state, u_scalar, key=key)
        return y, state

    def advance_with_aux(
        self,
        u: Array,
        state: RecurrentState,
        u_scalar: Array | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, RecurrentState, Mapping[str, Array]]:
        """Simulate one chunk; return its outputs, the state after it, and the values of `aux`."""
        hidden, state, states = self.stack.run(self.u_scale(u, u_scalar), state, key=key)
        y = self.head(hidden[:, -1] if self.spec.output == "last" else hidden)
        return self.y_scale.denormalize(y), state, {"hidden": hidden, "states": states}
