"""In which row of which batch each chunk comes, so that rows go on from batch to batch.

A round is a table (steps, rows) of chunks: down a row, sequences follow each other, each from its
first chunk to its last. Rounds follow from seed and key alone, the same on every machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsjax_core.types import HostArray
from tsjax_tbptt.sequences import Sequences


def random_numbers(n: int, seed: int, key: Sequence[int]) -> HostArray:
    """Return `n` draws in [0, 1) in steps of 2**-53: Philox 4x64-10 (Salmon et al. 2011)."""
    # NumPy keeps the raw stream of a bit generator from version to version.
    raw = np.random.Philox(np.random.SeedSequence(seed, spawn_key=tuple(key))).random_raw(n)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


@dataclass(frozen=True, eq=False)
class EveryOnce:
    """Rounds that show every sequence once.

    Rows get about equally many chunks: sequences are dealt out from the longest to the shortest,
    each to the row with the fewest chunks (Graham, 1969), with chance between equally long ones.
    In each row they then stand in random order. So all rounds have equally many steps. Rows that
    are at their end before the longest one are filled up with `blank`.
    """

    sequences: Sequences
    rows: int
    blank: int

    @cached_property
    def _row_of_rank(self) -> HostArray:
        """The row of each sequence, counted from the longest to the shortest."""
        rows = np.empty(len(self.sequences), np.int64)
        loads = [(0, row) for row in range(self.rows)]
        for rank, size in enumerate(np.sort(self.sequences.sizes)[::-1].tolist()):
            load, row = loads[0]
            rows[rank] = row
            heapq.heapreplace(loads, (load + size, row))
        return rows

    @cached_property
    def steps(self) -> int:
        """Batches in a round."""
        sizes = np.sort(self.sequences.sizes)[::-1]
        return int(np.bincount(self._row_of_rank, sizes).max())

    @property
    def round_steps(self) -> int:
        """Batches after which another round follows."""
        return self.steps

    def round(self, seed: int, key: Sequence[int], steps: int) -> HostArray:
        """Return the first `steps` batches of the round of `seed` and `key`, (steps, rows)."""
        n, sizes = len(self.sequences), self.sequences.sizes
        draws = random_numbers(2 * n, seed, key)
        row_of = np.empty(n, np.int64)
        row_of[np.lexsort((draws[:n], -sizes))] = self._row_of_rank
        order = np.lexsort((draws[n:], row_of))
        table = np.full((self.rows, self.steps), self.blank, np.int64)
        rows, lengths = row_of[order], sizes[order]
        before = np.cumsum(lengths) - lengths
        # Chunks before the first sequence of each row.
        opening = np.searchsorted(rows, rows, side="left")
        begins = before - before[opening]
        within = np.arange(lengths.sum()) - np.repeat(before, lengths)
        chunks = np.repeat(self.sequences.first[order], lengths) + within
        table[np.repeat(rows, lengths), np.repeat(begins, lengths) + within] = chunks
        return table.T[:steps]


@dataclass(frozen=True, eq=False)
class ByWeight:
    """Rounds whose sequences are drawn with replacement, sequence q with `weights`[q] / sum.

    Whenever a row is at the end of a sequence, it goes on with the next one that is drawn.
    """

    sequences: Sequences
    rows: int
    weights: HostArray

    @cached_property
    def steps(self) -> int:
        """Batches with as many chunks as can be drawn, and at least as many as the longest has."""
        sizes = self.sequences.sizes[self.weights > 0]
        return max(int(-(-sizes.sum() // self.rows)), int(sizes.max()))

    @property
    def round_steps(self) -> int:
        """Batches after which another round follows, which cuts off what is not finished."""
        return 50 * self.steps

    def round(self, seed: int, key: Sequence[int], steps: int) -> HostArray:
        """Return the first `steps` batches of the round of `seed` and `key`, (steps, rows)."""
        drawable = np.flatnonzero(self.weights)
        cumulative = np.cumsum(self.weights[drawable])
        # No sequence is shorter than one chunk, so that there are enough draws.
        draws = random_numbers(steps * self.rows, seed, key) * cumulative[-1]
        drawn = iter(drawable[np.searchsorted(cumulative, draws, side="right")].tolist())
        table = np.empty((steps, self.rows), np.int64)
        loads = [(0, row) for row in range(self.rows)]
        while loads[0][0] < steps:
            begin, row = loads[0]
            sequence = next(drawn)
            end = begin + int(self.sequences.sizes[sequence])
            shown = min(end, steps) - begin
            first = int(self.sequences.first[sequence])
            table[begin : begin + shown, row] = np.arange(first, first + shown)
            heapq.heapreplace(loads, (end, row))
        return table


def order_of(sequences: Sequences, rows: int, weights: HostArray | None) -> EveryOnce | ByWeight:
    """Return the order of `sequences` in so many rows, by the weights of their chunks if given.

    `weights` has one for each chunk and one for the blank sample after them.
    """
    if weights is None:
        return EveryOnce(sequences, rows, sequences.n_chunks)
    sums = np.add.reduceat(weights[:-1], sequences.first[:-1])
    # A sequence that is drawn shows all its chunks, so that its share is its sum.
    return ByWeight(sequences, rows, sums / sequences.sizes)


def draw_chunks(
    order: EveryOnce | ByWeight, n: int, *, seed: int, epoch: int, epoch_batches: int | None
) -> HostArray:
    """Return the first `n` chunks of `epoch`, row by row of each batch, as int64.

    Rounds of an epoch are drawn for that epoch. With `epoch_batches`, the rounds are those of one
    order without end, of which each epoch has the next `epoch_batches` batches.
    """
    size, rows = order.round_steps, order.rows
    begin = 0 if epoch_batches is None else epoch * epoch_batches
    end = begin - (-n // rows)
    parts = [np.empty((0, rows), np.int64)]
    for number in range(begin // size, -(-end // size)):
        # Of different lengths, so that no order without end has a round of an epoch.
        key = (epoch, number) if epoch_batches is None else (number,)
        before = number * size
        part = order.round(seed, key, min(end - before, size))
        parts.append(part[max(begin - before, 0) :])
    return np.concatenate(parts).reshape(-1)[:n]
