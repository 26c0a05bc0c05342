"""Signals in CSV files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsjax_core.checks import choice
from tsjax_core.data.checks import missing_signal, sample_range, window_starts
from tsjax_core.data.csv_table import UNITS, Table, read_table
from tsjax_core.errors import ConfigError
from tsjax_core.types import HostArray

_CACHE_BYTES = 2**30


class CSVStore:
    """Signals in CSV files, one column each, named by the first line of the file.

    A file is parsed whole when it is first asked for. Parsed files are kept up to 1 GiB, the last
    used longest; another process that gets the store parses for itself. A column of text may stand
    in a file as long as it is not asked for.

    Args:
        paths: The files.
        delimiter: The character between two cells.
        time: The column of time that gives the sampling time. Every time in it lies within a tenth
            of a sampling time of an even grid, so no sample is missing.
        time_unit: Its unit: s, ms, us, ns, min or h. Unless given, the one at the end of its name,
            such as `t [ms]` or `time_us`, and seconds where there is none.
        allow_empty: Take an empty cell as a missing sample, NaN, instead of refusing it.

    Raises UnreadableFileError, MissingSignalError, UnsupportedDatasetError, WindowError and, for
    uneven times, DataError; each names the file, and line and column where there is one.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        delimiter: str = ",",
        time: str | None = None,
        time_unit: str | None = None,
        allow_empty: bool = False,
    ) -> None:
        if not isinstance(delimiter, str) or len(delimiter) != 1:
            raise ConfigError(
                f"delimiter is {delimiter!r}; give one character, such as ',' or ';'.",
                key="delimiter",
            )
        self._paths = tuple(Path(path) for path in paths)
        self._delimiter = delimiter
        self._time = time
        if time_unit is not None:
            choice("time_unit", time_unit, tuple(UNITS))
        self._time_unit = time_unit
        self._allow_empty = allow_empty
        self._lengths: dict[Path, int] = {}
        self._dts: dict[Path, float | None] = {}
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.RLock()
        self._tables: OrderedDict[Path, Table] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        left_behind = ("_lock", "_tables")
        return {name: value for name, value in vars(self).items() if name not in left_behind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start_empty()

    def __repr__(self) -> str:
        return f"CSVStore({len(self._paths)} files, delimiter={self._delimiter!r})"

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order given."""
        return self._paths

    def signal_names(self, path: Path) -> list[str]:
        """Return the names in the first line of `path`."""
        return [name for name in self._table(path).names if name]

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of rows of `path`; MissingSignalError if it has no column `signal`."""
        if signal is None and path in self._lengths:
            return self._lengths[path]
        table = self._table(path)
        if signal is not None:
            self._column(path, table, signal)
        return table.length

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of `path` in seconds, None without a column of time."""
        if self._time is None:
            return None
        if path not in self._dts:
            self._dts[path] = self._table(path).dt
        return self._dts[path]

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return rows `start` to `stop` as float32, (stop - start, len(signals))."""
        table = self._table(path)
        start, stop = sample_range(path, table.length, start, stop)
        out = np.empty((stop - start, len(signals)), np.float32)
        for j, signal in enumerate(signals):
            out[:, j] = self._column(path, table, signal)[start:stop]
        return out

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the windows from `starts` on as float32, (len(starts), win_sz, len(signals))."""
        table = self._table(path)
        out = np.empty((len(starts), win_sz, len(signals)), np.float32)
        if len(starts) == 0:
            return out
        window_starts(path, table.length, starts, win_sz)
        for j, signal in enumerate(signals):
            column = self._column(path, table, signal)
            out[..., j] = sliding_window_view(column, win_sz)[starts]
        return out

    def _column(self, path: Path, table: Table, signal: str) -> HostArray:
        if signal not in table.names:
            raise missing_signal(path, signal, [name for name in table.names if name])
        return table.column(path, signal)

    def _table(self, path: Path) -> Table:
        with self._lock:
            table = self._tables.pop(path, None)
            if table is None:
                table = read_table(
                    path,
                    self._delimiter,
                    self._time,
                    time_unit=self._time_unit,
                    allow_empty=self._allow_empty,
                )
                self._lengths[path] = table.length
            self._tables[path] = table
            held = sum(each.nbytes for each in self._tables.values())
            while held > _CACHE_BYTES and len(self._tables) > 1:
                held -= self._tables.popitem(last=False)[1].nbytes
            return table
