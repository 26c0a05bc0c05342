"""The squared simulation error of whole records, and its normal equations."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from threadpoolctl import ThreadpoolController

from tsjax_core.inference.chunks import padded_length
from tsjax_core.training.polish.further_terms import FurtherTerms
from tsjax_core.training.polish.normal_equations import (
    ChunkGram,
    JoinedChunks,
    NormalEquations,
)
from tsjax_core.training.polish.simulation import (
    BEGINS_AT_ZERO,
    BEGINS_RECORD,
    CONTINUES,
    differentiate_start,
    flatten_parameters,
    linearize_chunks,
    simulate_candidates,
)
from tsjax_core.training.records import TrainingRecord
from tsjax_core.types import HostArray

_STRETCH = 5
"""Chunks in a row that are simulated by themselves: one as a run-up, and those that count."""

_JACOBIAN_BYTES = 1 << 26
"""Memory for the Jacobian of one group of chunks."""

_MOST_CHUNKS = 32
"""Chunks in a group. More of them do not make a step faster."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Several candidates: the sums of squares (K,), and what linearizing one of them needs.

    `states` and `residuals` are of each batch of records: (K, chunks, records, S) and
    (K, chunks, records, length, n_y).
    """

    costs: HostArray
    states: tuple[Any, ...]
    residuals: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Records with as many chunks each: arrays (chunks, records, length, n) and (records, n)."""

    u: Any
    target: Any
    weight: Any
    scalars: tuple[Any, ...]
    index: HostArray


class _Group(NamedTuple):
    """Chunks that were linearized together, where each begins, and its record, (C,)."""

    gram: ChunkGram
    begins: HostArray
    records: HostArray


