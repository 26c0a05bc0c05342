"""Signals in memory: arrays, or tables such as data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tsjax_core.checks import choice
from tsjax_core.data.checks import listing, missing_signal, sample_range, window_starts
from tsjax_core.data.offsets import check_offsets
from tsjax_core.data.rates import combine_statements, is_rate_name, read_statement
from tsjax_core.data.time_axis import (
    UNITS,
    TimeAxis,
    measure_time,
    notice_time,
    refuse_gaps,
    require_plausible,
    seconds_of,
    unit_of,
)
from tsjax_core.errors import (
    ConfigError,
    MissingSignalError,
    UnsupportedDatasetError,
)
from tsjax_core.types import HostArray


class ArrayStore:
    """Signals in arrays, by record and by name.

    A record is a mapping from names to arrays, or anything with `columns` such as a data frame. A
    signal is an array (time,), or column `name:i` of an array (time, n); a number is a scalar of
    the record. Arrays are those of NumPy or jax, or lists; they are read as float32 and not copied
    before. A record has no file: its path is the name of the split and its number.

    Args:
        records: The records, in their order.
        name: What the paths of the records begin with.
        offsets: Numbers that are taken off signals, by name, before these become 32-bit numbers.
        time: The array of times: numbers, or dates of NumPy. Unless given, one that is called like
            a time; an empty text for none.
        time_unit: Its unit: s, ms, us, ns, min, h or d. Unless given, the one at the end of its
            name, and seconds without one.
        gaps: refuse: a gap between times is an error. split: `get_stretches` gives the samples
            between the gaps.

    Raises ConfigError for something that is no record, and UnsupportedDatasetError for an array
    that does not hold real numbers along one or two axes.
    """

    def __init__(
        self,
        records: Sequence[Any],
        name: str = "record",
        *,
        offsets: Mapping[str, float] | None = None,
        time: str | None = None,
        time_unit: str | None = None,
        gaps: Literal["refuse", "split"] = "refuse",
    ) -> None:
        if time_unit is not None:
            choice("time_unit", time_unit, tuple(UNITS))
        choice("gaps", gaps, ("refuse", "split"))
        self._offsets = check_offsets(offsets)
        self._time, self._time_unit, self._gaps = time, time_unit, gaps
        self._records: dict[Path, dict[str, HostArray]] = {}
        self._axes: dict[Path, TimeAxis | None] = {}
        for number, record in enumerate(records):
            path = Path(f"{name}_{number}")
            self._records[path] = arrays_of(path, record)

    def __repr__(self) -> str:
        return f"ArrayStore({len(self._records)} records)"

    @property
    def paths(self) -> Sequence[Path]:
        """One path for each record, in their order; there are no files."""
        return tuple(self._records)

    def signal_names(self, path: Path) -> list[str]:
        """Return the names of the arrays of a record."""
        return [name for name, array in self._records[path].items() if array.ndim]

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal`, or of the first array of the record."""
        if signal is None:
            names = self.signal_names(path)
            return len(self._records[path][names[0]]) if names else 0
        return len(self._signal(path, signal))

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of a record in seconds, None where it does not say.

        It says so by a scalar such as `dt` in seconds or `fs` in Hz, or by an array of times.
        """
        axis = self._axis(path)
        return None if axis is None else axis.dt

    def get_stretches(self, path: Path) -> Sequence[tuple[int, int]]:
        """Return first sample and end of each stretch of a record without a gap between times."""
        axis = self._axis(path)
        whole = ((0, self.get_seq_len(path)),)
        return whole if axis is None or not axis.stretches else axis.stretches

    def _axis(self, path: Path) -> TimeAxis | None:
        if path not in self._axes:
            times = self._find_times(path)
            if times is not None and self._gaps != "split":
                refuse_gaps(path, *times)
            stated = [
                read_statement(path, f"scalar {name!r}", name, x)
                for name, x in self._records[path].items()
                if not x.ndim and is_rate_name(name)
            ]
            self._axes[path] = combine_statements(path, stated, times)
        return self._axes[path]

    def _find_times(self, path: Path) -> tuple[str, TimeAxis] | None:
        arrays = {name: x for name, x in self._records[path].items() if x.ndim == 1}
        if self._time == "":
            return None
        if self._time is not None:
            if self._time not in arrays:
                raise missing_signal(path, self._time, list(arrays), what="array of times")
            return self._time, self._measure(path, self._time, arrays[self._time])
        longest = max(map(len, arrays.values()), default=0)

        def measure(name: str) -> tuple[str, TimeAxis] | None:
            if not len(arrays[name]) == longest > 1:
                return None
            return name, self._measure(path, name, arrays[name])

        return notice_time(arrays, measure)

    def _measure(self, path: Path, name: str, stamps: HostArray) -> TimeAxis:
        unit = self._time_unit or unit_of(name)
        times, begin, guessed = seconds_of(stamps, unit)
        axis = measure_time(path, name, times, begin)
        require_plausible(path, name, axis, guessed=guessed)
        return axis

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` as float32, (stop - start, len(signals))."""
        arrays = [self._signal(path, name) for name in signals]
        start, stop = sample_range(path, min(map(len, arrays), default=0), start, stop)
        out = np.empty((stop - start, len(arrays)), np.float32)
        for column, array in enumerate(arrays):
            out[:, column] = array[start:stop] - self._offsets.get(signals[column], 0.0)
        return out

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the windows from `starts` on as float32, (len(starts), win_sz, len(signals))."""
        arrays = [self._signal(path, name) for name in signals]
        out = np.empty((len(starts), win_sz, len(arrays)), np.float32)
        if not len(starts):
            return out
        window_starts(path, min(map(len, arrays)), starts, win_sz)
        for column, array in enumerate(arrays):
            views = np.lib.stride_tricks.sliding_window_view(array, win_sz)
            out[:, :, column] = views[starts] - self._offsets.get(signals[column], 0.0)
        return out

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the scalars `names` of a record as float32, (len(names),)."""
        scalars = {name: x for name, x in self._records[path].items() if not x.ndim}
        for name in names:
            if name not in scalars:
                raise missing_signal(path, name, list(scalars), what="scalar")
        return np.array([scalars[name] for name in names], np.float32)

    def _signal(self, path: Path, name: str) -> HostArray:
        arrays = {n: x for n, x in self._records[path].items() if x.ndim}
        stem, colon, column = name.rpartition(":")
        if name in arrays and arrays[name].ndim == 1:
            return arrays[name]
        table = arrays.get(stem) if colon and column.isdecimal() else None
        if table is not None and table.ndim == 2 and int(column) < table.shape[1]:
            found: HostArray = table[:, int(column)]
            return found
        if name in arrays:
            raise MissingSignalError(
                f"{path}: {name!r} has the shape {arrays[name].shape}; name one column of it, such "
                f"as '{name}:0'.",
                path=path,
                signal=name,
            )
        raise missing_signal(path, name, [_describe(n, x) for n, x in arrays.items()])


