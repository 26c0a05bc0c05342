"""One recurrent layer over time, with derivatives that are as fast as the layer itself.

The functions are those of `recurrent_scans`, whose equations, arguments and results they share.
Left alone, JAX stores every intermediate value of every step and differentiates step by step.
Here each step also gives its slopes, the factors by which changes of its input and of the state
before it reach the state after it. With them a derivative is a linear recurrence with one product
each step, whose transpose, the pass backwards in time, JAX derives; weights and inputs enter it
for all steps in one matrix product per gate. The rules are written in differentiable operations,
so derivatives exist in both modes and to any order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from tsjax_core.models.recurrent_scans import split_gates
from tsjax_core.types import Array

_Gates: TypeAlias = tuple[Array, ...]


def rnn_kernel(x: _Gates, h: Array, w_rec: Array) -> tuple[Array, Array]:
    """Return all states and the last of an Elman cell, as `rnn_scan` does."""
    states: Array = _rnn(x, h, w_rec)
    return states, states[-1]


def gru_kernel(x: _Gates, h: Array, w_rec: Array, b_rec_n: Array) -> tuple[Array, Array]:
    """Return all states and the last of a gated recurrent unit, as `gru_scan` does."""
    states: Array = _gru(x, h, w_rec, b_rec_n)
    return states, states[-1]


def lstm_kernel(
    x: _Gates, state: tuple[Array, Array], w_rec: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Return all hidden states and the last (h, c) of an LSTM, as `lstm_scan` does."""
    hidden, last_cell = _lstm(x, *state, w_rec)
    return hidden, (hidden[-1], last_cell)


def products(x: Array, w: Array, n_gates: int) -> tuple[Array, ...]:
    """Return the products of `x` (time, batch, n) with the columns of each gate in `w`."""
    return tuple(_product(x, part) for part in split_gates(w, n_gates))


def _product(x: Array, w: Array) -> Array:
    # The gradient of `w` is a product of large arrays and ends in a transpose. XLA would merge it
    # into the product and copy what is multiplied for that, which takes 1.7 times as long.
    return lax.dot_general(x, _held_apart(w.T), (((2,), (1,)), ((), ())))


def _sigmoid(x: Array) -> Array:
    # A tenth of the time of a whole pass less than the exponential and the division.
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _held_apart(x: Array) -> Array:
    """Return `x`, which the compiler does not merge with what uses it."""
    barrier: Any = lax.optimization_barrier
    held: Array = barrier(x)
    return held


def _before(first: Array, states: Array) -> Array:
    """Return the states that each step began from."""
    return jnp.concatenate([first[None], states[:-1]])


@jax.custom_jvp
def _rnn(x: _Gates, h: Array, w_rec: Array) -> Array:
    def step(h: Array, x: Array) -> tuple[Array, Array]:
        h = jnp.tanh(x + h @ w_rec)
        return h, h

    return lax.scan(step, h, x[0])[1]


