"""Convolutions in front of recurrent layers: short-term features, then a memory without end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
from flax import nnx

from tsjax_core.checks import (
    check_between_layers,
    check_choices,
    check_counts,
    check_probabilities,
)
from tsjax_core.models.layers import Head, linear
from tsjax_core.models.recurrent_stack import LAYERS, Cell, RecurrentStack, RecurrentState
from tsjax_core.models.scaling import InputScale, Standardize, require_signals
from tsjax_core.types import Array, Signals
from tsjax_tcn.stack import Activation, ConvOptions, ConvStack, ConvState, Normalization

CRNNState: TypeAlias = tuple[ConvState, RecurrentState]
"""The inputs that the convolutions remember, and the states of the recurrent layers."""


@dataclass(frozen=True)
class CRNN:
    """Convolutional recurrent network: a TCN whose features a recurrent network simulates.

    Args:
        num_features: Channels that the convolutions give to the recurrent layers.
        num_cnn_layers: Blocks of convolutions; block i = 0, 1, ... has dilation 2^i.
        num_rnn_layers: Recurrent layers, one on top of the other.
        cnn_hidden_size: Channels of each convolution.
        rnn_hidden_size: Units in each recurrent layer.
        cell: The recurrent layers: Elman network, gated recurrent units, or LSTM.
        kernel_size: Taps of each convolution.
        layers_per_block: Convolutions in each block.
        activation: Applied after each convolution.
        weight_norm: Learn the length of each channel's kernel apart from its direction. Batch norm
            does so itself, and `weight_norm` changes nothing with it.
        cnn_normalization: After each convolution: `batchnorm` over batch and time, with statistics
            that are learned in training, or `layernorm` over the channels.
        rnn_normalization: `layernorm` normalises each recurrent layer's output over its units.
        cnn_dropout: Probability of dropping a channel after each activation, for a whole sequence.
        input_dropout: Probability of dropping a feature before the recurrent layers, for a whole
            sequence.
        hidden_dropout: Probability of dropping a unit between recurrent layers, for a whole
            sequence.
        weight_dropout: Probability of dropping a recurrent connection, for a whole batch.
        linear_layers: Hidden layers between the last recurrent layer and the output.
        scalar_inputs: Read `u_scalar` too, as inputs that are constant over a sequence.
    """

    num_features: int = 10
    num_cnn_layers: int = 4
    num_rnn_layers: int = 2
    cnn_hidden_size: int = 10
    rnn_hidden_size: int = 10
    cell: Cell = "gru"
    kernel_size: int = 2
    layers_per_block: int = 1
    activation: Activation = "relu"
    weight_norm: bool = True
    cnn_normalization: Normalization = "none"
    rnn_normalization: Literal["none", "layernorm"] = "none"
    cnn_dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    weight_dropout: float = 0.0
    linear_layers: int = 0
    scalar_inputs: bool = False

    def __post_init__(self) -> None:
        check_counts(
            self,
            num_features=1,
            num_cnn_layers=1,
            num_rnn_layers=1,
            cnn_hidden_size=1,
            rnn_hidden_size=1,
            kernel_size=1,
            layers_per_block=1,
            linear_layers=0,
        )
        check_choices(self, "cell", "activation", "cnn_normalization", "rnn_normalization")
        check_probabilities(
            self, "cnn_dropout", "input_dropout", "hidden_dropout", "weight_dropout"
        )
        check_between_layers(self, "hidden_dropout", "num_rnn_layers")

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "u_scalar") if self.scalar_inputs else ("u",)

    @property
    def convolutions(self) -> ConvOptions:
        """The options of the convolutions."""
        return ConvOptions(
            num_layers=self.num_cnn_layers,
            hidden_size=self.cnn_hidden_size,
            kernel_size=self.kernel_size,
            layers_per_block=self.layers_per_block,
            activation=self.activation,
            weight_norm=self.weight_norm,
            normalization=self.cnn_normalization,
            dropout=self.cnn_dropout,
        )

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> CRNNModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return CRNNModel(self, signals, rngs=rngs)


class CRNNModel(nnx.Module):
    """Causal convolutions, recurrent layers on their features, and a head, raw units in and out.

    `call_with_aux` gives `features`, what the recurrent layers take, (batch, time, num_features),
    and `hidden`, the states of the last of them, (batch, time, rnn_hidden_size).
    """

    def __init__(self, spec: CRNN, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["y"], "CRNN")
        self.spec = spec
        self.u_scale = InputScale(signals, scalar_inputs=spec.scalar_inputs, owner="CRNN")
        self.y_scale = Standardize(signals.stats["y"])
        self.convolutions = ConvStack(self.u_scale.width, spec.convolutions, rngs=rngs)
        self.features = linear(spec.cnn_hidden_size, spec.num_features, rngs=rngs)
        self.recurrent = RecurrentStack(
            LAYERS[spec.cell],
            spec.num_features,
            spec.rnn_hidden_size,
            spec.num_rnn_layers,
            input_dropout=spec.input_dropout,
            hidden_dropout=spec.hidden_dropout,
            weight_dropout=spec.weight_dropout,
            normalization=spec.rnn_normalization,
            rngs=rngs,
        )
        n_out = len(signals.outputs)
        self.head = Head(spec.rnn_hidden_size, n_out, spec.linear_layers, rngs=rngs)

    def __call__(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> Array:
        """Simulate from rest: `u` (batch, time, n_u), `u_scalar` (batch, n)."""
        return self.call_with_aux(u, u_scalar, key=key)[0]

    def call_with_aux(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate from rest; return the outputs and `{"features": ..., "hidden": ...}`."""
        y, aux, _ = self._run(u, u_scalar, None, self.recurrent.zero_state(len(u)), key)
        return y, aux

    def initial_state(self, batch_size: int) -> CRNNState:
        """Return the state before the first sample: zeros."""
        return self.convolutions.zero_state(batch_size), self.recurrent.zero_state(batch_size)

    def advance(
        self, u: Array, state: CRNNState, u_scalar: Array | None = None
    ) -> tuple[Array, CRNNState]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        y, _, state = self._run(u, u_scalar, *state, None)
        return y, state

    def _run(
        self,
        u: Array,
        u_scalar: Array | None,
        past: ConvState | None,
        states: RecurrentState,
        key: Array | None,
    ) -> tuple[Array, Mapping[str, Array], CRNNState]:
        conv_key, rnn_key = (None, None) if key is None else jax.random.split(key)
        x, past = self.convolutions(self.u_scale(u, u_scalar), past, key=conv_key)
        features = self.features(x)
        hidden, states = self.recurrent(features, states, key=rnn_key)
        y = self.y_scale.denormalize(self.head(hidden))
        return y, {"features": features, "hidden": hidden}, (past, states)