class SimulationProblem:
    """Least squares of the outputs that a model simulates for whole records.

    Residuals are in standard deviations of each output, times the square root of its weight.

    Args:
        model: A `StatefulModel`, with the parameters to begin from.
        records: The training records. Targets that are NaN do not count.
        y_std: Standard deviation of each output, (n_y,).
        channel_weights: Weight of each output, (n_y,).
        is_trained: Which variables are trained, as a filter of flax.
        dtype: Precision of simulations and derivatives.
        chunk: Samples in a chunk of a record, at most.
        terms: Terms of the loss beside the simulation error; each counts as its mean over all
            samples of the records times its weight.
    """

    def __init__(
        self,
        model: nnx.Module,
        records: Iterable[TrainingRecord],
        y_std: HostArray,
        channel_weights: HostArray,
        is_trained: Callable[..., bool],
        dtype: Any = np.float64,
        chunk: int = 128,
        terms: FurtherTerms | None = None,
    ) -> None:
        self.dtype = dtype
        self._like = [(x.dtype, x.shape) for x in jax.tree.leaves(nnx.state(model, is_trained))]
        self._is_trained = is_trained
        with self.precision():
            self.structure, self.variables, theta = flatten_parameters(model, is_trained, dtype)
            self.n_states = jax.eval_shape(
                self.structure.start, jnp.asarray(theta), self.variables
            ).size
        self.theta = np.asarray(theta, np.float64)
        """Parameters that the model has, (P,)."""
        self.n_params = self.theta.size
        scale = np.sqrt(channel_weights) / np.where(y_std > 0.0, y_std, 1.0)
        given = list(records)
        self.chunk = chunk
        self.n_records = len(given)
        self.count = 0.0
        """Sum of the weights of all residuals."""
        self._batches = tuple(self._arrange(given, scale, channel_weights))
        if terms is not None:
            n_chunks = sum(batch.target.shape[0] * batch.target.shape[1] for batch in self._batches)
            terms = replace(terms, scale=self.count / n_chunks)
            self.structure = replace(self.structure, terms=terms)

    @property
    def weights(self) -> tuple[Any, ...]:
        """The factor of each residual, 0 where none counts, of each batch of records."""
        return tuple(batch.weight for batch in self._batches)

    def precision(self) -> Any:
        """Return the context in which programs of this precision are made and called."""
        return jax.enable_x64(self.dtype == np.float64)

    def _arrange(
        self, records: Sequence[TrainingRecord], scale: HostArray, channel_weights: HostArray
    ) -> Iterable[_Batch]:
        self.longest = max(len(each.target) for each in records)
        self.chunk = min(self.chunk, padded_length(self.longest))
        by_count: dict[int, list[int]] = {}
        for number, each in enumerate(records):
            by_count.setdefault(-(-len(each.target) // self.chunk), []).append(number)
        for count, numbers in by_count.items():
            columns: list[list[HostArray]] = [[], [], []]
            scalars = []
            for number in numbers:
                each = records[number]
                measured = np.isfinite(each.target) & each.counts[:, None]
                self.count += float((measured * channel_weights).sum())
                sequence = next(x for x in each.inputs if x.ndim == 2)
                rest = ((0, count * self.chunk - len(sequence)), (0, 0))
                parts = (
                    np.pad(sequence, rest, "edge"),
                    np.pad(np.where(measured, each.target, 0.0), rest),
                    np.pad(measured * scale, rest),
                )
                for column, part in zip(columns, parts, strict=True):
                    column.append(part.reshape(count, self.chunk, -1))
                scalars.append([x for x in each.inputs if x.ndim == 1])
            with self.precision():
                u, target, weight = (
                    jnp.asarray(np.stack(column, axis=1), self.dtype) for column in columns
                )
                joined = tuple(
                    jnp.asarray(np.stack(values), self.dtype)
                    for values in zip(*scalars, strict=True)
                )
            yield _Batch(u, target, weight, joined, np.asarray(numbers))

    def evaluate(self, thetas: HostArray, starts: HostArray) -> Evaluated:
        """Simulate all records for candidates `thetas` (K, P) and `starts` (K, R, S)."""
        costs: HostArray = np.zeros(len(thetas))
        states, residuals = [], []
        with self.precision():
            device_thetas = jnp.asarray(thetas, self.dtype)
            for batch in self._batches:
                cost, before, error = simulate_candidates(
                    self.structure,
                    device_thetas,
                    self.variables,
                    jnp.asarray(starts[:, batch.index], self.dtype),
                    (batch.u, batch.target, batch.weight, batch.scalars),
                )
                costs += np.asarray(cost, np.float64)
                states.append(before)
                residuals.append(error)
        return Evaluated(
            np.where(np.isfinite(costs), costs, np.inf), tuple(states), tuple(residuals)
        )

    def linearize(
        self,
        theta: HostArray,
        evaluated: Evaluated,
        chosen: int,
        *,
        share: float = 1.0,
        seed: int = 0,
    ) -> NormalEquations:
        """Return the normal equations at `theta`, which is candidate `chosen` of `evaluated`.

        With a `share` below 1, they are those of so much of the records, drawn by `seed` as
        stretches; sensitivities begin at zero before each, and its first chunk does not count.
        """
        rng = np.random.default_rng(seed)
        joined = JoinedChunks(self.n_params, self.n_states, self.n_records)
        # Chunks are linearized side by side, by a thread and one BLAS thread for each core.
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        with (
            self.precision(),
            ThreadpoolController().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(workers) as pool,
        ):
            device_theta = jnp.asarray(theta, self.dtype)
            own = differentiate_start(self.structure, device_theta, self.variables)
            for number, batch in enumerate(self._batches):
                states = evaluated.states[number][chosen]
                residuals = evaluated.residuals[number][chosen]
                n_chunks, n_records = batch.target.shape[:2]
                order = self._draw(rng, n_chunks, n_records, share)
                linearized = self._linearize_groups(
                    device_theta, batch, states, residuals, order, pool, workers + 1
                )
                for each in linearized:
                    joined.add(each.gram, np.asarray(own, np.float64), each.begins, each.records)
        return joined.sums

    def _draw(
        self, rng: np.random.Generator, n_chunks: int, n_records: int, share: float
    ) -> tuple[HostArray, HostArray]:
        """Return the chunks to linearize, as places in record after record, and where each begins.

        Chunks of a stretch follow each other, so that their sensitivities are joined.
        """
        total = n_chunks * n_records
        places = np.arange(total)
        begins = np.where(places % n_chunks == 0, BEGINS_RECORD, CONTINUES)
        stretches = -(-total // _STRETCH)
        wanted = max(1, round(share * stretches))
        if wanted >= stretches:
            return places, begins
        at = np.sort(rng.choice(stretches, wanted, replace=False)) * _STRETCH
        # Stretches begin at other chunks in every draw, so that no sample is left out for good.
        at = at + rng.integers(_STRETCH)
        chosen = (at[:, None] + np.arange(_STRETCH)) % total
        begins = begins[chosen]
        begins[:, 0] = np.where(begins[:, 0] == CONTINUES, BEGINS_AT_ZERO, begins[:, 0])
        return chosen.reshape(-1), begins.reshape(-1)

    def _linearize_groups(
        self,
        theta: Any,
        batch: _Batch,
        states: Any,
        residuals: Any,
        order: tuple[HostArray, HostArray],
        pool: ThreadPoolExecutor,
        ahead: int,
    ) -> Iterator[_Group]:
        """Yield groups of chunks in their order, while so many groups `ahead` are computed."""
        n_chunks, n_records, length, n_y = batch.target.shape
        total = n_chunks * n_records
        entries = (length * n_y + 2 * self.n_states) * (self.n_params + self.n_states)
        group = max(1, _JACOBIAN_BYTES // (entries * np.dtype(self.dtype).itemsize))
        group = min(group, _MOST_CHUNKS, total)

        def in_order(x: Any) -> Any:
            # Record after record, so that sensitivities go on from chunk to chunk.
            return np.swapaxes(np.asarray(x), 0, 1).reshape(total, *x.shape[2:])

        columns = [in_order(x) for x in (states, batch.u, residuals, batch.weight)]
        scalars = tuple(np.repeat(np.asarray(x), n_chunks, axis=0) for x in batch.scalars)
        places, begins = order
        index = np.repeat(batch.index, n_chunks)

        def linearize(begin: int) -> _Group:
            numbers = np.arange(begin, begin + group)
            rows = places[np.minimum(numbers, len(places) - 1)]
            kinds = begins[np.minimum(numbers, len(places) - 1)]
            # What fills the last group up has no weight, and neither has the run-up of a stretch.
            counts = (numbers < len(places)) & (kinds != BEGINS_AT_ZERO)
            state, u, residual, weight = (x[rows] for x in columns)
            weight, residual = (x * counts[:, None, None] for x in (weight, residual))
            with self.precision():
                found = linearize_chunks(
                    self.structure,
                    theta,
                    self.variables,
                    (state, u, residual, weight, tuple(x[rows] for x in scalars)),
                    counts.astype(self.dtype),
                )
                jacobian, error, further, value, *rest = (np.asarray(x) for x in found)
            # NumPy computes one triangle of a product of a matrix with its own transpose.
            square, gradient = 0.0, 0.0
            for rows_of, right in ((jacobian, error), (further, value)):
                flat = rows_of.reshape(-1, self.n_params)
                square, gradient = square + flat.T @ flat, gradient + flat.T @ right.reshape(-1)
            gram = ChunkGram(np.asarray(square), np.asarray(gradient), *rest)
            return _Group(gram, kinds, index[rows])

        waiting: deque[Future[_Group]] = deque()
        for begin in range(0, len(places), group):
            waiting.append(pool.submit(linearize, begin))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def stretches(self, evaluated: Evaluated, chosen: int) -> list[Any]:
        """Return stretches of the records from their states in candidate `chosen`.

        The first chunk of each is a run-up without weight: (state, u, residual, weight, scalars,
        number of chunks that count) with the stretches as the first axis, one for each batch.
        """
        with self.precision():
            return [
                self._stretch(batch, evaluated.states[k][chosen], evaluated.residuals[k][chosen])
                for k, batch in enumerate(self._batches)
            ]

    def _stretch(self, batch: _Batch, states: Any, residuals: Any) -> Any:
        n_chunks = batch.target.shape[0]
        length = min(_STRETCH, n_chunks)
        # The first stretch of a record has no run-up and needs none; the last may overlap others.
        firsts = [0, *range(length - 1, n_chunks - 1, length - 1)] if n_chunks > length else [0]
        begins = np.minimum(firsts, n_chunks - length)
        counts = np.zeros((len(firsts), length), bool)
        seen = 0
        for row, begin in enumerate(begins):
            counts[row] = begin + np.arange(length) >= max(seen, begin + (row > 0))
            seen = begin + length
        chunks = begins[:, None] + np.arange(length)

        def join(x: Any) -> Any:
            # (stretch, chunk, record, time, n) to (record and stretch, time, n).
            whole = jnp.moveaxis(x[chunks], 2, 0)
            return whole.reshape(-1, length * x.shape[2], x.shape[3])

        real = jnp.asarray(counts[:, :, None, None, None], self.dtype)
        masked = (
            jnp.moveaxis(x[chunks] * real, 2, 0).reshape(-1, length * x.shape[2], x.shape[3])
            for x in (residuals, batch.weight)
        )
        state = jnp.moveaxis(states[begins], 1, 0).reshape(-1, states.shape[-1])
        scalars = tuple(jnp.repeat(x, len(begins), axis=0) for x in batch.scalars)
        number = jnp.tile(jnp.asarray(counts.sum(1), self.dtype), batch.target.shape[1])
        return (state, join(batch.u), *masked, scalars, number)

    def parameters_of(self, model: nnx.Module) -> HostArray:
        """Return the trained parameters (P,) of another model of the same structure."""
        with self.precision():
            theta = flatten_parameters(model, self._is_trained, self.dtype)[2]
        return np.asarray(theta, np.float64)

    def update(self, model: nnx.Module, theta: HostArray) -> None:
        """Give `model` the parameters `theta` (P,), in its own precision."""
        state = nnx.state(model, self._is_trained)
        leaves, structure = jax.tree.flatten(state)
        parts, begin = [], 0
        for dtype, shape in self._like:
            size = int(np.prod(shape, dtype=np.int64))
            parts.append(jnp.asarray(theta[begin : begin + size].reshape(shape), dtype))
            begin += size
        assert len(parts) == len(leaves)
        nnx.update(model, jax.tree.unflatten(structure, parts))
