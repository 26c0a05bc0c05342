"""Residual blocks of causal convolutions, the part that TCN and CRNN share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.models.layers import dropout_mask, layer_norm, linear, uniform
from tsjax_core.types import Array
from tsjax_tcn.convolution import causal_conv

Activation: TypeAlias = Literal["mish", "relu", "gelu", "silu", "tanh", "leaky_relu"]

Normalization: TypeAlias = Literal["none", "batchnorm", "layernorm"]

ConvState: TypeAlias = tuple[Array, ...]
"""Per convolution its last (kernel_size - 1) * dilation inputs, each (batch, inputs, channels)."""


def mish(x: Array) -> Array:
    """Return x tanh(softplus(x)), with a single exponential. Source: Misra, Mish (2019)."""
    # tanh(log(1 + e^x)) is a ratio of polynomials in e^x, and 1 to rounding before e^2x overflows.
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


ACTIVATIONS: Final[Mapping[Activation, Callable[[Array], Array]]] = {
    "mish": mish,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "leaky_relu": jax.nn.leaky_relu,
}


@dataclass(frozen=True)
class ConvOptions:
    """Hyperparameters of a `ConvStack`; the specifications that have them say what each does."""

    num_layers: int
    hidden_size: int
    kernel_size: int
    layers_per_block: int
    activation: Activation
    weight_norm: bool
    normalization: Normalization
    dropout: float

    @property
    def receptive_field(self) -> int:
        """Samples of input, the present one included, that an output depends on."""
        reach: int = 2**self.num_layers - 1
        return 1 + self.layers_per_block * (self.kernel_size - 1) * reach


class CausalConv(nnx.Module):
    """A causal convolution and its parameters, drawn uniformly from (-b, b), b = 1 / sqrt(fan-in).

    With weight norm the kernel of each output channel is g v / ||v||, where g begins as ||v||.
    Source: Salimans and Kingma, Weight normalization (2016).
    """

    def __init__(self, n_in: int, dilation: int, options: ConvOptions, *, rngs: nnx.Rngs) -> None:
        n_out, taps = options.hidden_size, options.kernel_size
        bound = (taps * n_in) ** -0.5
        kernel = uniform(rngs.params(), (taps, n_in, n_out), bound)
        # Batch norm sets mean and length of every channel: a bias or g before it would do nothing.
        free = options.normalization != "batchnorm"
        self.dilation = dilation
        self.kernel = nnx.Param(kernel)
        self.g = nnx.Param(_lengths(kernel)) if free and options.weight_norm else None
        self.bias = nnx.Param(uniform(rngs.params(), (n_out,), bound)) if free else None

    def zero_cache(self, batch_size: int) -> Array:
        """Return the inputs before the first sample: zeros."""
        taps, n_in, _ = self.kernel.shape
        return jnp.zeros((batch_size, (taps - 1) * self.dilation, n_in), self.kernel[...].dtype)

    def __call__(self, x: Array, cache: Array | None) -> Array:
        """Return the outputs for `x` (batch, time, n_in) after the inputs in `cache`, or zeros."""
        kernel = self.kernel[...]
        if self.g is not None:
            kernel = kernel * (self.g[...] / _lengths(kernel))
        bias = None if self.bias is None else self.bias[...]
        return causal_conv(x, kernel, bias, self.dilation, cache)


def _lengths(kernel: Array) -> Array:
    """Return the Euclidean norm of each output channel's weights."""
    return jnp.sqrt(jnp.sum(kernel**2, (0, 1)))


class ConvBlock(nnx.Module):
    """Convolutions of one dilation, each normalised and activated, around which the input passes.

    Nothing is activated after the sum, so that a signal passes any number of blocks unchanged.
    """

    def __init__(self, n_in: int, dilation: int, options: ConvOptions, *, rngs: nnx.Rngs) -> None:
        width = options.hidden_size
        widths = [n_in] + [width] * (options.layers_per_block - 1)
        self.convs = nnx.List([CausalConv(n, dilation, options, rngs=rngs) for n in widths])
        batchnorm = options.normalization == "batchnorm"
        # Statistics are measured in training alone. With flax's own momentum of 0.99 they would
        # lag behind a short training.
        self.batch_norms = nnx.List(
            [
                nnx.BatchNorm(width, use_running_average=True, momentum=0.9, rngs=rngs)
                for _ in widths
                if batchnorm
            ]
        )
        self.residual = linear(n_in, width, rngs=rngs) if n_in != width else None
        self.options = options

    def __call__(
        self, x: Array, caches: Sequence[Array] | None, keys: Sequence[Array] | None
    ) -> tuple[Array, list[Array]]:
        """Return the block's output and the inputs of its convolutions."""
        options, inputs, h = self.options, [], x
        for number, conv in enumerate(self.convs):
            inputs.append(h)
            h = conv(h, None if caches is None else caches[number])
            if options.normalization == "batchnorm":
                h = self.batch_norms[number](h)
            elif options.normalization == "layernorm":
                h = layer_norm(h)
            h = ACTIVATIONS[options.activation](h)
            if keys is not None and options.dropout:
                # One mask for all times: Gal and Ghahramani (2016).
                h = h * dropout_mask(keys[number], options.dropout, (len(h), 1, h.shape[-1]))
        return h + (x if self.residual is None else self.residual(x)), inputs


class ConvStack(nnx.Module):
    """Blocks of causal convolutions whose dilation doubles, on features (batch, time, n_in)."""

    def __init__(self, n_in: int, options: ConvOptions, *, rngs: nnx.Rngs) -> None:
        widths = [n_in] + [options.hidden_size] * (options.num_layers - 1)
        self.blocks = nnx.List(
            [ConvBlock(n, 2**i, options, rngs=rngs) for i, n in enumerate(widths)]
        )

    def zero_state(self, batch_size: int) -> ConvState:
        """Return the state before the first sample."""
        return tuple(conv.zero_cache(batch_size) for block in self.blocks for conv in block.convs)

    def __call__(
        self, x: Array, state: ConvState | None, *, key: Array | None = None
    ) -> tuple[Array, ConvState]:
        """Return features (batch, time, hidden_size) and the state after `x`.

        Without a `state` the sequence begins with `x`, and an empty state is returned. Nothing is
        dropped without a `key`.
        """
        per_block = len(self.blocks[0].convs)
        count = per_block * len(self.blocks)
        keys = None if key is None else list(jax.random.split(key, count))
        inputs: list[Array] = []
        for first, block in zip(range(0, count, per_block), self.blocks, strict=True):
            own = slice(first, first + per_block)
            x, taken = block(
                x, None if state is None else state[own], None if keys is None else keys[own]
            )
            inputs += taken
        after = (
            jnp.concatenate([before, taken], 1)[:, taken.shape[1] :]
            for before, taken in zip(state or (), inputs, strict=state is not None)
        )
        return x, tuple(after)
