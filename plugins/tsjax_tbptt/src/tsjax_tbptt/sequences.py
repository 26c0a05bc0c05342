"""Files cut into sequences, and sequences into chunks that follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tsjax_core.types import HostArray


class Places(NamedTuple):
    """Where chunks stand, each (n,): file, samples `start` to `stop` of it, and their position.

    `position` is the number of the first sample in its sequence.
    """

    file: HostArray
    start: HostArray
    stop: HostArray
    position: HostArray


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences in the order of files and time, and their chunks, numbered in the same order.

    `file`, `start` and `stop` are (sequences,); every chunk has `chunk` samples, but the last one
    of a sequence, which may have fewer.
    """

    file: HostArray
    start: HostArray
    stop: HostArray
    chunk: int

    def __len__(self) -> int:
        return len(self.file)

    @cached_property
    def sizes(self) -> HostArray:
        """Chunks of each sequence, (sequences,)."""
        sizes: HostArray = -(-(self.stop - self.start) // self.chunk)
        return sizes

    @cached_property
    def first(self) -> HostArray:
        """Number of the first chunk of each sequence, and of all chunks, (sequences + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @property
    def n_chunks(self) -> int:
        """Chunks of all sequences together."""
        return int(self.first[-1])

    def owners(self, chunks: HostArray) -> HostArray:
        """Return the sequence of each chunk."""
        owners: HostArray = np.searchsorted(self.first, chunks, side="right") - 1
        return owners

    def place(self, chunks: HostArray) -> Places:
        """Return where the chunks of these numbers stand."""
        owners = self.owners(chunks)
        position = (chunks - self.first[owners]) * self.chunk
        start = self.start[owners] + position
        stop = np.minimum(start + self.chunk, self.stop[owners])
        return Places(self.file[owners], start, stop, position)

    def split(self, at: HostArray) -> Sequences:
        """Return the same chunks in sequences that also begin where `at` (chunks,) is true."""
        begins = at.copy()
        begins[self.first[:-1]] = True
        firsts = np.flatnonzero(begins)
        places = self.place(np.arange(self.n_chunks))
        lasts = np.append(firsts[1:], self.n_chunks) - 1
        return Sequences(places.file[firsts], places.start[firsts], places.stop[lasts], self.chunk)


def cut_files(lengths: HostArray, seq_len: int | None, chunk: int) -> Sequences:
    """Return the sequences of files of `lengths` samples.

    Without `seq_len` each file is one. With it, a file is cut into sequences of `seq_len` samples,
    the last of which may be shorter.
    """
    sizes = np.maximum(lengths, 1) if seq_len is None else np.full(len(lengths), seq_len)
    counts = -(-lengths // sizes)
    file = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(file)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = number * sizes[file]
    stop = np.minimum(start + sizes[file], lengths[file])
    return Sequences(file, start.astype(np.int64), stop.astype(np.int64), chunk)
