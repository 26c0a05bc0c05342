"""Training batches whose rows go on from batch to batch."""

from __future__ import annotations

import warnings
from copy import copy

import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.data.sources import FullSequenceSource
from tsjax_core.data.weighting import checked_weights
from tsjax_core.protocols import WindowStore
from tsjax_core.types import HostArray, Sample
from tsjax_tbptt.order import draw_chunks, order_of
from tsjax_tbptt.sequences import Places, cut_files

_PIECE = 1 << 16
"""Samples of a file that are read at once."""


class TBPTTSource:
    """Consecutive chunks of sequences: row b of a batch goes on from row b of the batch before.

    A sample is a chunk of `win_sz` samples of a file. `position` (time,), int32, numbers them in
    their sequence; where a sequence ends within a chunk, the chunk is filled up with its last
    sample, at position -1. The last sample of the source is blank, -1 throughout: it stands in rows
    that have no sequence left.

    An epoch shows every sequence once, in an order that seed and epoch decide. With weights
    (`with_weights`), sequences are drawn with replacement, and their chunks stay in order. What the
    end of an epoch cuts off is then not shown, unless `epoch_batches` lets it go on.

    Args:
        records: The files.
        win_sz: Samples in a chunk, after each of which the gradient is cut.
        bs: Rows in a batch.
        seq_len: Samples of a sequence, into which files are cut; the rest of a file is a shorter
            one. A whole file if not given.
        epoch_batches: Batches in an epoch, of one order without end: the next epoch goes on where
            this one stopped, in the middle of the sequences. If not given, an epoch shows every
            sequence once, and the next one begins anew.

    Warns where there are more rows than sequences. Raises ConfigError for options that are no whole
    numbers of at least 1.
    """

    def __init__(
        self,
        records: FullSequenceSource,
        *,
        win_sz: int,
        bs: int,
        seq_len: int | None = None,
        epoch_batches: int | None = None,
    ) -> None:
        self.records = records
        self.win_sz = whole_number("win_sz", win_sz, "samples", least=1)
        self.bs = whole_number("bs", bs, "rows", least=1)
        self.seq_len = None if seq_len is None else _count("seq_len", seq_len, "samples")
        self.epoch_batches = (
            None if epoch_batches is None else _count("epoch_batches", epoch_batches, "batches")
        )
        self.weights: HostArray | None = None
        """The weight of each sample, where they are drawn by weight."""
        self.sequences = cut_files(records.lengths, self.seq_len, self.win_sz)
        self.order = order_of(self.sequences, self.bs, None)
        if len(self.sequences) < self.bs:
            n = len(self.sequences)
            advice = f"seq_len below {int(records.lengths.max())}, to cut the files"
            warnings.warn(
                f"tbptt/chunks: {n} {'sequence is' if n == 1 else 'sequences are'} fewer than the "
                f"{self.bs} rows of a batch, so that {self.bs - n} of them stay blank. Give a "
                f"smaller bs, or {advice} into sequences.",
                stacklevel=2,
            )

    def __repr__(self) -> str:
        weighted = "" if self.weights is None else ", weighted"
        return (
            f"TBPTTSource({len(self.sequences)} sequences in chunks of {self.win_sz}, "
            f"{self.bs} rows, {len(self.records)} files{weighted})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TBPTTSource):
            return NotImplemented
        weighted = (self.weights is None, other.weights is None)
        return (
            self._options == other._options
            and self.records == other.records
            and (all(weighted) or not any(weighted))
            and np.array_equal(_or_empty(self.weights), _or_empty(other.weights))
        )

    def __hash__(self) -> int:
        return hash((self.records, self._options))

    @property
    def _options(self) -> tuple[int | None, ...]:
        return self.win_sz, self.bs, self.seq_len, self.epoch_batches

    def __len__(self) -> int:
        return self.sequences.n_chunks + 1

    def __getitem__(self, index: int) -> Sample:
        """Return chunk `index`; IndexError outside 0 to len - 1."""
        batch = self.read_batch(np.array([index]))
        return {key: x[0] for key, x in batch.items()}

    def read_batch(self, indices: HostArray) -> Sample:
        """Return the chunks at `indices`, stacked along a new first axis."""
        places = self._place(indices)
        batch: Sample = {key: self._read(key, places) for key in self.records.sequence_keys}
        batch |= {key: values[places.file] for key, values in self.records.scalars.items()}
        return batch | {"position": self._positions(places)}

    def draw(self, n: int, *, seed: int, epoch: int) -> HostArray:
        """Return the first `n` chunks of `epoch`, row by row of each batch of `bs`, as int64."""
        return draw_chunks(self.order, n, seed=seed, epoch=epoch, epoch_batches=self.epoch_batches)

    def count_batches(self, bs: int) -> int:
        """Return the batches of `bs` rows in an epoch; `epoch_batches` where that is given."""
        if self.epoch_batches is not None:
            return self.epoch_batches
        return -(-self.order.steps * self.bs // bs)

    def with_weights(self, weights: HostArray) -> TBPTTSource:
        """Return the source with sequences that are drawn by the weights of their chunks.

        `weights` is (len,). The share that a sequence has of the batches is the sum of the weights
        of its chunks. A chunk of weight 0 is never drawn: sequences are cut there, and begin anew
        after it. The blank sample is never drawn either; its weight counts with the chunks of the
        file that `locate` states for it, the one with most chunks, so that `file_weights` and
        `category_weights` give equal shares. Weights are multiplied with those that the source has.

        Raises ConfigError for weights that are negative, not finite, or all 0.
        """
        given = checked_weights("weights", weights, len(self))
        chunks = given[:-1].copy()
        own = self._files == self._blank_file
        total = chunks[own].sum()
        if total > 0.0:
            chunks[own] *= 1.0 + given[-1] / total
        if self.weights is not None:
            chunks *= self.weights[:-1]
        chunks = checked_weights("weights", chunks, len(chunks))
        weighted = copy(self)
        weighted.weights = np.append(chunks / chunks.max(), 0.0)
        never = chunks == 0.0
        weighted.sequences = self.sequences.split(np.append(False, never[1:] != never[:-1]))
        weighted.order = order_of(weighted.sequences, self.bs, weighted.weights)
        return weighted

    @property
    def resident_bytes(self) -> int:
        """Device memory that `read_resident` would take."""
        channels = sum(len(self.records.names[key]) for key in self.records.sequence_keys)
        scalars = sum(values.size for values in self.records.scalars.values())
        return 4 * (len(self) * self.win_sz * (channels + 1) + scalars)

    def read_resident(self) -> Sample:
        """Return all chunks joined: sequences (all samples, n), scalars (files, n)."""
        joined: Sample = {
            key: np.empty((len(self) * self.win_sz, len(self.records.names[key])), np.float32)
            for key in self.records.sequence_keys
        }
        joined["position"] = np.empty(len(self) * self.win_sz, np.int32)
        step = max(1, _PIECE // self.win_sz)
        for first in range(0, len(self), step):
            # Piece by piece, because a long file beside its copy would take twice the memory.
            chunks = np.arange(first, min(first + step, len(self)))
            batch = self.read_batch(chunks)
            rows = slice(first * self.win_sz, (first + len(chunks)) * self.win_sz)
            for key, out in joined.items():
                out[rows] = batch[key].reshape(-1, *out.shape[1:])
        return joined | {key: values.copy() for key, values in self.records.scalars.items()}

    def locate(self, indices: HostArray) -> tuple[HostArray, HostArray]:
        """Return where each chunk starts in the joined signals, and the number of its file."""
        asked = np.asarray(indices, np.int64)
        files: HostArray = self._place(asked.reshape(-1)).file.reshape(asked.shape)
        return asked * self.win_sz, files

    @property
    def _files(self) -> HostArray:
        return np.repeat(self.sequences.file, self.sequences.sizes)

    @property
    def _blank_file(self) -> int:
        return int(np.bincount(self._files).argmax())

    def _place(self, indices: HostArray) -> Places:
        """Return where the samples at `indices` stand; the blank one has position -1."""
        asked = np.asarray(indices, np.int64)
        outside = asked[(asked < 0) | (asked >= len(self))]
        if outside.size:
            raise IndexError(f"chunk {outside[0]} of {len(self)}; count from 0 to {len(self) - 1}.")
        blank = asked == self.sequences.n_chunks
        file, start, stop, position = self.sequences.place(np.where(blank, 0, asked))
        # One sample of a file, repeated: values that the model knows.
        file = np.where(blank, self._blank_file, file) if blank.any() else file
        start = np.where(blank, 0, start)
        stop = np.where(blank, 1, stop)
        return Places(file, start, stop, np.where(blank, -1, position))

    def _positions(self, places: Places) -> HostArray:
        number = np.arange(self.win_sz)
        there = (number < (places.stop - places.start)[:, None]) & (places.position >= 0)[:, None]
        return np.where(there, places.position[:, None] + number, -1).astype(np.int32)

    def _read(self, key: str, places: Places) -> HostArray:
        """Return the signals of `key`, (chunks, win_sz, n), filled up with the last sample."""
        names, store = self.records.names[key], self.records.store
        out = np.empty((len(places.file), self.win_sz, len(names)), np.float32)
        lengths = places.stop - places.start
        whole = (lengths == self.win_sz) & isinstance(store, WindowStore)
        for file in np.unique(places.file[whole]).tolist():
            assert isinstance(store, WindowStore)
            rows = np.flatnonzero(whole & (places.file == file))
            path = self.records.paths[file]
            out[rows] = store.read_windows(path, names, places.start[rows], self.win_sz)
        for row in np.flatnonzero(~whole).tolist():
            path = self.records.paths[int(places.file[row])]
            start, stop = int(places.start[row]), int(places.stop[row])
            out[row, : stop - start] = store.read_signals(path, names, start, stop)
            out[row, stop - start :] = out[row, stop - start - 1]
        return out


def _count(key: str, value: int, unit: str) -> int:
    return whole_number(key, value, unit, least=1, of="tbptt/chunks")


def _or_empty(weights: HostArray | None) -> HostArray:
    return np.empty(0) if weights is None else weights