@_rnn.defjvp
def _rnn_jvp(primals: tuple[_Gates, Array, Array], tangents: tuple[_Gates, Array, Array]) -> Any:
    (x, h, w_rec), (dx, dh, dw_rec) = primals, tangents
    states = _rnn(x, h, w_rec)
    # Held apart, because it would be computed anew wherever it is used.
    slope = _held_apart(1.0 - states * states)
    forced = slope * (dx[0] + _product(_before(h, states), dw_rec))

    def step(dh: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        forced, slope = at
        dh = forced + slope * (dh @ w_rec)
        return dh, dh

    return states, lax.scan(step, dh, (forced, slope))[1]


def _gru_gates(
    x: _Gates, h: Array, w_rec: Array, b_rec_n: Array
) -> tuple[Array, Array, Array, Array]:
    """Return r, z, h W_n + b and n of one step."""
    h_r, h_z, h_n = split_gates(h @ w_rec, 3)
    r, z, q = _sigmoid(x[0] + h_r), _sigmoid(x[1] + h_z), h_n + b_rec_n
    return r, z, q, jnp.tanh(x[2] + r * q)


@jax.custom_jvp
def _gru(x: _Gates, h: Array, w_rec: Array, b_rec_n: Array) -> Array:
    def step(h: Array, x: _Gates) -> tuple[Array, Array]:
        _, z, _, n = _gru_gates(x, h, w_rec, b_rec_n)
        h = n + z * (h - n)
        return h, h

    return lax.scan(step, h, x)[1]


def _gru_with_slopes(x: _Gates, h: Array, w_rec: Array, b_rec_n: Array) -> tuple[Array, ...]:
    """Return all states and the slopes c_r, c_z, c_n, c_q and z.

    With a = x + h W: dh' = c_r da_r + c_z da_z + c_n dx_n + c_q d(h W_n + b) + z dh.
    """

    def step(h: Array, x: _Gates) -> tuple[Array, tuple[Array, ...]]:
        r, z, q, n = _gru_gates(x, h, w_rec, b_rec_n)
        c_n, c_z = (1.0 - z) * (1.0 - n * n), (h - n) * z * (1.0 - z)
        c_q, c_r = c_n * r, c_n * q * r * (1.0 - r)
        h = n + z * (h - n)
        return h, (h, c_r, c_z, c_n, c_q, z)

    results: tuple[Array, ...] = lax.scan(step, h, x)[1]
    return results


@_gru.defjvp
def _gru_jvp(
    primals: tuple[_Gates, Array, Array, Array], tangents: tuple[_Gates, Array, Array, Array]
) -> Any:
    (x, h, w_rec, b_rec_n), (dx, dh, dw_rec, db_rec_n) = primals, tangents
    states, c_r, c_z, c_n, c_q, z = _gru_with_slopes(x, h, w_rec, b_rec_n)
    w_r, w_z, w_n = products(_before(h, states), dw_rec, 3)
    forced = c_r * (dx[0] + w_r) + c_z * (dx[1] + w_z) + c_n * dx[2] + c_q * (w_n + db_rec_n)

    def step(dh: Array, at: _Gates) -> tuple[Array, Array]:
        forced, c_r, c_z, c_q, z = at
        d_r, d_z, d_n = split_gates(dh @ w_rec, 3)
        dh = forced + z * dh + c_r * d_r + c_z * d_z + c_q * d_n
        return dh, dh

    return states, lax.scan(step, dh, (forced, c_r, c_z, c_q, z))[1]


def _lstm_gates(x: _Gates, h: Array, w_rec: Array) -> tuple[Array, Array, Array, Array]:
    """Return i, f, g and o of one step."""
    h_i, h_f, h_g, h_o = split_gates(h @ w_rec, 4)
    i, f, o = _sigmoid(x[0] + h_i), _sigmoid(x[1] + h_f), _sigmoid(x[3] + h_o)
    return i, f, jnp.tanh(x[2] + h_g), o


@jax.custom_jvp
def _lstm(x: _Gates, h: Array, c: Array, w_rec: Array) -> tuple[Array, Array]:
    """Return all hidden states and the last cell."""

    def step(state: tuple[Array, Array], x: _Gates) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        i, f, g, o = _lstm_gates(x, h, w_rec)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), h

    (_, cell), hidden = lax.scan(step, (h, c), x)
    return hidden, cell


def _lstm_with_slopes(
    x: _Gates, h: Array, c: Array, w_rec: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Return the last cell, and all hidden states with the slopes k_i, k_f, k_g, k_o, k_c and f.

    With a = x + h W: dc' = k_i da_i + k_f da_f + k_g da_g + f dc, and dh' = k_o da_o + k_c dc'.
    """

    def step(
        state: tuple[Array, Array], x: _Gates
    ) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        h, c = state
        i, f, g, o = _lstm_gates(x, h, w_rec)
        k_i, k_f, k_g = g * i * (1.0 - i), c * f * (1.0 - f), i * (1.0 - g * g)
        c = f * c + i * g
        s = jnp.tanh(c)
        k_o, k_c = s * o * (1.0 - o), o * (1.0 - s * s)
        h = o * s
        return (h, c), (h, k_i, k_f, k_g, k_o, k_c, f)

    (_, cell), results = lax.scan(step, (h, c), x)
    return cell, results


@_lstm.defjvp
def _lstm_jvp(
    primals: tuple[_Gates, Array, Array, Array], tangents: tuple[_Gates, Array, Array, Array]
) -> Any:
    (x, h, c, w_rec), (dx, dh, dc, dw_rec) = primals, tangents
    cell, (hidden, k_i, k_f, k_g, k_o, k_c, f) = _lstm_with_slopes(x, h, c, w_rec)
    w_i, w_f, w_g, w_o = products(_before(h, hidden), dw_rec, 4)
    forced_c = k_i * (dx[0] + w_i) + k_f * (dx[1] + w_f) + k_g * (dx[2] + w_g)
    forced_h = k_o * (dx[3] + w_o)

    def step(
        state: tuple[Array, Array], at: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], Array]:
        dh, dc = state
        forced_h, forced_c, k_i, k_f, k_g, k_o, k_c, f = at
        d_i, d_f, d_g, d_o = split_gates(dh @ w_rec, 4)
        dc = forced_c + f * dc + k_i * d_i + k_f * d_f + k_g * d_g
        dh = forced_h + k_o * d_o + k_c * dc
        return (dh, dc), dh

    at = (forced_h, forced_c, k_i, k_f, k_g, k_o, k_c, f)
    (_, d_cell), d_hidden = lax.scan(step, (dh, dc), at)
    return (hidden, cell), (d_hidden, d_cell)
