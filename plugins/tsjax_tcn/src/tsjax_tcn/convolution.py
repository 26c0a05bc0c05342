"""Causal dilated convolution of sequences (batch, time, channels), from chunk to chunk.

Three forms compute the same, and `causal_conv` chooses when it is traced. On a processor those
made of products are the fastest in training, whose steps are a loop: of a convolution within a
loop XLA computes the kernel's gradient in its slowest form, which takes a hundred times as long.
`python -m benchmarks causal_convolution` compares the forms in single calls.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from tsjax_core.errors import ModelError
from tsjax_core.types import Array


def causal_conv(
    x: Array, kernel: Array, bias: Array | None, dilation: int, cache: Array | None = None
) -> Array:
    """Return y_t = bias + sum_k x_(t - (K - 1 - k) dilation) kernel_k, (batch, time, n_out).

    `x` is (batch, time, n_in) and `kernel` (K, n_in, n_out), whose last tap meets the present
    sample. `cache` holds the (K - 1) dilation inputs before `x`, which are zero without it; one of
    another shape raises ModelError.
    """
    if cache is None:
        # Taps that reach back beyond the first sample meet nothing but zeros.
        kernel = kernel[max(0, kernel.shape[0] - -(-x.shape[1] // dilation)) :]
    if kernel.shape[1] == 1:
        y = sum_of_taps(x, kernel, dilation, cache)
    elif jax.default_backend() == "cpu":
        y = unfolded(x, kernel, dilation, cache)
    else:
        y = convolved(x, kernel, dilation, cache)
    return y if bias is None else y + bias


def convolved(x: Array, kernel: Array, dilation: int, cache: Array | None) -> Array:
    """Return the convolution by XLA's own, for devices that have units for it."""
    reach = (kernel.shape[0] - 1) * dilation
    return lax.conv_general_dilated(
        x if cache is None else _after(cache, x, reach),
        kernel,
        window_strides=(1,),
        padding=[(reach if cache is None else 0, 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NHC", "HIO", "NHC"),
    )


def unfolded(x: Array, kernel: Array, dilation: int, cache: Array | None) -> Array:
    """Return the convolution as one product with the inputs of all taps side by side."""
    taps, n_in, n_out = kernel.shape
    columns = jnp.concatenate(_inputs_of_taps(x, taps, dilation, cache), -1)
    return columns @ kernel.reshape(taps * n_in, n_out)


def sum_of_taps(x: Array, kernel: Array, dilation: int, cache: Array | None) -> Array:
    """Return the convolution as a sum of products, which a single channel fuses into one loop."""
    inputs = _inputs_of_taps(x, kernel.shape[0], dilation, cache)
    y: Array = reduce(add, (part @ tap for part, tap in zip(inputs, kernel, strict=True)))
    return y


def _inputs_of_taps(x: Array, taps: int, dilation: int, cache: Array | None) -> list[Array]:
    reach, length = (taps - 1) * dilation, x.shape[1]
    ahead = ((0, 0), (reach, 0), (0, 0))
    past = jnp.pad(x, ahead) if cache is None else _after(cache, x, reach)
    return [past[:, k * dilation : k * dilation + length] for k in range(taps)]


def _after(cache: Array, x: Array, reach: int) -> Array:
    batch_size, _, n_in = x.shape
    if cache.shape != (batch_size, reach, n_in):
        raise ModelError(
            f"the inputs before a chunk of shape {x.shape} have shape {cache.shape}; the "
            f"convolution needs {(batch_size, reach, n_in)}. Give the state that `initial_state` "
            "of this model returns for that batch size, or its last `advance`."
        )
    return jnp.concatenate([cache, x], 1)
