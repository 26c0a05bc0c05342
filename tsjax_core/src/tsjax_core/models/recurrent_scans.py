"""One recurrent layer over time, sample by sample, with derivatives by JAX.

These are the equations of the cells, and what the faster `recurrent_kernels` are compared with.
All arrays are time-major. `x` is a tuple with one (time, batch, hidden) array per gate: the input
projections, bias included, which the caller forms for all times in one matrix product. Keeping
the gates apart lets the compiler vectorise the loop's body; one wide array per step does not.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from tsjax_core.types import Array


def split_gates(x: Array, n_gates: int) -> tuple[Array, ...]:
    """Return the gates' columns of `x` (..., n_gates * hidden), each (..., hidden)."""
    return tuple(jnp.split(x, n_gates, axis=-1))


def rnn_scan(x: tuple[Array, ...], h: Array, w_rec: Array) -> tuple[Array, Array]:
    """Run an Elman cell, h' = tanh(x + h W), and return all states and the last.

    Source: Elman, Finding structure in time (1990). `w_rec` is (hidden, hidden).
    """

    def step(h: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        h = jnp.tanh(x[0] + h @ w_rec)
        return h, h

    last, states = lax.scan(step, h, x)
    return states, last


def gru_scan(x: tuple[Array, ...], h: Array, w_rec: Array, b_rec_n: Array) -> tuple[Array, Array]:
    """Run a gated recurrent unit and return all states and the last.

    r = s(x_r + h W_r), z = s(x_z + h W_z), n = tanh(x_n + r (h W_n + b)), h' = (1 - z) n + z h,
    with s the logistic function. Source: Cho et al. (2014), with the reset gate applied after the
    recurrent product, as in cuDNN. `w_rec` is (hidden, 3 hidden) in the order r, z, n.
    """

    def step(h: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        h_r, h_z, h_n = split_gates(h @ w_rec, 3)
        r = jax.nn.sigmoid(x[0] + h_r)
        z = jax.nn.sigmoid(x[1] + h_z)
        n = jnp.tanh(x[2] + r * (h_n + b_rec_n))
        h = n + z * (h - n)
        return h, h

    last, states = lax.scan(step, h, x)
    return states, last


def lstm_scan(
    x: tuple[Array, ...], state: tuple[Array, Array], w_rec: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Run a long short-term memory and return all hidden states and the last (h, c).

    i, f, o = s(x + h W) for their gates, g = tanh(x_g + h W_g), c' = f c + i g, h' = o tanh(c').
    Source: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000). `w_rec`
    is (hidden, 4 hidden) in the order i, f, g, o.
    """

    def step(state: tuple[Array, Array], x: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        h_i, h_f, h_g, h_o = split_gates(h @ w_rec, 4)
        i = jax.nn.sigmoid(x[0] + h_i)
        f = jax.nn.sigmoid(x[1] + h_f)
        g = jnp.tanh(x[2] + h_g)
        o = jax.nn.sigmoid(x[3] + h_o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), h

    last, states = lax.scan(step, state, x)
    return states, last


def lstm_cells(
    x: tuple[Array, ...], state: tuple[Array, ...], w_rec: Array, hidden: Array
) -> Array:
    """Return the cells of an LSTM after every sample, given its hidden states.

    The gates follow from the hidden states for all times at once, and c' = f c + i g from them.
    Arguments are those of `lstm_scan`; `hidden` is its first result.
    """
    h, c = state
    before = jnp.concatenate([h[None], hidden[:-1]])
    h_i, h_f, h_g, _ = split_gates(before @ w_rec, 4)
    i, f, g = jax.nn.sigmoid(x[0] + h_i), jax.nn.sigmoid(x[1] + h_f), jnp.tanh(x[2] + h_g)

    def step(c: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        i, f, g = at
        c = f * c + i * g
        return c, c

    cells: Array = lax.scan(step, c, (i, f, g))[1]
    return cells
