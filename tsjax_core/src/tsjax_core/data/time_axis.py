"""Times of the samples of a record: their unit, their sampling time, and gaps between them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tsjax_core.data.checks import listing
from tsjax_core.errors import DataError
from tsjax_core.types import HostArray

UNITS = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
"""Units of time, in seconds."""

T = TypeVar("T")

_CALLED_TIME = {
    "time",
    "times",
    "timestamp",
    "timestamps",
    "time_stamp",
    "datetime",
    "date_time",
    "elapsed_time",
    "zeit",
    "zeitstempel",
}
_MAYBE_TIME = {"t", "ts", "sec", "secs", "seconds", "date", "datum", "epoch", "clock", "elapsed"}

_EPOCHS = {"s": 0.8e9, "ms": 0.8e12, "us": 0.8e15, "ns": 0.8e18}
"""Numbers of 1995 in each unit, counted from 1970. Five times as much is in the year 2096."""

_LATER = 5.0
_LONGEST_STEP = 60.0
"""Seconds between samples beyond which stamps are rather the time since a start than a date."""

_GAP = 1.5
"""Usual steps beyond which a step is a gap."""

_MOST_GAPS = 0.02
"""Share of the steps that may be gaps; with more, the times are uneven."""

_OFF = 0.25
"""Steps by which a time may be off an even grid."""

_LONG_GAP = 10.0
"""Usual steps beyond which uneven times have a gap."""


@dataclass(frozen=True)
class TimeAxis:
    """Sampling time of a record in seconds, and its stretches without a gap, as rows.

    `dt` is None for a record of one sample. `gaps` has the last row before each gap, counted from
    1, and its length in seconds.
    """

    dt: float | None
    stretches: tuple[tuple[int, int], ...]
    gaps: tuple[tuple[int, float], ...] = ()


def unit_of(name: str) -> str | None:
    """Return the unit in which a time is by its name: "t [ms]", "time_us", "Time (s)"."""
    found = re.search(r"(?:[\[(]\s*|_)(ns|us|µs|ms|s|min|h|d)\s*[\])]?\s*$", name)
    return found.group(1) if found else None


def time_rank(name: str) -> int:
    """Return 2 for a name that only times have, 1 for one that may be of a time, else 0."""
    plain = re.sub(r"\s*[\[(].*[\])]\s*$|_(ns|us|µs|ms|s|min|h|d)$", "", name.strip().lower())
    plain = re.sub(r"[\s/.-]+", "_", plain.lstrip("# "))
    if plain in _CALLED_TIME:
        return 2
    return 1 if plain in _MAYBE_TIME or plain.endswith("_time") else 0


def notice_time(names: Iterable[str], measure: Callable[[str], T | None]) -> T | None:
    """Return what `measure` gives for the name that is most like that of a time, else None.

    A name for which it gives None is passed over. An error is raised for a name that only times
    have; of another one it means that it is a signal.
    """
    for name in sorted(names, key=lambda each: -time_rank(each.rpartition("/")[2])):
        rank = time_rank(name.rpartition("/")[2])
        if not rank:
            break
        try:
            found = measure(name)
        except DataError:
            if rank > 1:
                raise
            continue
        if found is not None:
            return found
    return None


def seconds_of(stamps: HostArray, unit: str | None) -> tuple[HostArray, float, bool]:
    """Return times after the first stamp and the first stamp, in seconds.

    Without a unit, large numbers are dates, counted from 1970 in the unit that makes one of these
    years of them, and others are seconds. The last value returned says whether it is a date.
    """
    first = stamps[0] if len(stamps) else 0
    # Whole numbers are subtracted as such: those of a clock are beyond the precision of floats.
    after = np.asarray(stamps - first, np.float64)
    guessed = False
    if unit is None:
        guesses = [name for name, low in _EPOCHS.items() if low <= float(first) < _LATER * low]
        unit, guessed = (guesses[0], True) if guesses else ("s", False)
    return after * UNITS[unit], float(first) * UNITS[unit], guessed


def parse_times(texts: Sequence[str]) -> HostArray | None:
    """Return dates or times of day as seconds after the first, None where they are neither.

    Of two orders of day and month, the one that gives the shorter steps is taken. Times of day go
    on over midnight.
    """
    import pandas as pd

    cleaned = pd.Series([re.sub(r",(\d+)\s*$", r".\1", text.strip()) for text in texts])
    if cleaned.str.fullmatch(r"\d{1,3}:\d{2}:\d{2}(\.\d+)?").all():
        seconds = pd.to_timedelta(cleaned).dt.total_seconds().to_numpy(np.float64)
        days = np.cumsum(np.diff(seconds, prepend=seconds[0]) < -0.5 * UNITS["d"])
        return np.asarray(seconds + days * UNITS["d"] - seconds[0])
    found = []
    readings: list[dict[str, Any]] = [
        {"format": "ISO8601"},
        {"dayfirst": False},
        {"dayfirst": True},
    ]
    for options in readings:
        stamps = _parse_dates(cleaned, options)
        if stamps is not None:
            found.append(np.asarray(stamps - stamps[0], np.float64) * 1e-9)
        if found and "format" in options:
            break
    if not found:
        return None
    return min(found, key=lambda times: float(np.abs(np.diff(times)).max(initial=0.0)))


def _parse_dates(texts: object, options: dict[str, Any]) -> HostArray | None:
    import warnings

    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parsed: Any = pd.to_datetime(texts, utc=True, **options)
        except (ValueError, OverflowError):
            return None
    stamps: HostArray = parsed.dt.tz_convert(None).to_numpy("datetime64[ns]").astype(np.int64)
    return stamps


def measure_time(path: Path, name: str, times: HostArray, begin: float = 0.0) -> TimeAxis:
    """Return the sampling time of `times` in s, which count from `begin`, and their gaps.

    Stamps that scatter about an even grid by a quarter of a step at most are those of even
    samples. The sampling time, or the rate, is the roundest number within the uncertainty that the
    scatter leaves: twice the largest deviation, over the longest stretch.

    Raises:
        DataError: Times are missing, do not grow, or are neither even nor even with some gaps.
    """
    require_growing(path, name, times, begin)
    if len(times) < 2:
        return TimeAxis(None, ((0, len(times)),))
    steps = np.diff(times)
    usual = float(np.median(steps))
    breaks = np.flatnonzero(steps > _GAP * usual)
    if len(breaks) > max(1.0, _MOST_GAPS * len(steps)):
        row = int(breaks[0])
        raise _uneven(
            path,
            name,
            f"{len(breaks)} of {len(steps)} steps are longer than "
            f"{_GAP:g} times the usual one of {usual:.6g} s, the first after row "
            f"{row + 1}",
        )
    bounds = [0, *(breaks + 1).tolist(), len(times)]
    stretches = tuple(itertools.pairwise(bounds))
    dt, off = _fit_grid(times, stretches)
    worst = int(np.argmax(np.abs(off)))
    if abs(off[worst]) > _OFF * dt:
        raise _uneven(
            path,
            name,
            f"row {worst + 1} is at {begin + times[worst]:.9g} s, {abs(off[worst]):.3g} s off an "
            f"even grid of {dt:.6g} s (allowed: {_OFF:g} steps)",
        )
    longest = max(stop - start for start, stop in stretches)
    uncertainty = 2.0 * abs(float(off[worst])) / max(1, longest - 1)
    gaps = tuple((int(row) + 1, float(steps[row])) for row in breaks)
    return TimeAxis(round_within(dt, uncertainty), stretches, gaps)


def require_growing(path: Path, name: str, times: HostArray, begin: float = 0.0) -> None:
    """Raise DataError unless there is a time for each row, later than that of the row before."""
    where = f"{path}, column {name!r}"
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0]) + 1
        raise DataError(
            f"{where}: row {row} has no time. Take the row out, or {_WITHOUT}.",
            path=path,
            signal=name,
        )
    steps = np.diff(times)
    if len(steps) and times[-1] <= times[0]:
        raise DataError(
            f"{where}: time goes from {begin:.9g} s to {begin + times[-1]:.9g} s; it must grow. "
            f"If it is no time, {_WITHOUT}.",
            path=path,
            signal=name,
        )
    if (steps <= 0.0).any():
        row = int(np.flatnonzero(steps <= 0.0)[0])
        what = "the same time as" if steps[row] == 0.0 else "an earlier time than"
        raise DataError(
            f"{where}: row {row + 2} has {what} row {row + 1}, {begin + times[row]:.9g} s; time "
            f"must grow from row to row. Correct the rows, or {_WITHOUT}.",
            path=path,
            signal=name,
        )


def refuse_gaps(path: Path, name: str, axis: TimeAxis) -> None:
    """Raise DataError where `axis` has a gap."""
    if not axis.gaps:
        return
    each = listing((f"gap of {length:.6g} s after row {row}" for row, length in axis.gaps), shown=3)
    raise DataError(
        f"{path}, column {name!r}: {each}, at a sampling time of {axis.dt:.6g} s. Give gaps = "
        f"'split', which makes a record of each stretch, or {_WITHOUT}.",
        path=path,
        signal=name,
    )


def require_plausible(path: Path, name: str, axis: TimeAxis, *, guessed: bool) -> None:
    """Raise DataError where large numbers that look like dates give steps of minutes."""
    if guessed and axis.dt is not None and axis.dt > _LONGEST_STEP:
        raise DataError(
            f"{path}, column {name!r}: read as dates counted from 1970, the samples are "
            f"{axis.dt:.6g} s apart. Give time_unit, the unit of the numbers: "
            f"{', '.join(UNITS)}.",
            path=path,
            signal=name,
        )


def interpolate_evenly(
    path: Path, name: str, times: HostArray, columns: HostArray, rate: float
) -> HostArray:
    """Return `columns` (n, rows) at times k / `rate` after the first, linear between its rows.

    Raises:
        DataError: Times do not grow, or have a gap, over which nothing is known.
    """
    require_growing(path, name, times)
    steps = np.diff(times)
    if len(steps) and steps.max() > _LONG_GAP * np.median(steps):
        row = int(np.argmax(steps))
        raise DataError(
            f"{path}, column {name!r}: gap of {steps[row]:.6g} s after row {row + 1}, where the "
            f"usual step is {np.median(steps):.6g} s. Cut the file there.",
            path=path,
            signal=name,
        )
    # Rounding must not take the last sample away.
    grid = np.arange(int(np.floor(times[-1] * rate * (1 + 1e-12) + 1e-9)) + 1) / rate
    return np.stack([np.interp(grid, times, column) for column in columns])


def round_within(value: float, uncertainty: float) -> float:
    """Return the number of the fewest digits within `uncertainty` of `value`, or its inverse's."""
    for digits in range(1, 17):
        for inverse in (False, True):
            x = 1.0 / value if inverse else value
            rounded = float(f"{x:.{digits - 1}e}")
            near = 1.0 / rounded if inverse else rounded
            if abs(near - value) <= max(uncertainty, 4.0 * np.spacing(value)):
                return near
    return value


_WITHOUT = "give time = '' and dt, to go without the column"


def _uneven(path: Path, name: str, how: str) -> DataError:
    return DataError(
        f"{path}, column {name!r}: times are uneven: {how}. Give target_fs with resample = "
        f"'linear', which interpolates between the rows at their times, or {_WITHOUT}.",
        path=path,
        signal=name,
    )


def _fit_grid(times: HostArray, stretches: Sequence[tuple[int, int]]) -> tuple[float, HostArray]:
    """Return the common step of all stretches by least squares, and how far each time is off."""
    products = squares = 0.0
    centred = []
    for start, stop in stretches:
        index = np.arange(stop - start, dtype=np.float64)
        index -= index.mean()
        part = times[start:stop] - times[start:stop].mean()
        products += float(index @ part)
        squares += float(index @ index)
        centred.append((index, part))
    dt = products / squares if squares else float(np.median(np.diff(times)))
    return dt, np.concatenate([part - dt * index for index, part in centred])
