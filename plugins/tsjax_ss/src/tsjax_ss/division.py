"""One linear model as two in a row, between which a nonlinearity may stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tsjax_core.models.subspace import Records, StateSpaceMatrices
from tsjax_core.types import HostArray

T = TypeVar("T")

_MOST_DIVISIONS = 300
"""Divisions of a model of one channel that are compared, at most, in a few seconds."""

_SAMPLES = 1 << 13
"""Samples of each record on which divisions are compared, at most."""

_RUN_UP = 500
"""Samples at the beginning of a record that do not count, at most: its initial state is unknown."""

_CENTRES = np.array([-1.5, -0.5, 0.5, 1.5])
"""Where the functions bend that divisions are compared by, in standard deviations."""

_WORST_CONDITION = 1e6
"""Condition of a change of states up to which it is exact enough."""

_EXACT = 1e-6
"""Share of the frequency response by which two blocks may differ from the linear model."""


@dataclass(frozen=True, eq=False)
class Division:
    """Two models whose product is a linear model without its offset."""

    before: StateSpaceMatrices
    behind: StateSpaceMatrices

    def respond(self, z: HostArray) -> HostArray:
        """Return the frequency response of both in a row at `z` (n,), complex (n, n_y, n_u)."""
        return _respond(self.behind, z) @ _respond(self.before, z)

    def whiten(self, inputs: Sequence[HostArray]) -> Division:
        """Return the division whose signals between the blocks have unit covariance.

        `inputs` (time, n_u) are those of records, simulated from rest.
        """
        inner = np.concatenate([self.before.simulate(u) for u in inputs])
        sizes, axes = np.linalg.eigh(np.cov(inner.T).reshape(inner.shape[1], -1))
        # Signals that do not move stay as they are.
        spread = np.sqrt(np.where(sizes > 1e-12 * sizes.max(initial=1e-12), sizes, 1.0))
        there, back = axes / spread @ axes.T, axes * spread @ axes.T
        before, behind = self.before, self.behind
        return Division(
            replace(before, c=there @ before.c, d=there @ before.d, offset=there @ before.offset),
            replace(behind, b=behind.b @ back, d=behind.d @ back),
        )


def divide_poles(
    linear: StateSpaceMatrices, orders: tuple[int, int] | None, *, direct: bool
) -> list[Division]:
    """Return the divisions of the poles and zeros of a model of one input and one output.

    Both blocks get one pole or more, or as many as `orders` say, and no more zeros than poles; the
    block before has fewer zeros than poles if not `direct`. Conjugate poles and zeros stay
    together. Divisions that rounding keeps from being exact are left out, as with multiple poles.
    """
    poles = _pair(np.linalg.eigvals(linear.a))
    zeros, gain = _find_zeros(linear)
    found = list(_assign(poles, _pair(zeros), orders, direct=direct))
    with np.errstate(all="ignore"):
        divisions = [
            Division(
                _realize(poles_before, zeros_before, 1.0),
                _realize(poles_behind, zeros_behind, gain),
            )
            for (poles_before, zeros_before), (poles_behind, zeros_behind) in _thin_out(found, 1)
        ]
    return _keep_exact(linear, divisions)


def factor_square(linear: StateSpaceMatrices, orders: tuple[int, int] | None) -> list[Division]:
    """Return the divisions of a model of as many inputs as outputs, with a direct term.

    Each has poles and as many zeros in both blocks, one or more, or as many as `orders` say. Those
    that rounding keeps from being exact are left out. Source: Bart, Gohberg and Kaashoek, Minimal
    Factorization of Matrix and Operator Functions (1979): the block behind belongs to an invariant
    subspace of a, and the other to one of a - b inv(d) c, whose eigenvalues are the zeros.
    """
    n, m = linear.order, len(linear.c)
    try:
        inverse = np.linalg.inv(linear.d)
    except np.linalg.LinAlgError:
        return []
    poles, zeros = (
        _list_subspaces(m) for m in (linear.a, linear.a - linear.b @ inverse @ linear.c)
    )
    pairs = [
        (first, second)
        for first in poles
        for second in zeros
        if first.shape[1] + second.shape[1] == n
        and orders in {None, (second.shape[1], first.shape[1])}
    ]
    return _keep_exact(
        linear, [_factor(linear, inverse, first, second) for first, second in _thin_out(pairs, m)]
    )


def _factor(
    linear: StateSpaceMatrices, inverse: HostArray, poles: HostArray, zeros: HostArray
) -> Division | None:
    """Return the division whose block behind has the subspace `poles` as its states."""
    k, m = poles.shape[1], len(inverse)
    change = np.concatenate([poles, zeros], axis=1)
    if np.linalg.cond(change) > _WORST_CONDITION:
        return None
    back = np.linalg.inv(change)
    a, b, c = back @ linear.a @ change, back @ linear.b, linear.c @ change
    none = np.zeros(m)
    return Division(
        StateSpaceMatrices(a[k:, k:], b[k:], inverse @ c[:, k:], np.eye(m), none),
        StateSpaceMatrices(a[:k, :k], b[:k], c[:, :k], linear.d, none),
    )


def _list_subspaces(a: HostArray) -> list[HostArray]:
    """Return orthogonal bases (n, k) of the real spaces that eigenvectors of `a` (n, n) span."""
    values, vectors = np.linalg.eig(a)
    groups = [
        np.stack([vector.real, vector.imag], axis=1) if value.imag else vector.real[:, None]
        for value, vector in zip(values, vectors.T, strict=True)
        if value.imag >= 0.0
    ]
    return [
        np.linalg.qr(np.concatenate([g for k, g in enumerate(groups) if chosen >> k & 1], 1))[0]
        for chosen in range(1, 2 ** len(groups) - 1)
    ]


def _thin_out(divisions: list[T], channels: int) -> list[T]:
    """Return as many of them as are compared, at equal distances."""
    most = max(_MOST_DIVISIONS // channels**2, 20)
    if len(divisions) <= most:
        return divisions
    return [divisions[k] for k in np.linspace(0, len(divisions) - 1, most).astype(int)]


def _keep_exact(linear: StateSpaceMatrices, divisions: Sequence[Division | None]) -> list[Division]:
    """Return those whose frequency response is that of `linear`."""
    circle = np.exp(1j * np.linspace(0.0, np.pi, 64))
    expected = _respond(linear, circle)
    most = _EXACT * np.abs(expected).max()
    with np.errstate(all="ignore"):
        return [
            each
            for each in divisions
            if each is not None and np.abs(each.respond(circle) - expected).max() <= most
        ]


def pass_through(linear: StateSpaceMatrices, draws: HostArray, *, direct: bool) -> list[Division]:
    """Return the model before a pass-through, and behind one if `direct`.

    A pass-through has the poles of the model, and output weights of zero. `draws` (n, n_y) are the
    input weights of the one behind.
    """
    n, n_y, n_u = linear.order, len(linear.c), linear.b.shape[1]
    alone = replace(linear, offset=np.zeros(n_y))
    behind = StateSpaceMatrices(linear.a, draws, np.zeros((n_y, n)), np.eye(n_y), np.zeros(n_y))
    if not direct:
        return [Division(alone, behind)]
    before = StateSpaceMatrices(linear.a, linear.b, np.zeros((n_u, n)), np.eye(n_u), np.zeros(n_u))
    return [Division(alone, behind), Division(before, alone)]


def choose_division(
    divisions: Sequence[Division], linear: StateSpaceMatrices, records: Records
) -> Division:
    """Return the division between whose blocks a nonlinearity explains most of the error.

    The error that `linear` leaves on the records is compared with what small static nonlinearities
    between the blocks add to the output, after both are freed from what is linear in the inputs and
    in the states of `linear`: so far, the first order of the nonlinear model decides.
    """
    if len(divisions) == 1:
        return divisions[0]
    parts = [_Compared(linear, u[:_SAMPLES], y[:_SAMPLES]) for u, y in records]
    left = [_remaining_error(division, parts) for division in divisions]
    return divisions[int(np.argmin(left))]


class _Compared:
    """The error of a linear model on a record, and the space of what is linear in it."""

    def __init__(self, linear: StateSpaceMatrices, u: HostArray, y: HostArray) -> None:
        self.u = np.nan_to_num(u)
        self.begin = min(len(u) // 4, _RUN_UP)
        states = linear.simulate_states(self.u)
        error = y - (states @ linear.c.T + self.u @ linear.d.T + linear.offset)
        known = np.concatenate([np.ones((len(u), 1)), self.u, states], axis=1)
        self.rows = []
        self.errors = []
        self.bases = []
        for column in error.T:
            rows = self.begin + np.flatnonzero(np.isfinite(column[self.begin :]))
            basis = np.linalg.qr(known[rows])[0]
            self.rows.append(rows)
            self.bases.append(basis)
            self.errors.append(_free(basis, column[rows, None])[:, 0])


def _remaining_error(division: Division, parts: Sequence[_Compared]) -> float:
    """Return the squared error that small nonlinearities between the blocks leave."""
    columns, errors = [], []
    division = division.whiten([part.u for part in parts])
    for part in parts:
        inner = division.before.simulate(part.u)
        outputs = []
        for direction in _list_directions(inner.shape[1]):
            for centre in _CENTRES:
                bent = np.tanh(2.0 * (inner @ direction - centre))
                outputs += [
                    division.behind.simulate(bent[:, None] * channel)
                    for channel in np.eye(inner.shape[1])
                ]
        found = np.stack(outputs, axis=-1)
        for number, rows in enumerate(part.rows):
            columns.append(_free(part.bases[number], found[rows, number]))
            errors.append(part.errors[number])
    matrix, target = np.concatenate(columns), np.concatenate(errors)
    if not np.isfinite(matrix).all():
        return np.inf
    weights = np.linalg.lstsq(matrix, target, rcond=1e-10)[0]
    return float(np.square(target - matrix @ weights).sum())


def _list_directions(channels: int) -> HostArray:
    """Return the unit vectors along which nonlinearities bend, (n, channels)."""
    if channels == 1:
        return np.ones((1, 1))
    mixed = np.random.default_rng(0).standard_normal((2 * channels, channels))
    return np.concatenate([np.eye(channels), mixed / np.linalg.norm(mixed, axis=1)[:, None]])


def _free(basis: HostArray, columns: HostArray) -> HostArray:
    """Return `columns` (time, n) without what lies in the space of `basis` (time, m)."""
    return np.asarray(columns - basis @ (basis.T @ columns))


def _respond(model: StateSpaceMatrices, z: HostArray) -> HostArray:
    inverse = np.linalg.inv(z[:, None, None] * np.eye(model.order) - model.a)
    return np.asarray(model.c @ inverse @ model.b + model.d)


def _pair(values: HostArray) -> list[HostArray]:
    """Return real values and conjugate pairs, each as an array of one or two."""
    pairs = []
    for value in values:
        if value.imag == 0.0:
            pairs.append(np.array([value]))
        elif value.imag > 0.0:
            pairs.append(np.array([value, value.conj()]))
    return pairs


def _find_zeros(linear: StateSpaceMatrices) -> tuple[HostArray, float]:
    """Return zeros and gain of a model of one input and one output."""
    numerator = np.poly(linear.a - linear.b @ linear.c) + (linear.d[0, 0] - 1.0) * np.poly(linear.a)
    size = np.abs(numerator)
    first = int(np.argmax(size > 1e-12 * size.max()))
    numerator = numerator[first:]
    return np.asarray(np.roots(numerator), complex), float(numerator[0])


_Assigned = tuple[HostArray, HostArray]


def _assign(
    poles: list[HostArray],
    zeros: list[HostArray],
    orders: tuple[int, int] | None,
    *,
    direct: bool,
) -> Iterator[tuple[_Assigned, _Assigned]]:
    """Yield poles and zeros of both blocks, for each way to divide them."""
    for number in range(1, 2 ** len(poles) - 1):
        before, behind = _split(poles, number)
        if orders is not None and (len(before), len(behind)) != orders:
            continue
        for other in range(2 ** len(zeros)):
            zeros_before, zeros_behind = _split(zeros, other)
            most = len(before) if direct else len(before) - 1
            if len(zeros_before) <= most and len(zeros_behind) <= len(behind):
                yield (before, zeros_before), (behind, zeros_behind)


def _split(groups: list[HostArray], number: int) -> tuple[HostArray, HostArray]:
    """Return the groups whose bits are set in `number`, and the others."""
    parts: tuple[list[HostArray], list[HostArray]] = ([], [])
    for place, group in enumerate(groups):
        parts[0 if number >> place & 1 else 1].append(group)
    first, second = (np.concatenate([np.empty(0, complex), *part]) for part in parts)
    return first, second


def _realize(poles: HostArray, zeros: HostArray, gain: float) -> StateSpaceMatrices:
    """Return gain prod(z - zeros) / prod(z - poles) in the real modal form."""
    n = len(poles)
    a, b, c = np.zeros((n, n)), np.zeros((n, 1)), np.zeros((1, n))
    at = 0
    for group in _pair(poles):
        pole = group[0]
        residue = gain * np.prod(pole - zeros) / np.prod(pole - poles[poles != pole])
        if len(group) == 1:
            a[at, at], b[at], c[0, at] = pole.real, 1.0, residue.real
        else:
            # x+ = pole x + u in real and imaginary part, and its conjugate in the output.
            a[at : at + 2, at : at + 2] = [[pole.real, -pole.imag], [pole.imag, pole.real]]
            b[at], c[0, at : at + 2] = 1.0, [2.0 * residue.real, -2.0 * residue.imag]
        at += len(group)
    d = np.full((1, 1), gain if len(zeros) == n else 0.0)
    return StateSpaceMatrices(a, b, c, d, np.zeros(1))
