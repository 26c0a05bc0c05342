"""Samples for training and evaluation: whole files, and windows of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.data.checks import common_length, listing
from tsjax_core.errors import ConfigError, WindowError
from tsjax_core.protocols import AttributeStore, SignalStore, Source, WindowStore
from tsjax_core.types import HostArray, Sample, is_sequence

_PIECE = 1 << 16
"""Samples of a file that are read at once."""


class FullSequenceSource:
    """Whole files, one sample each, of the lengths that they have.

    A sample has `u` (time, n_u) and `y` (time, n_y), and for named scalars `u_scalar` (n,) and
    `y_scalar` (n,). The lengths and scalars of all files are read when the source is built.

    Args:
        store: Where the signals are.
        u: Names of the input channels.
        y: Names of the output channels; may be empty if there are `y_scalars`.
        u_scalars: Names of scalars, one value per file, that are inputs.
        y_scalars: Names of scalars that are targets.
        further: Names of further signals, by the batch keys under which losses and transforms see
            them.

    Raises ConfigError for missing names, MissingSignalError, UnequalLengthError and what else the
    store raises for its files.
    """

    def __init__(
        self,
        store: SignalStore,
        u: Sequence[str],
        y: Sequence[str] = (),
        *,
        u_scalars: Sequence[str] = (),
        y_scalars: Sequence[str] = (),
        further: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        names = {"u": u, "y": y, "u_scalar": u_scalars, "y_scalar": y_scalars, **(further or {})}
        self.names: dict[str, tuple[str, ...]] = {k: tuple(v) for k, v in names.items() if v}
        if "u" not in self.names:
            raise ConfigError("u is empty; name at least one input channel.", key="u")
        if "y" not in self.names and "y_scalar" not in self.names:
            raise ConfigError(
                "y and y_scalars are empty; name at least one output channel or scalar target.",
                key="y",
            )
        self.store = store
        self.paths: tuple[Path, ...] = tuple(store.paths)
        self.lengths: HostArray = np.array([self._length(path) for path in self.paths], np.int64)
        self.scalars: Mapping[str, HostArray] = self._read_scalars()

    def _length(self, path: Path) -> int:
        signals = [name for key in self.sequence_keys for name in self.names[key]]
        lengths = {name: self.store.get_seq_len(path, name) for name in signals}
        return common_length(path, lengths)

    @property
    def sequence_keys(self) -> tuple[str, ...]:
        """The batch keys with a time axis."""
        return tuple(key for key in self.names if is_sequence(key))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FullSequenceSource):
            return NotImplemented
        return (self.paths, self.names) == (other.paths, other.names) and np.array_equal(
            self.lengths, other.lengths
        )

    def __hash__(self) -> int:
        return hash(self.paths)

    def _read_scalars(self) -> dict[str, HostArray]:
        keys = [key for key in ("u_scalar", "y_scalar") if key in self.names]
        if not keys:
            return {}
        if not isinstance(self.store, AttributeStore):
            raise ConfigError(
                f"scalars ({listing(self.names[keys[0]])}) are attributes of HDF5 files, and "
                f"{type(self.store).__name__} has none.",
                key=f"{keys[0]}s",
            )
        every = [name for key in keys for name in self.names[key]]
        rows = [self.store.read_attributes(path, every) for path in self.paths]
        table = np.array(rows, np.float32).reshape(len(self.paths), len(every))
        first = len(self.names[keys[0]])
        return dict(zip(keys, (table[:, :first], table[:, first:]), strict=False))

    def __repr__(self) -> str:
        return f"FullSequenceSource({len(self)} files, {self.names})"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Return file `index`; IndexError outside 0 to len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"file {index} of {len(self)}; count from 0 to {len(self) - 1}.")
        return self.read(int(index))

    def read(self, file: int, start: int = 0, stop: int | None = None) -> Sample:
        """Return samples `start` to `stop` of file number `file`, and its scalars."""
        sample = {
            key: self.store.read_signals(self.paths[file], self.names[key], start, stop)
            for key in self.sequence_keys
        }
        return sample | {key: values[file].copy() for key, values in self.scalars.items()}


class WindowedSource:
    """Equally long windows of files, in order of file and time.

    A file of n samples has (n - win_sz) // stp_sz + 1 windows, and none if it is shorter than one.
    Window k of a file begins at sample k * stp_sz. A sample has `u` (win_sz, n_u) and `y` (win_sz,
    n_y), and for named scalars `u_scalar` (n,) and `y_scalar` (n,), equal for all windows of a
    file.

    Args:
        store: Where the signals are.
        u: Names of the input channels.
        y: Names of the output channels; may be empty if there are `y_scalars`.
        win_sz: Samples in a window.
        stp_sz: Samples from the beginning of a window to that of the next.
        u_scalars: Names of scalars, one value per file, that are inputs.
        y_scalars: Names of scalars that are targets.
        further: Names of further signals, by the batch keys under which losses and transforms see
            them.

    Warns of files that are shorter than a window. Raises WindowError if every file is, and what
    `FullSequenceSource` raises.
    """

    def __init__(
        self,
        store: SignalStore,
        u: Sequence[str],
        y: Sequence[str] = (),
        *,
        win_sz: int,
        stp_sz: int = 1,
        u_scalars: Sequence[str] = (),
        y_scalars: Sequence[str] = (),
        further: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        win_sz = whole_number("win_sz", win_sz, "samples", least=1)
        stp_sz = whole_number("stp_sz", stp_sz, "samples", least=1)
        self.records = FullSequenceSource(
            store, u, y, u_scalars=u_scalars, y_scalars=y_scalars, further=further
        )
        self.names = self.records.names
        self.win_sz = win_sz
        self.stp_sz = stp_sz
        lengths = self.records.lengths
        counts = np.maximum((lengths - win_sz) // stp_sz + 1, 0)
        self._first_window = np.concatenate([[0], np.cumsum(counts)])
        self._first_sample = np.concatenate([[0], np.cumsum(lengths)])
        self._many = store if isinstance(store, WindowStore) else None
        self._check_lengths(lengths)

    def _check_lengths(self, lengths: HostArray) -> None:
        paths = self.records.paths
        short = [f"{paths[i]} ({lengths[i]})" for i in np.flatnonzero(lengths < self.win_sz)]
        if len(short) == len(paths):
            longest = int(np.argmax(lengths)) if len(paths) else None
            which = "there is no file" if longest is None else f"the longest, {paths[longest]},"
            has = "" if longest is None else f" has {lengths[longest]}"
            raise WindowError(
                f"no window of win_sz = {self.win_sz} samples fits any of {len(paths)} files: "
                f"{which}{has}. Choose win_sz no longer than the longest file.",
                path=None if longest is None else paths[longest],
            )
        if short:
            warnings.warn(
                f"{len(short)} of {len(paths)} files are shorter than win_sz = {self.win_sz} "
                f"samples and give no window: {listing(short, shown=5)}. "
                "Choose a smaller win_sz to use them.",
                stacklevel=3,
            )

    def __repr__(self) -> str:
        return (
            f"WindowedSource({len(self)} windows of {self.win_sz} samples, stp_sz={self.stp_sz}, "
            f"{len(self.records)} files, {self.names})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WindowedSource):
            return NotImplemented
        own, others = (self.win_sz, self.stp_sz), (other.win_sz, other.stp_sz)
        return own == others and self.records == other.records

    def __hash__(self) -> int:
        return hash((self.records, self.win_sz, self.stp_sz))

    def __len__(self) -> int:
        return int(self._first_window[-1])

    def __getitem__(self, index: int) -> Sample:
        """Return window `index`; IndexError outside 0 to len - 1."""
        files, starts = self._place(np.array([index]))
        return self.records.read(int(files[0]), int(starts[0]), int(starts[0]) + self.win_sz)

    def read_batch(self, indices: HostArray) -> Sample:
        """Return the windows at `indices`, stacked along a new first axis."""
        files, starts = self._place(indices)
        batch = {
            key: np.empty((len(files), self.win_sz, len(self.names[key])), np.float32)
            for key in self.records.sequence_keys
        }
        order = np.argsort(files, kind="stable")
        bounds = np.flatnonzero(np.diff(files[order])) + 1
        for rows in np.split(order, bounds) if len(order) else ():
            for key, out in batch.items():
                out[rows] = self._read_windows(int(files[rows[0]]), self.names[key], starts[rows])
        return batch | {key: values[files] for key, values in self.records.scalars.items()}

    def _read_windows(self, file: int, signals: Sequence[str], starts: HostArray) -> HostArray:
        path, store = self.records.paths[file], self.records.store
        if self._many is not None:
            return self._many.read_windows(path, signals, starts, self.win_sz)
        return np.stack(
            [store.read_signals(path, signals, int(s), int(s) + self.win_sz) for s in starts]
        )

    @property
    def resident_bytes(self) -> int:
        """Device memory that `read_resident` would take."""
        channels = sum(len(self.names[key]) for key in self.records.sequence_keys)
        scalars = sum(values.size for values in self.records.scalars.values())
        return 4 * (int(self._first_sample[-1]) * channels + scalars)

    def read_resident(self) -> Sample:
        """Return all files joined: sequences (all samples, n), scalars (files, n)."""
        joined = {
            key: np.empty((int(self._first_sample[-1]), len(self.names[key])), np.float32)
            for key in self.records.sequence_keys
        }
        for file, (first, end) in enumerate(pairwise(self._first_sample.tolist())):
            # Piece by piece, because a long file beside its copy would take twice the memory.
            for start in range(first, end, _PIECE):
                stop = min(start + _PIECE, end)
                sample = self.records.read(file, start - first, stop - first)
                for key, out in joined.items():
                    out[start:stop] = sample[key]
        return joined | {key: values.copy() for key, values in self.records.scalars.items()}

    def locate(self, indices: HostArray) -> tuple[HostArray, HostArray]:
        """Return where each window starts in the joined signals, and the number of its file."""
        files, starts = self._place(indices)
        return self._first_sample[files] + starts, files

    def _place(self, indices: HostArray) -> tuple[HostArray, HostArray]:
        """Return the file of each window and its first sample there."""
        asked = np.asarray(indices, np.int64)
        outside = asked[(asked < 0) | (asked >= len(self))]
        if outside.size:
            raise IndexError(
                f"window {outside[0]} of {len(self)}; count from 0 to {len(self) - 1}."
            )
        files = np.searchsorted(self._first_window, asked, side="right") - 1
        return files, (asked - self._first_window[files]) * self.stp_sz


class StackedSource:
    """A source of equally shaped samples that reads a batch sample by sample.

    Args:
        source: A source without `read_batch`.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"StackedSource({self.source!r})"

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`; IndexError outside 0 to len - 1."""
        return self.source[index]

    def read_batch(self, indices: HostArray) -> Sample:
        """Return the samples at `indices`, stacked along a new first axis.

        Raises WindowError where they have different lengths.
        """
        samples = [self.source[int(index)] for index in indices]
        for index, sample in zip(indices, samples, strict=True):
            for key, value in sample.items():
                if value.shape != samples[0][key].shape:
                    raise WindowError(
                        f"{key} of sample {indices[0]} has the shape {samples[0][key].shape}, and "
                        f"that of sample {index} {value.shape}; the samples of a training source "
                        "have one shape."
                    )
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
