"""Linear state-space models of measured records by subspace identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tsjax_core.errors import DataError
from tsjax_core.types import HostArray

Records: TypeAlias = Sequence[tuple[HostArray, HostArray]]
"""Pairs of inputs (time, n_u) and outputs (time, n_y), one of each record."""

_BLOCK = 64
"""Samples that a simulation takes in one step, by products of matrices."""

_COLUMNS = 1 << 12
"""Columns of the data matrices that are joined to the triangular factor at once."""


@dataclass(frozen=True, eq=False)
class StateSpaceMatrices:
    """x+ = a x + b u, y = c x + d u + offset.

    `a` is (n, n), `b` (n, n_u), `c` (n_y, n), `d` (n_y, n_u) and `offset` (n_y,).
    """

    a: HostArray
    b: HostArray
    c: HostArray
    d: HostArray
    offset: HostArray

    @property
    def order(self) -> int:
        """Number of states."""
        return len(self.a)

    def simulate(self, u: HostArray, x0: HostArray | None = None) -> HostArray:
        """Return the outputs (time, n_y) for `u` (time, n_u) from the state `x0` (n,), or zero."""
        states = self.simulate_states(u, x0)
        return np.asarray(states @ self.c.T + u @ self.d.T + self.offset)

    def simulate_states(self, u: HostArray, x0: HostArray | None = None) -> HostArray:
        """Return the state before each sample, (time, n)."""
        driven = u @ self.b.T
        x = np.zeros(self.order) if x0 is None else np.asarray(x0, float)
        powers = _powers(self.a, _BLOCK + 1)
        blocks = _cut_blocks(driven)
        inside = np.einsum("kmxz,bmz->bkx", _convolution(powers), blocks, optimize=True)
        ends = np.einsum("mxz,bmz->bx", powers[_BLOCK - 1 :: -1], blocks, optimize=True)
        starts = np.empty((len(blocks), self.order))
        for number, end in enumerate(ends):
            starts[number] = x
            x = powers[_BLOCK] @ x + end
        states = inside + np.einsum("kxz,bz->bkx", powers[:_BLOCK], starts, optimize=True)
        return np.asarray(states.reshape(-1, self.order)[: len(u)])


def identify_state_space(
    records: Records,
    orders: Sequence[int],
    *,
    horizon: int | None = None,
    direct: bool = True,
) -> dict[int, StateSpaceMatrices]:
    """Return the models of `orders` for records in normalised units, stable ones.

    The past-outputs variant of multivariable output-error state-space identification (PO-MOESP;
    Verhaegen and Verdult, Filtering and System Identification, 2007, chapter 9) gives a and c from
    the singular vectors of the future outputs that inputs and outputs of the past explain; b, d,
    the offset and the state at the beginning of each record follow by least squares from the
    simulated outputs. Poles outside of the unit circle are reflected into it.

    Samples that are NaN were not measured: no equation uses them. `horizon` is the number of
    samples in past and future, 2 n + 4 of the largest order if not given. Without `direct`, d = 0.

    Raises:
        DataError: No record has enough samples in a row for the horizon.
    """
    largest = max(orders)
    horizon = horizon or max(2 * largest + 4, 10)
    n_u, n_y = records[0][0].shape[1], records[0][1].shape[1]
    factor = _triangular_factor(records, horizon)
    known, past = 1 + horizon * n_u, horizon * (n_u + n_y)
    between = slice(known, known + past)
    left, singular, _ = np.linalg.svd(factor[known + past :, between], full_matrices=False)
    models = {}
    for order in orders:
        usable = min(order, len(singular))
        observability = left[:, :usable] * np.sqrt(singular[:usable])
        a = np.linalg.lstsq(observability[:-n_y], observability[n_y:], rcond=None)[0]
        c = observability[:n_y]
        models[order] = fit_inputs(records, reflect_poles(a), c, direct=direct)
    return models


def _triangular_factor(records: Records, horizon: int) -> HostArray:
    """Return L of [1; future u; past u; past y; future y] = L Q, of all records together."""
    factor: HostArray | None = None
    longest = 0
    for u, y in records:
        count = len(u) - 2 * horizon + 1
        longest = max(longest, len(u))
        if count < 1:
            continue
        measured = np.isfinite(y).all(1) & np.isfinite(u).all(1)
        gaps = np.concatenate([[0], np.cumsum(~measured)])
        whole = np.flatnonzero(gaps[2 * horizon :] == gaps[:count])
        for begin in range(0, len(whole), _COLUMNS):
            at = whole[begin : begin + _COLUMNS]
            past, future = at[:, None] + np.arange(horizon), at[:, None] + horizon
            future = future + np.arange(horizon)
            # A constant among the known inputs takes up the offset.
            parts = (np.ones((len(at), 1)), u[future], u[past], y[past], y[future])
            rows = np.concatenate([part.reshape(len(at), -1) for part in parts], axis=1)
            rows = rows if factor is None else np.concatenate([factor.T, rows])
            factor = np.asarray(np.linalg.qr(rows, mode="r")).T
    n_u, n_y = records[0][0].shape[1], records[0][1].shape[1]
    needed = 1 + horizon * 2 * (n_u + n_y)
    if factor is None or factor.shape[1] < needed:
        found = 0 if factor is None else factor.shape[1]
        raise DataError(
            f"subspace identification with a horizon of {horizon} samples needs {needed} stretches "
            f"of {2 * horizon} samples in a row without gaps, and the training records have "
            f"{found}; the longest has {longest} samples. Give a lower order, or more data."
        )
    return factor


def reflect_poles(a: HostArray) -> HostArray:
    """Return `a` with its eigenvalues outside of the unit circle mirrored at it."""
    values, vectors = np.linalg.eig(a)
    size = np.abs(values)
    if (size < 1.0).all():
        return a
    # A pole on the circle is moved a little inside.
    inside = np.where(size < 1.0, values, values / size * np.minimum(1.0 / size, 0.999))
    return np.asarray((vectors @ np.diag(inside) @ np.linalg.inv(vectors)).real)


def fit_inputs(
    records: Records, a: HostArray, c: HostArray, *, direct: bool = True
) -> StateSpaceMatrices:
    """Return the model with `a` and `c`, and b, d and offset of least squared simulation error.

    The initial state of each record is estimated along.
    """
    n, n_y, n_u = len(a), len(c), records[0][0].shape[1]
    factor: HostArray | None = None
    powers = _powers(a, _BLOCK + 1)
    for u, y in records:
        # Rows (time, n_y), columns b, d, offset, and the output behind them.
        columns = [_responses(a, c, np.nan_to_num(u), powers).reshape(len(u), n_y, -1)]
        if direct:
            columns.append(np.einsum("ij,tk->tijk", np.eye(n_y), u).reshape(len(u), n_y, -1))
        columns += [np.broadcast_to(np.eye(n_y), (len(u), n_y, n_y)), y[..., None]]
        rows = np.concatenate(columns, axis=2)
        free = _free_responses(a, c, len(u))
        measured = np.isfinite(rows).all(2).reshape(-1)
        rows = rows.reshape(len(u) * n_y, -1)[measured]
        start = np.linalg.qr(free.reshape(len(u) * n_y, n)[measured])[0]
        rows = rows - start @ (start.T @ rows)
        rows = rows if factor is None else np.concatenate([factor, rows])
        factor = np.asarray(np.linalg.qr(rows, mode="r"))
    assert factor is not None
    theta = np.linalg.lstsq(factor[:, :-1], factor[:, -1], rcond=1e-10)[0]
    b, rest = theta[: n * n_u].reshape(n, n_u), theta[n * n_u :]
    d = rest[: n_y * n_u].reshape(n_y, n_u) if direct else np.zeros((n_y, n_u))
    return StateSpaceMatrices(a, b, c, d, rest[-n_y:])


def estimate_start(model: StateSpaceMatrices, u: HostArray, y: HostArray) -> HostArray:
    """Return the initial state (n,) from which `model` simulates a record best."""
    free = _free_responses(model.a, model.c, len(u)).reshape(-1, model.order)
    missing = (y - model.simulate(u)).reshape(-1)
    measured = np.isfinite(missing)
    return np.asarray(np.linalg.lstsq(free[measured], missing[measured], rcond=1e-10)[0])


def _free_responses(a: HostArray, c: HostArray, time: int) -> HostArray:
    """Return c a^t, (time, n_y, n)."""
    blocks = -(-time // _BLOCK)
    inside = np.einsum("yx,kxz->kyz", c, _powers(a, _BLOCK))
    step, starts = _powers(a, _BLOCK + 1)[_BLOCK], np.empty((blocks, *a.shape))
    starts[0] = np.eye(len(a))
    for number in range(1, blocks):
        starts[number] = step @ starts[number - 1]
    free = np.einsum("kyx,bxz->bkyz", inside, starts, optimize=True)
    return np.asarray(free.reshape(-1, *c.shape)[:time])


def _responses(a: HostArray, c: HostArray, u: HostArray, powers: HostArray) -> HostArray:
    """Return the outputs for each entry of b alone, 1, from rest: (time, n_y, n, n_u)."""
    seen = np.einsum("yx,kxz->kyz", c, powers[:_BLOCK])
    blocks = _cut_blocks(u)
    inside = np.einsum("kmyi,bmj->bkyij", _convolution(seen), blocks, optimize=True)
    ends = np.einsum("mxi,bmj->bxij", powers[_BLOCK - 1 :: -1], blocks, optimize=True)
    starts = np.zeros_like(ends)
    for number in range(1, len(ends)):
        carried = np.einsum("xz,zij->xij", powers[_BLOCK], starts[number - 1])
        starts[number] = carried + ends[number - 1]
    found = inside + np.einsum("kyx,bxij->bkyij", seen, starts, optimize=True)
    return np.asarray(found.reshape(-1, *found.shape[2:])[: len(u)])


def _convolution(impulse: HostArray) -> HostArray:
    """Return the lower triangular blocks (k, m, ...) that hold impulse[k - 1 - m] for m < k."""
    lag = np.arange(_BLOCK)[:, None] - 1 - np.arange(_BLOCK)
    shape = (-1,) + (1,) * (impulse.ndim - 1)
    return np.asarray(impulse[np.maximum(lag, 0).reshape(-1)] * (lag.reshape(shape) >= 0)).reshape(
        _BLOCK, _BLOCK, *impulse.shape[1:]
    )


def _cut_blocks(x: HostArray) -> HostArray:
    """Return `x` (time, n) in blocks (blocks, _BLOCK, n), filled up with zeros."""
    blocks = -(-len(x) // _BLOCK)
    return np.pad(x, ((0, blocks * _BLOCK - len(x)), (0, 0))).reshape(blocks, _BLOCK, -1)


def _powers(a: HostArray, count: int) -> HostArray:
    """Return a^0 to a^(count - 1), (count, n, n)."""
    powers = np.empty((count, *a.shape))
    powers[0] = np.eye(len(a))
    for k in range(1, count):
        powers[k] = a @ powers[k - 1]
    return powers
