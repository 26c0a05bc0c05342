"""One recurrent layer over time, with derivatives that are as fast as the layer itself.

The functions are those of `recurrent_scans`, whose equations, arguments and results they share.
Left alone, JAX stores every intermediate value of every step and differentiates step by step.
Here only the states are kept. From them the gates of all steps are formed again in one matrix
product per gate, and so are the factors by which a change of one step reaches the next. What
remains to be done step by step is a linear recurrence with one product each, whose transpose,
the pass backwards in time, JAX derives. The rules are written in differentiable operations, so
derivatives exist in both modes and to any order.
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


def _sigmoid(x: Array) -> Array:
    # A tenth of the time of a whole pass less than the exponential and the division.
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _held_apart(*factors: Array) -> Any:
    # Without the barrier the factors would be computed anew wherever they are used.
    barrier: Any = lax.optimization_barrier
    return barrier(factors)


def _before(first: Array, states: Array) -> Array:
    """Return the states that each step began from."""
    return jnp.concatenate([first[None], states[:-1]])


def _products(h: Array, w: Array, n_gates: int) -> _Gates:
    """Return the product of `h` (time, batch, hidden) with the columns of each gate."""
    return tuple(h @ part for part in split_gates(w, n_gates))


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
    (slope,) = _held_apart(1.0 - states * states)
    forced = slope * (dx[0] + _before(h, states) @ dw_rec)

    def step(dh: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        forced, slope = at
        dh = forced + slope * (dh @ w_rec)
        return dh, dh

    return states, lax.scan(step, dh, (forced, slope))[1]


@jax.custom_jvp
def _gru(x: _Gates, h: Array, w_rec: Array, b_rec_n: Array) -> Array:
    def step(h: Array, x: _Gates) -> tuple[Array, Array]:
        h_r, h_z, h_n = split_gates(h @ w_rec, 3)
        r, z = _sigmoid(x[0] + h_r), _sigmoid(x[1] + h_z)
        n = jnp.tanh(x[2] + r * (h_n + b_rec_n))
        h = n + z * (h - n)
        return h, h

    return lax.scan(step, h, x)[1]


@_gru.defjvp
def _gru_jvp(
    primals: tuple[_Gates, Array, Array, Array], tangents: tuple[_Gates, Array, Array, Array]
) -> Any:
    (x, h, w_rec, b_rec_n), (dx, dh, dw_rec, db_rec_n) = primals, tangents
    states = _gru(x, h, w_rec, b_rec_n)
    before = _before(h, states)
    h_r, h_z, h_n = _products(before, w_rec, 3)
    r, z, q = _sigmoid(x[0] + h_r), _sigmoid(x[1] + h_z), h_n + b_rec_n
    n = jnp.tanh(x[2] + r * q)
    # dh' = z dh + c_r d(x_r + h W_r) + c_z d(x_z + h W_z) + c_n dx_n + c_q d(h W_n + b).
    c_n, c_z = (1.0 - z) * (1.0 - n * n), (before - n) * z * (1.0 - z)
    c_q, c_r = c_n * r, c_n * q * r * (1.0 - r)
    c_r, c_z, c_q, c_n, z = _held_apart(c_r, c_z, c_q, c_n, z)
    w_r, w_z, w_n = _products(before, dw_rec, 3)
    forced = c_r * (dx[0] + w_r) + c_z * (dx[1] + w_z) + c_n * dx[2] + c_q * (w_n + db_rec_n)

    def step(dh: Array, at: _Gates) -> tuple[Array, Array]:
        forced, c_r, c_z, c_q, z = at
        d_r, d_z, d_n = split_gates(dh @ w_rec, 3)
        dh = forced + z * dh + c_r * d_r + c_z * d_z + c_q * d_n
        return dh, dh

    return states, lax.scan(step, dh, (forced, c_r, c_z, c_q, z))[1]


def _lstm_step(w_rec: Array, state: tuple[Array, Array], x: _Gates) -> tuple[Array, Array]:
    h, c = state
    h_i, h_f, h_g, h_o = split_gates(h @ w_rec, 4)
    i, f, o = _sigmoid(x[0] + h_i), _sigmoid(x[1] + h_f), _sigmoid(x[3] + h_o)
    c = f * c + i * jnp.tanh(x[2] + h_g)
    return o * jnp.tanh(c), c


@jax.custom_jvp
def _lstm(x: _Gates, h: Array, c: Array, w_rec: Array) -> tuple[Array, Array]:
    """Return all hidden states and the last cell, without keeping the cells between."""

    def step(state: tuple[Array, Array], x: _Gates) -> tuple[tuple[Array, Array], Array]:
        state = _lstm_step(w_rec, state, x)
        return state, state[0]

    (_, cell), hidden = lax.scan(step, (h, c), x)
    return hidden, cell


@_lstm.defjvp
def _lstm_jvp(primals: Any, tangents: Any) -> Any:
    (hidden, cells), (d_hidden, d_cells) = jax.jvp(_lstm_states, primals, tangents)
    return (hidden, cells[-1]), (d_hidden, d_cells[-1])


@jax.custom_jvp
def _lstm_states(x: _Gates, h: Array, c: Array, w_rec: Array) -> tuple[Array, Array]:
    """Return all hidden states and all cells."""

    def step(state: tuple[Array, Array], x: _Gates) -> tuple[tuple[Array, Array], Any]:
        state = _lstm_step(w_rec, state, x)
        return state, state

    states: tuple[Array, Array] = lax.scan(step, (h, c), x)[1]
    return states


@_lstm_states.defjvp
def _lstm_states_jvp(
    primals: tuple[_Gates, Array, Array, Array], tangents: tuple[_Gates, Array, Array, Array]
) -> Any:
    (x, h, c, w_rec), (dx, dh, dc, dw_rec) = primals, tangents
    hidden, cells = _lstm_states(x, h, c, w_rec)
    before = _before(h, hidden)
    h_i, h_f, h_g, h_o = _products(before, w_rec, 4)
    i, f, o = _sigmoid(x[0] + h_i), _sigmoid(x[1] + h_f), _sigmoid(x[3] + h_o)
    g, s = jnp.tanh(x[2] + h_g), jnp.tanh(cells)
    # dc' = f dc + k_i da_i + k_f da_f + k_g da_g and dh' = k_o da_o + k_c dc', with a = x + h W.
    k_i, k_f, k_g = g * i * (1.0 - i), _before(c, cells) * f * (1.0 - f), i * (1.0 - g * g)
    k_o, k_c = s * o * (1.0 - o), o * (1.0 - s * s)
    k_i, k_f, k_g, k_o, k_c, f = _held_apart(k_i, k_f, k_g, k_o, k_c, f)
    w_i, w_f, w_g, w_o = _products(before, dw_rec, 4)
    forced_c = k_i * (dx[0] + w_i) + k_f * (dx[1] + w_f) + k_g * (dx[2] + w_g)
    forced_h = k_o * (dx[3] + w_o)

    def step(
        state: tuple[Array, Array], at: _Gates
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        dh, dc = state
        forced_h, forced_c, k_i, k_f, k_g, k_o, k_c, f = at
        d_i, d_f, d_g, d_o = split_gates(dh @ w_rec, 4)
        dc = forced_c + f * dc + k_i * d_i + k_f * d_f + k_g * d_g
        dh = forced_h + k_o * d_o + k_c * dc
        return (dh, dc), (dh, dc)

    at = (forced_h, forced_c, k_i, k_f, k_g, k_o, k_c, f)
    return (hidden, cells), lax.scan(step, (dh, dc), at)[1]
