"""One data set cut into training, validation and test, where its owner has not done so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from tsjax_core.checks import choice, is_number
from tsjax_core.data.checks import common_length, listing, sample_range, window_starts
from tsjax_core.data.store import SPLITS, Split
from tsjax_core.errors import ConfigError, SplitError
from tsjax_core.protocols import (
    AttributeStore,
    LocatingStore,
    SampledStore,
    SignalStore,
    TimedStore,
    UnitStore,
    WindowStore,
)
from tsjax_core.types import HostArray

By: TypeAlias = Literal["time", "files"]

DEFAULT_SHARES: Final = (0.7, 0.15, 0.15)
"""Shares of training, validation and test."""


@dataclass(frozen=True)
class Division:
    """How a data set without splits of its own is cut.

    Args:
        shares: Shares of training, validation and test, each above 0; together they are 1.
        by: time: each record is cut into three stretches that follow each other, and no window
            reaches from one into the next. files: whole records, in their order.

    Raises:
        ConfigError: The shares are not three numbers above 0 with the sum 1, or `by` is neither.
    """

    shares: tuple[float, ...] = DEFAULT_SHARES
    by: By = "time"

    def __post_init__(self) -> None:
        given: Any = self.shares
        usable = (
            isinstance(given, list | tuple)
            and len(given) == len(SPLITS)
            and all(is_number(share) and share > 0.0 for share in given)
            and abs(sum(given) - 1.0) < 1e-6
        )
        if not usable:
            raise ConfigError(
                f"split = {given!r}; give the shares of {', '.join(SPLITS)}: three numbers above "
                f"0 whose sum is 1, such as {list(DEFAULT_SHARES)}.",
                key="split",
            )
        choice("split_by", self.by, ("time", "files"))
        object.__setattr__(self, "shares", tuple(float(share) for share in given))

    def __str__(self) -> str:
        shares = " / ".join(f"{100 * share:.4g}" for share in self.shares)
        of = "the time of each record" if self.by == "time" else "the records"
        return f"{shares} % of {of} for {' / '.join(SPLITS)}"

    def bounds(self, length: int) -> tuple[int, ...]:
        """Return where the three parts of `length` begin, and the end of the last."""
        return (0, *(round(length * sum(self.shares[:n])) for n in (1, 2)), length)

    def divide_records(self, records: Sequence[Any]) -> dict[Split, tuple[Any, ...]]:
        """Return the records of each split, of at least three; each split has one or more.

        Raises:
            SplitError: There are fewer.
        """
        n = len(records)
        if n < len(SPLITS):
            raise SplitError(
                f"split_by = 'files' needs a record for each of {', '.join(SPLITS)}, and there "
                f"{'is' if n == 1 else 'are'} {n}; give more, or split_by = 'time'."
            )
        _, second, third, _ = self.bounds(n)
        second = min(max(second, 1), n - 2)
        third = min(max(third, second + 1), n - 1)
        bounds = (0, second, third, n)
        return {
            split: tuple(records[begin:end])
            for split, (begin, end) in zip(SPLITS, pairwise(bounds), strict=True)
        }

    def divide_store(self, store: SignalStore, signals: Sequence[str]) -> dict[Split, SignalStore]:
        """Return a store for each split, with whole records of `store`.

        Raises:
            SplitError: There are fewer than three.
        """
        parts = self.divide_records(store.paths)
        first = signals[0] if signals else None
        return {
            split: CutStore(
                store,
                [Piece(path, 0, store.get_seq_len(path, first), is_whole=True) for path in paths],
            )
            for split, paths in parts.items()
        }

    def divide_time(self, store: SignalStore, signals: Sequence[str]) -> dict[Split, SignalStore]:
        """Return a store for each split, with one stretch of each record of `store`.

        The length of a record is that of `signals`.

        Raises:
            SplitError: A record is too short to give each split a sample.
            MissingSignalError, UnequalLengthError: A record lacks one of `signals`, or these have
                different lengths.
        """
        pieces: dict[Split, list[Piece]] = {split: [] for split in SPLITS}
        for path in store.paths:
            lengths = {name: store.get_seq_len(path, name) for name in signals}
            length = common_length(path, lengths) if lengths else store.get_seq_len(path)
            bounds = self.bounds(length)
            for split, (begin, end) in zip(SPLITS, pairwise(bounds), strict=True):
                if begin >= end:
                    raise SplitError(
                        f"{path}: its {length} samples leave none for {split}; give a longer "
                        "record, or other shares in split.",
                        path=path,
                    )
                pieces[split].append(Piece(path, begin, end))
        return {split: CutStore(store, pieces[split]) for split in SPLITS}


@dataclass(frozen=True)
class Piece:
    """Samples `start` to `stop` of the record `path`, or the whole of it."""

    path: Path
    start: int
    stop: int
    is_whole: bool = False

    @property
    def name(self) -> Path:
        """The path by which the piece is known, such as `motor_700-850.csv`."""
        if self.is_whole:
            return self.path
        return self.path.with_name(f"{self.path.stem}_{self.start}-{self.stop}{self.path.suffix}")


class CutStore:
    """Pieces of the records of another store, each as a record of its own.

    The path of a piece is that of the record with the samples in its name; there is no such file.

    Args:
        store: The whole records.
        pieces: The pieces, in their order, none of them twice.
    """

    def __init__(self, store: SignalStore, pieces: Sequence[Piece]) -> None:
        self._store = store
        self._pieces = {piece.name: piece for piece in pieces}

    def __repr__(self) -> str:
        return f"CutStore({self._store!r}, {listing(self._pieces, shown=3)})"

    @property
    def paths(self) -> Sequence[Path]:
        """The names of the pieces, in their order."""
        return tuple(self._pieces)

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of a piece in seconds, None where it is not known."""
        store = self._store
        return store.get_dt(self._pieces[path].path) if isinstance(store, SampledStore) else None

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the unit of a signal as its record states it, empty where it does not."""
        store = self._store
        piece = self._pieces[path]
        return store.get_unit(piece.path, signal) if isinstance(store, UnitStore) else ""

    def locate(self, path: Path, signal: str) -> object:
        """Return what is equal for two names of the same numbers."""
        store = self._store
        piece = self._pieces[path]
        return store.locate(piece.path, signal) if isinstance(store, LocatingStore) else signal

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal` in a piece, or of its first signal."""
        piece = self._pieces[path]
        whole = self._store.get_seq_len(piece.path, signal)
        return max(0, min(piece.stop, whole) - piece.start)

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` of a piece as float32, (stop - start, len(signals))."""
        piece = self._pieces[path]
        start, stop = sample_range(path, piece.stop - piece.start, start, stop)
        begin, end = piece.start + start, piece.start + stop
        return self._store.read_signals(piece.path, signals, begin, end)

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return windows of a piece as float32, (len(starts), win_sz, len(signals))."""
        piece, store = self._pieces[path], self._store
        if not len(starts):
            return np.empty((0, win_sz, len(signals)), np.float32)
        window_starts(path, piece.stop - piece.start, starts, win_sz)
        begins = np.asarray(starts) + piece.start
        if isinstance(store, WindowStore):
            return store.read_windows(piece.path, signals, begins, win_sz)
        # One read of what the windows span, since they overlap as a rule.
        first, last = int(begins.min()), int(begins.max()) + win_sz
        together = store.read_signals(piece.path, signals, first, last)
        return together[(begins - first)[:, None] + np.arange(win_sz)]

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the scalars `names` of the record of a piece as float32, (len(names),)."""
        store: Any = self._store
        if not isinstance(store, AttributeStore):
            raise ConfigError(
                f"the records of {store!r} have no scalars, and {listing(names)} were asked for.",
                key="u_scalars",
            )
        return store.read_attributes(self._pieces[path].path, names)


def cut_at_gaps(store: SignalStore) -> SignalStore:
    """Return a store with a record for each stretch of a record of `store` without a gap."""
    if not isinstance(store, TimedStore):
        return store
    pieces = []
    for path in store.paths:
        stretches = store.get_stretches(path)
        alone = len(stretches) == 1
        pieces += [Piece(path, start, stop, is_whole=alone) for start, stop in stretches]
    return store if all(piece.is_whole for piece in pieces) else CutStore(store, pieces)


def has_splits(dataset: Any) -> bool:
    """Return whether `dataset` has splits of its own: folders or keys of their names."""
    if isinstance(dataset, Mapping):
        return not is_record(dataset)
    if isinstance(dataset, str | Path):
        root = Path(dataset)
        return root.is_dir() and any((root / split).is_dir() for split in SPLITS)
    return False


def is_record(value: Any) -> bool:
    """Return whether `value` is a record in memory: arrays by name, or a data frame."""
    if isinstance(value, Mapping):
        return (
            bool(value)
            and not set(value) & set(SPLITS)
            and not any(map(_holds_records, value.values()))
        )
    return hasattr(value, "columns")


def _holds_records(value: Any) -> bool:
    """Return whether `value` is a path or a record, or holds some, and so is no signal."""
    several = list(value) if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, str | Path | Mapping) for each in several[:1])
