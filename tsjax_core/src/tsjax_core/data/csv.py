"""Signals in CSV files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.data.checks import missing_signal, sample_range, window_starts
from tsjax_core.data.csv_dialect import DECIMALS
from tsjax_core.data.csv_table import CSVOptions, Table, read_table
from tsjax_core.data.offsets import check_offsets
from tsjax_core.data.time_axis import UNITS, TimeAxis
from tsjax_core.errors import ConfigError
from tsjax_core.types import HostArray

_CACHE_BYTES = 2**30


class CSVStore:
    """Signals in CSV files, one column each, named by the line above the numbers.

    Encoding, delimiter, decimal sign, lines above the table, a row of units and a column of time
    are noticed, unless they are given. Columns without a line of names are named by their numbers
    from "0" on. A file is parsed whole when it is first asked for. Parsed files are kept up to
    1 GiB, the last used longest; another process that gets the store parses for itself. A column of
    text may stand in a file as long as it is not asked for.

    Args:
        paths: The files.
        delimiter: The character between two cells, a space for any run of blanks.
        decimal: The decimal sign, a point or a comma.
        skip_rows: Lines above the names of the columns.
        time: The column of time that gives the sampling time: numbers, dates, or times of day.
            Unless given, one that is called like a time and is even; an empty text for none.
        time_unit: Its unit: s, ms, us, ns, min, h or d. Unless given, the one at the end of its
            name, such as `t [ms]` or `time_us`, or in the row of units. Without any, numbers that
            are dates counted from 1970 are taken as such, and others are seconds.
        gaps: refuse: a gap between times is an error. split: `get_stretches` gives the rows between
            the gaps.
        even_fs: Rate in Hz to which uneven rows are interpolated linearly at their times; uneven
            times are an error without it.
        allow_empty: Take an empty cell as a missing sample, NaN, instead of refusing it.
        offsets: Numbers that are taken off columns, by name, before these become 32-bit numbers.

    Raises UnreadableFileError, MissingSignalError, UnsupportedDatasetError, WindowError and, for
    uneven times, DataError; each names the file, and line and column where there is one.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        delimiter: str | None = None,
        decimal: Literal[".", ","] | None = None,
        skip_rows: int | None = None,
        time: str | None = None,
        time_unit: str | None = None,
        gaps: Literal["refuse", "split"] = "refuse",
        even_fs: float | None = None,
        allow_empty: bool = False,
        offsets: Mapping[str, float] | None = None,
    ) -> None:
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
            raise ConfigError(
                f"delimiter is {delimiter!r}; give one character, such as ',' or ';'.",
                key="delimiter",
            )
        if decimal is not None:
            choice("decimal", decimal, DECIMALS)
        if skip_rows is not None:
            skip_rows = whole_number("skip_rows", skip_rows, "lines")
        if time_unit is not None:
            choice("time_unit", time_unit, tuple(UNITS))
        choice("gaps", gaps, ("refuse", "split"))
        self._paths = tuple(Path(path) for path in paths)
        self._options = CSVOptions(
            delimiter,
            decimal,
            skip_rows,
            time,
            time_unit,
            gaps,
            None if even_fs is None else positive("even_fs", even_fs),
            allow_empty,
            check_offsets(offsets),
        )
        self._lengths: dict[Path, int] = {}
        self._axes: dict[Path, TimeAxis | None] = {}
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
        return f"CSVStore({len(self._paths)} files)"

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order given."""
        return self._paths

    def signal_names(self, path: Path) -> list[str]:
        """Return the names of the columns of `path`."""
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
        axis = self._axis(path)
        return None if axis is None else axis.dt

    def get_stretches(self, path: Path) -> Sequence[tuple[int, int]]:
        """Return first row and end of each stretch of `path` without a gap between times."""
        axis = self._axis(path)
        return ((0, self.get_seq_len(path)),) if axis is None else axis.stretches

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the unit of a column as the file states it, empty where it does not."""
        table = self._table(path)
        return table.unit(signal) if signal in table.names else ""

    def describe(self, path: Path) -> str:
        """Return how `path` is written and what its time is, in a sentence."""
        table = self._table(path)
        written = table.dialect
        between = {" ": "blanks", "\t": "tabs"}.get(written.delimiter, repr(written.delimiter))
        sign = "comma" if written.decimal == "," else "point"
        parts = [f"cells between {between}, decimal {sign}"]
        if not written.has_names:
            parts.append("columns without names, numbered from 0")
        if table.time is not None and table.axis is not None:
            gaps = len(table.axis.gaps)
            with_gaps = f", with {gaps} {'gap' if gaps == 1 else 'gaps'}" if gaps else ""
            parts.append(f"time from column {table.time!r}{with_gaps}")
        return "; ".join(parts)

    def _axis(self, path: Path) -> TimeAxis | None:
        if path not in self._axes:
            self._axes[path] = self._table(path).axis
        return self._axes[path]

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
                table = read_table(path, self._options)
                self._lengths[path] = table.length
            self._tables[path] = table
            held = sum(each.nbytes for each in self._tables.values())
            while held > _CACHE_BYTES and len(self._tables) > 1:
                held -= self._tables.popitem(last=False)[1].nbytes
            return table
