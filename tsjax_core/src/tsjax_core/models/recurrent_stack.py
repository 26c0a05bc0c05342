"""A stack of recurrent layers, with what may stand between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.models.layers import (
    GRULayer,
    Kernel,
    LSTMLayer,
    RNNLayer,
    dropout_mask,
    layer_norm,
)
from tsjax_core.types import Array

RecurrentLayer: TypeAlias = RNNLayer | GRULayer | LSTMLayer

Cell: TypeAlias = Literal["rnn", "gru", "lstm"]

LAYERS: Final[Mapping[Cell, type[RecurrentLayer]]] = {
    "rnn": RNNLayer,
    "gru": GRULayer,
    "lstm": LSTMLayer,
}

RecurrentState: TypeAlias = tuple[tuple[Array, ...], ...]
"""Per layer, the parts of its state, each (batch, hidden_size)."""


class RecurrentStack(nnx.Module):
    """Recurrent layers one on top of the other, on features (batch, time, n_in).

    Args:
        layer: The class of every layer.
        n_in: Channels of the features.
        hidden_size: Units in each layer.
        num_layers: Layers.
        input_dropout: Probability of dropping an input channel, for a whole sequence.
        hidden_dropout: Probability of dropping a unit between layers, for a whole sequence.
        weight_dropout: Probability of dropping a recurrent connection, for a whole batch.
        normalization: `layernorm` normalises each layer's output over its units.
        residual: Add each layer's input to its output, from the second layer on.
        kernel: How each layer is computed, the fast way (auto) or as its equations say (plain).
        rngs: Draw the parameters.
    """

    def __init__(
        self,
        layer: type[RecurrentLayer],
        n_in: int,
        hidden_size: int,
        num_layers: int,
        *,
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        normalization: Literal["none", "layernorm"] = "none",
        residual: bool = False,
        kernel: Kernel = "auto",
        rngs: nnx.Rngs,
    ) -> None:
        widths = [n_in] + [hidden_size] * (num_layers - 1)
        self.layers = nnx.List([layer(n, hidden_size, kernel, rngs=rngs) for n in widths])
        self.input_dropout = input_dropout
        self.hidden_dropout = hidden_dropout
        self.weight_dropout = weight_dropout
        self.normalization = normalization
        self.residual = residual

    def zero_state(self, batch_size: int) -> RecurrentState:
        """Return the state before the first sample."""
        return tuple(layer.zero_state(batch_size) for layer in self.layers)

    def __call__(
        self, x: Array, state: RecurrentState, *, key: Array | None = None
    ) -> tuple[Array, RecurrentState]:
        """Return the last layer's outputs (batch, time, hidden_size) and the state after `x`.

        Nothing is dropped without a `key`.
        """
        out, after, _ = self.run(x, state, key=key)
        return out, after

    def run(
        self, x: Array, state: RecurrentState, *, key: Array | None = None
    ) -> tuple[Array, RecurrentState, Array]:
        """Return what a call returns, and the states of all layers after every sample.

        The states are (batch, time, S), joined as `flatten_state` joins the state.
        """
        x = jnp.swapaxes(x, 0, 1)
        keys = None if key is None else iter(jax.random.split(key, 2 * len(self.layers)))
        after: list[tuple[Array, ...]] = []
        every: list[Array] = []
        for number, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            if keys is not None:
                rate = self.hidden_dropout if number else self.input_dropout
                x = _drop_channels(x, rate, next(keys))
            w_rec = layer.w_rec[...]
            if keys is not None and self.weight_dropout:
                w_rec = w_rec * dropout_mask(next(keys), self.weight_dropout, w_rec.shape)
            out, last = layer(x, before, w_rec)
            every += layer.all_states(x, before, w_rec, out)
            if self.normalization == "layernorm":
                out = layer_norm(out)
            x = x + out if self.residual and number else out
            after.append(last)
        states = jnp.swapaxes(jnp.concatenate(every, axis=-1), 0, 1)
        return jnp.swapaxes(x, 0, 1), tuple(after), states


def _drop_channels(x: Array, rate: float, key: Array) -> Array:
    """Drop channels of `x` (time, batch, channels), each for a whole sequence.

    One mask for all times is variational dropout: Gal and Ghahramani (2016).
    """
    return x * dropout_mask(key, rate, (1, *x.shape[1:])) if rate else x
