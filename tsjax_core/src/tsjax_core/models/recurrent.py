"""RNN, GRU and LSTM as simulation models: inputs in, outputs out, state carried exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.layers import (
    GRULayer,
    Head,
    LSTMLayer,
    RNNLayer,
    dropout_mask,
    layer_norm,
)
from tsjax_core.models.scaling import Standardize
from tsjax_core.types import Array, Signals

State: TypeAlias = tuple[tuple[Array, ...], ...]
"""Per layer, the parts of its state, each (batch, hidden_size)."""


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
    """

    hidden_size: int = 100
    num_layers: int = 1
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    weight_dropout: float = 0.0
    normalization: Literal["none", "layernorm"] = "none"
    residual: bool = False
    linear_layers: int = 0
    scalar_inputs: bool = False
    output: Literal["sequence", "last"] = "sequence"

    layer: ClassVar[type[RNNLayer | GRULayer | LSTMLayer]]

    def __post_init__(self) -> None:
        for name, least in (("hidden_size", 1), ("num_layers", 1), ("linear_layers", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral):
                raise ConfigError(f"{name} = {value!r} is not a whole number.", key=name)
            if value < least:
                raise ConfigError(
                    f"{name} = {value} is too small; give at least {least}.", key=name
                )
        for name in ("input_dropout", "hidden_dropout", "weight_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} is not a probability below 1; "
                    "give 0 for no dropout.",
                    key=name,
                )
        if self.hidden_dropout and self.num_layers == 1:
            raise ConfigError(
                f"hidden_dropout = {self.hidden_dropout} acts between layers, and there is one; "
                "give num_layers = 2 or more, or use weight_dropout.",
                key="hidden_dropout",
            )

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

    The state before the first sample is zero. `call_with_aux` gives `hidden`, the states of the
    last layer, (batch, time, hidden_size).
    """

    def __init__(self, spec: RecurrentSpec, signals: Signals, *, rngs: nnx.Rngs) -> None:
        target = "y" if spec.output == "sequence" else "y_scalar"
        for key in (*spec.reads, target):
            if key not in signals.names:
                raise ModelError(
                    f"{type(spec).__name__} with scalar_inputs = {spec.scalar_inputs} and "
                    f"output = {spec.output!r} needs {key!r}, and the data have "
                    f"{', '.join(signals.names)}. Change the option, or name the signals of the "
                    "data in u, y, u_scalars and y_scalars."
                )
        stats, n_out = signals.stats, len(signals.names[target])
        widths = [sum(len(signals.names[key]) for key in spec.reads)]
        widths += [spec.hidden_size] * (spec.num_layers - 1)
        self.spec = spec
        self.u_scale = Standardize(stats["u"])
        self.scalar_scale = Standardize(stats["u_scalar"]) if spec.scalar_inputs else None
        self.y_scale = Standardize(stats[target])
        self.layers = nnx.List([spec.layer(n, spec.hidden_size, rngs=rngs) for n in widths])
        self.head = Head(spec.hidden_size, n_out, spec.linear_layers, rngs=rngs)

    def __call__(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> Array:
        """Simulate from zero state: `u` (batch, time, n_u), `u_scalar` (batch, n)."""
        return self.call_with_aux(u, u_scalar, key=key)[0]

    def call_with_aux(
        self, u: Array, u_scalar: Array | None = None, *, key: Array | None = None
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate from zero state; return the outputs and `{"hidden": ...}`."""
        y, hidden, _ = self._run(u, u_scalar, self.initial_state(u.shape[0]), key)
        return y, {"hidden": hidden}

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state."""
        return tuple(layer.zero_state(batch_size) for layer in self.layers)

    def advance(self, u: Array, state: State, u_scalar: Array | None = None) -> tuple[Array, State]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        y, _, state = self._run(u, u_scalar, state, None)
        return y, state

    def _run(
        self, u: Array, u_scalar: Array | None, state: State, key: Array | None
    ) -> tuple[Array, Array, State]:
        spec = self.spec
        x = jnp.swapaxes(self._inputs(u, u_scalar), 0, 1)
        keys = None if key is None else iter(jax.random.split(key, 2 * len(self.layers)))
        after: list[tuple[Array, ...]] = []
        for number, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            if keys is not None:
                rate = spec.hidden_dropout if number else spec.input_dropout
                x = _drop_channels(x, rate, next(keys))
            w_rec = layer.w_rec[...]
            if keys is not None and spec.weight_dropout:
                w_rec = w_rec * dropout_mask(next(keys), spec.weight_dropout, w_rec.shape)
            out, last = layer(x, before, w_rec)
            if spec.normalization == "layernorm":
                out = layer_norm(out)
            x = x + out if spec.residual and number else out
            after.append(last)
        y = self.head(x[-1] if spec.output == "last" else jnp.swapaxes(x, 0, 1))
        return self.y_scale.denormalize(y), jnp.swapaxes(x, 0, 1), tuple(after)

    def _inputs(self, u: Array, u_scalar: Array | None) -> Array:
        x = self.u_scale.normalize(u)
        if self.scalar_scale is None:
            return x
        if u_scalar is None:
            raise ModelError(
                f"this {type(self.spec).__name__} was built with scalar_inputs = True and was "
                "called without 'u_scalar'; give it as the second input, (batch, n)."
            )
        constant = self.scalar_scale.normalize(u_scalar)[:, None, :]
        return jnp.concatenate(
            [x, jnp.broadcast_to(constant, (*x.shape[:2], constant.shape[-1]))], -1
        )


def _drop_channels(x: Array, rate: float, key: Array) -> Array:
    """Drop channels of `x` (time, batch, channels), each for a whole sequence.

    One mask for all times is variational dropout: Gal and Ghahramani (2016).
    """
    return x * dropout_mask(key, rate, (1, *x.shape[1:])) if rate else x
