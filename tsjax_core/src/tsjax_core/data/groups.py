"""Groups of HDF5 files as records: several experiments in one file."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.data.checks import listing
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.hdf5_layout import open_hdf5, read_scalar
from tsjax_core.data.offsets import check_offsets
from tsjax_core.errors import DataError, MissingSignalError
from tsjax_core.types import HostArray


class GroupStore:
    """The groups of HDF5 files whose name fits a pattern, each as a record of its own.

    The path of a record is that of the file with the group behind it, such as `tests.h5/exp1`.
    Signals, rates and times are looked for in the group; scalars are attributes of the group, or of
    the file.

    Args:
        paths: The files.
        pattern: The path of a group in its file, in which * stands for any text, such as "exp*" or
            "day?/run*".
        offsets: Numbers that are taken off signals, by name in the groups.
        options: Further arguments of `HDF5Store`.

    Raises:
        DataError: A file has no such group.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        pattern: str,
        *,
        offsets: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        self._records: dict[Path, tuple[Path, str]] = {}
        for path in map(Path, paths):
            groups = _group_names(path)
            found = [name for name in groups if fnmatch.fnmatchcase(name, pattern.strip("/"))]
            if not found:
                there = f"It has: {listing(groups)}." if groups else "It has no groups."
                raise DataError(f"{path}: no group {pattern!r}. {there}", path=path)
            self._records |= {path / name: (path, name) for name in found}
        within = {
            f"{group}/{name}": value
            for _, group in self._records.values()
            for name, value in check_offsets(offsets).items()
        }
        self._store = HDF5Store(paths, offsets=within, **options)
        self._asked: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"GroupStore({self._store!r}, {len(self._records)} groups)"

    @property
    def paths(self) -> Sequence[Path]:
        """One path for each group, in the order of the files and of the groups' names."""
        return tuple(self._records)

    def signal_names(self, path: Path) -> list[str]:
        """Return every name that can be read from a group."""
        file, group = self._records[path]
        within = f"{group}/"
        names = self._store.signal_names(file)
        return [name.removeprefix(within) for name in names if name.startswith(within)]

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal` in a group, or of the first signal there."""
        name = signal if signal is not None else next(iter(self.signal_names(path)), "")
        self._asked[name] = None
        return self._store.get_seq_len(*self._named(path, name))

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of a group in seconds, None where the file does not say."""
        file, signals = self._asked_of(path)
        axis = self._store.read_axis(file, signals)
        return None if axis is None else axis.dt

    def get_stretches(self, path: Path) -> Sequence[tuple[int, int]]:
        """Return first sample and end of each stretch of a group without a gap between times."""
        file, signals = self._asked_of(path)
        axis = self._store.read_axis(file, signals)
        whole = ((0, self.get_seq_len(path)),)
        return whole if axis is None or not axis.stretches else axis.stretches

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the unit of a signal as the file states it, empty where it does not."""
        return self._store.get_unit(*self._named(path, signal))

    def locate(self, path: Path, signal: str) -> object:
        """Return what is equal for two names of the same numbers."""
        return self._store.locate(*self._named(path, signal))

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` as float32, (stop - start, len(signals))."""
        file, names = self._renamed(path, signals)
        return self._store.read_signals(file, names, start, stop)

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the windows from `starts` on as float32, (len(starts), win_sz, len(signals))."""
        file, names = self._renamed(path, signals)
        return self._store.read_windows(file, names, starts, win_sz)

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return attributes of the group, or else of the file, as float32, (len(names),)."""
        file, group = self._records[path]
        values = []
        with open_hdf5(file) as opened:
            for name in names:
                try:
                    values.append(read_scalar(opened[group], file, name))
                except MissingSignalError:
                    values.append(read_scalar(opened, file, name))
        return np.array(values, np.float32)

    def _asked_of(self, path: Path) -> tuple[Path, list[str]]:
        return self._renamed(path, list(self._asked) or self.signal_names(path)[:1])

    def _named(self, path: Path, signal: str) -> tuple[Path, str]:
        file, group = self._records[path]
        return file, f"{group}/{signal}"

    def _renamed(self, path: Path, signals: Sequence[str]) -> tuple[Path, list[str]]:
        file, group = self._records[path]
        self._asked.update(dict.fromkeys(signals))
        return file, [f"{group}/{signal}" for signal in signals]


def _group_names(path: Path) -> list[str]:
    import h5py

    names: list[str] = []
    with open_hdf5(path) as file:
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Group) else None
        )
    return sorted(names)
