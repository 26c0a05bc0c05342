"""Recurrent layers, and the pieces that recurrent models share."""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from typing import ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.models.recurrent_kernels import gru_kernel, lstm_kernel, products, rnn_kernel
from tsjax_core.models.recurrent_scans import (
    gru_scan,
    lstm_cells,
    lstm_scan,
    rnn_scan,
    split_gates,
)
from tsjax_core.types import Array

Kernel: TypeAlias = Literal["auto", "plain"]

# Values that one call of the program draws: more than most arrays have, and little to throw away.
_BLOCK = 4096

# Parameter, gradient, two moments of Adam, and the best weights.
_COPIES = 5


def uniform(key: Array, shape: tuple[int, ...], bound: float) -> Array:
    """Draw from the uniform distribution over (-bound, bound)."""
    # One program draws for arrays of every shape. A program for each would take most of the time
    # in which a model is built.
    size = math.prod(shape)
    check_memory(shape)
    count = max(1, -(-size // _BLOCK))
    if isinstance(key, jax.core.Tracer):
        # Within a program, where a model may also be built for its shapes alone.
        joined = jax.vmap(_block, in_axes=(None, 0))(key, jnp.arange(count)).reshape(-1)
        inside: Array = joined[:size].reshape(shape) * bound
        return inside
    blocks = [_block(key, number) for number in range(count)]
    # Joined on the host, which compiles nothing.
    drawn: Array = jax.device_put(np.concatenate(blocks)[:size].reshape(shape) * bound)
    return drawn


def check_memory(shape: tuple[int, ...]) -> None:
    """Raise ModelError for a parameter that cannot be trained in the memory of this machine."""
    size, free = 4 * math.prod(shape), machine_memory()
    if size * _COPIES > free:
        raise ModelError(
            f"a parameter of shape {shape} takes {size / 1e9:.3g} GB, and training keeps about "
            f"{_COPIES} arrays of its size (gradient, optimizer, best weights); this machine has "
            f"{free / 1e9:.3g} GB. Choose fewer units."
        )


@cache
def machine_memory() -> int:
    """Return the memory of this machine in bytes, without limit where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


@jax.jit
def _block(key: Array, number: int) -> Array:
    return jax.random.uniform(jax.random.fold_in(key, number), (_BLOCK,), minval=-1.0, maxval=1.0)


def dropout_mask(key: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Draw a mask that is 0 with probability `rate` and else 1 / (1 - rate)."""
    return jax.random.bernoulli(key, 1.0 - rate, shape) / (1.0 - rate)


def layer_norm(x: Array) -> Array:
    """Return `x` with zero mean and unit variance over its last axis, without learned scale.

    Source: Ba, Kiros and Hinton, Layer normalization (2016).
    """
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


class _Layer(nnx.Module):
    """Parameters of a cell, drawn uniformly from (-b, b) with b = 1 / sqrt(hidden_size).

    With fan-in scaling instead, a single input channel would saturate the gates from the start.
    `kernel` is how the layer is computed: `auto` by `recurrent_kernels`, `plain` by
    `recurrent_scans`.
    """

    n_gates: ClassVar[int]
    state_parts: ClassVar[int] = 1

    def __init__(
        self, n_in: int, hidden_size: int, kernel: Kernel = "auto", *, rngs: nnx.Rngs
    ) -> None:
        width, bound = self.n_gates * hidden_size, hidden_size**-0.5
        self.hidden_size = hidden_size
        self.kernel = kernel
        self.w_in = nnx.Param(uniform(rngs.params(), (n_in, width), bound))
        self.w_rec = nnx.Param(uniform(rngs.params(), (hidden_size, width), bound))
        self.b_in = nnx.Param(uniform(rngs.params(), (width,), bound))

    def zero_state(self, batch_size: int) -> tuple[Array, ...]:
        """Return the state before the first sample, each part (batch, hidden)."""
        zeros = jnp.zeros((batch_size, self.hidden_size), self.w_rec[...].dtype)
        return (zeros,) * self.state_parts

    def all_states(
        self,
        x: Array,  # noqa: ARG002 - layers with more state than `hidden` need it
        state: tuple[Array, ...],  # noqa: ARG002 - as above
        w_rec: Array,  # noqa: ARG002 - as above
        hidden: Array,
    ) -> tuple[Array, ...]:
        """Return each part of the state after every sample, (time, batch, hidden).

        `hidden` is what a call with the same arguments returned. A program that does not use the
        result does not compute it.
        """
        return (hidden,)

    def _project(self, x: Array) -> tuple[Array, ...]:
        projected = products(x, self.w_in[...], self.n_gates)
        biases = split_gates(self.b_in[...], self.n_gates)
        return tuple(gate + bias for gate, bias in zip(projected, biases, strict=True))


class RNNLayer(_Layer):
    """A layer of Elman cells.

    Layers are time-major: called with `x` (time, batch, n_in), the state, and the recurrent kernel
    (a layer's own, or a version of it with connections dropped), they return all hidden states
    (time, batch, hidden) and the state after the last sample.
    """

    n_gates = 1

    def __call__(
        self, x: Array, state: tuple[Array, ...], w_rec: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Return all hidden states and the last state."""
        run = rnn_scan if self.kernel == "plain" else rnn_kernel
        states, last = run(self._project(x), state[0], w_rec)
        return states, (last,)


class GRULayer(_Layer):
    """A layer of gated recurrent units."""

    n_gates = 3

    def __init__(
        self, n_in: int, hidden_size: int, kernel: Kernel = "auto", *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(n_in, hidden_size, kernel, rngs=rngs)
        self.b_rec_n = nnx.Param(uniform(rngs.params(), (hidden_size,), hidden_size**-0.5))

    def __call__(
        self, x: Array, state: tuple[Array, ...], w_rec: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Return all hidden states and the last state."""
        run = gru_scan if self.kernel == "plain" else gru_kernel
        states, last = run(self._project(x), state[0], w_rec, self.b_rec_n[...])
        return states, (last,)


class LSTMLayer(_Layer):
    """A layer of long short-term memories; its state is (h, c)."""

    n_gates = 4
    state_parts = 2

    def __call__(
        self, x: Array, state: tuple[Array, ...], w_rec: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Return all hidden states and the last state."""
        h, c = state
        run = lstm_scan if self.kernel == "plain" else lstm_kernel
        return run(self._project(x), (h, c), w_rec)

    def all_states(
        self, x: Array, state: tuple[Array, ...], w_rec: Array, hidden: Array
    ) -> tuple[Array, ...]:
        """Return hidden states and cells after every sample, (time, batch, hidden)."""
        return hidden, lstm_cells(self._project(x), state, w_rec, hidden)


def linear(n_in: int, n_out: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """Return a linear layer, kernel and bias drawn uniformly from (-b, b), b = 1 / sqrt(n_in)."""

    def draw(key: Array, shape: tuple[int, ...], dtype: object = None) -> Array:
        del dtype
        return uniform(key, shape, n_in**-0.5)

    return nnx.Linear(n_in, n_out, kernel_init=draw, bias_init=draw, rngs=rngs)


class Head(nnx.Module):
    """Maps hidden states to outputs: hidden layers with leaky ReLU, then a linear layer."""

    def __init__(self, n_in: int, n_out: int, hidden_layers: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.List([linear(n_in, n_in, rngs=rngs) for _ in range(hidden_layers)])
        self.out = linear(n_in, n_out, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the outputs (..., n_out) for hidden states (..., n_in)."""
        for layer in self.hidden:
            x = jax.nn.leaky_relu(layer(x))
        return self.out(x)