def arrays_of(path: Path, record: Any) -> dict[str, HostArray]:
    """Return the arrays of a record by name; see `ArrayStore` for what is refused."""
    if isinstance(record, Mapping):
        values = dict(record)
    elif hasattr(record, "columns"):
        values = {str(name): record[name] for name in record.columns}
    else:
        raise ConfigError(
            f"dataset has a record of type {type(record).__name__}; give a mapping from names to "
            'arrays, such as {"u": u, "y": y}, or a data frame.',
            key="dataset",
        )
    return {str(name): _numbers(path, str(name), value) for name, value in values.items()}


def _numbers(path: Path, name: str, value: Any) -> HostArray:
    array = np.asarray(value)
    if array.dtype.kind == "M":
        # Nanoseconds since 1970, which are noticed as such.
        array = array.astype("datetime64[ns]").astype(np.int64)
    if array.dtype.kind in "OSU":
        # Columns of text may stand in a table as long as they are not asked for.
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            return np.empty((0, 0))
    if array.dtype.kind not in "biuf" or array.ndim > 2:
        raise UnsupportedDatasetError(
            f"{path}: {name!r} is an array of {array.dtype} with the shape {array.shape}; give "
            "real numbers, (time,) or (time, n), or one number for a scalar.",
            path=path,
            signal=name,
        )
    return array


def _describe(name: str, array: HostArray) -> str:
    return name if array.ndim == 1 else listing(f"{name}:{i}" for i in range(array.shape[1]))
