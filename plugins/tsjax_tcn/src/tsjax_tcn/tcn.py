"""The temporal convolutional network: a finite memory, computed for all samples at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flax import nnx

from tsjax_core.checks import check_choices, check_counts, check_probabilities
from tsjax_core.models.layers import Head
from tsjax_core.models.scaling import InputScale, Standardize, require_signals
from tsjax_core.types import Array, Signals
from tsjax_tcn.stack import Activation, ConvOptions, ConvStack, ConvState, Normalization


@dataclass(frozen=True)
class TCN:
    """Temporal convolutional network: residual blocks of causal, dilated convolutions.

    Source: Bai, Kolter and Koltun (2018), without the activation after a block's sum.

    Args:
        num_layers: Blocks; block i = 0, 1, ... has dilation 2^i.
        hidden_size: Channels of each convolution.
        kernel_size: Taps of each convolution.
        layers_per_block: Convolutions in each block.
        activation: Applied after each convolution.
        weight_norm: Learn the length of each channel's kernel apart from its direction. Batch norm
            does so itself, and `weight_norm` changes nothing with it.
        normalization: After each convolution: `batchnorm` over batch and time, with statistics
            that are learned in training, or `layernorm` over the channels.
        dropout: Probability of dropping a channel after each activation, for a whole sequence.
        scalar_inputs: Read `u_scalar` too, as inputs that are constant over a sequence.
    """

    num_layers: int = 3
    hidden_size: int = 100
    kernel_size: int = 2
    layers_per_block: int = 1
    activation: Activation = "mish"
    weight_norm: bool = True
    normalization: Normalization = "none"
    dropout: float = 0.0
    scalar_inputs: bool = False

    def __post_init__(self) -> None:
        check_counts(self, num_layers=1, hidden_size=1, kernel_size=1, layers_per_block=1)
        check_choices(self, "activation", "normalization")
        check_probabilities(self, "dropout")

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "u_scalar") if self.scalar_inputs else ("u",)

    @property
    def receptive_field(self) -> int:
        """Samples of input, the present one included, that an output depends on."""
        return self.convolutions.receptive_field

    @property
    def convolutions(self) -> ConvOptions:
        """The options of the convolutions."""
        return ConvOptions(
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            kernel_size=self.kernel_size,
            layers_per_block=self.layers_per_block,
            activation=self.activation,
            weight_norm=self.weight_norm,
            normalization=self.normalization,
            dropout=self.dropout,
        )

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> TCNModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return TCNModel(self, signals, rngs=rngs)


class TCNModel(nnx.Module):
    """Causal convolutions and a linear output at every sample, raw units in and out.

    Before the first sample every layer's input is zero. That is not the response to earlier inputs
    at their mean, for which only the first layer's input would be zero.
    `call_with_aux` gives `hidden`, the features of the last block, (batch, time, hidden_size).
    """

    def __init__(self, spec: TCN, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["y"], "TCN")
        self.spec = spec
        self.u_scale = InputScale(signals, scalar_inputs=spec.scalar_inputs, owner="TCN")
        self.y_scale = Standardize(signals.stats["y"])
        self.stack = ConvStack(self.u_scale.width, spec.convolutions, rngs=rngs)
        self.head = Head(spec.hidden_size, len(signals.outputs), 0, rngs=rngs)

    @property
    def receptive_field(self) -> int:
        """Samples of input, the present one included, that an output depends on."""
        return self.spec.receptive_field

    def __call__(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> Array:
        """Simulate from rest: `u` (batch, time, n_u), `u_scalar` (batch, n)."""
        return self.call_with_aux(u, u_scalar, key=key)[0]

    def call_with_aux(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate from rest; return the outputs and `{"hidden": ...}`."""
        y, hidden, _ = self._run(u, u_scalar, None, key)
        return y, {"hidden": hidden}

    def initial_state(self, batch_size: int) -> ConvState:
        """Return the inputs of every convolution before the first sample: zeros."""
        return self.stack.zero_state(batch_size)

    def advance(
        self, u: Array, state: ConvState, u_scalar: Array | None = None
    ) -> tuple[Array, ConvState]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        y, _, state = self._run(u, u_scalar, state, None)
        return y, state

    def _run(
        self, u: Array, u_scalar: Array | None, state: ConvState | None, key: Array | None
    ) -> tuple[Array, Array, ConvState]:
        hidden, state = self.stack(self.u_scale(u, u_scalar), state, key=key)
        return self.y_scale.denormalize(self.head(hidden)), hidden, state
