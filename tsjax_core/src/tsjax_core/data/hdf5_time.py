"""What an HDF5 file says of its sampling: rates in attributes and numbers, and times of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.data.checks import missing_signal
from tsjax_core.data.hdf5_layout import find_layout, signal_names
from tsjax_core.data.rates import (
    Statement,
    combine_statements,
    is_rate_name,
    read_statement,
)
from tsjax_core.data.time_axis import (
    TimeAxis,
    measure_time,
    notice_time,
    refuse_gaps,
    require_plausible,
    seconds_of,
    time_rank,
    unit_of,
)
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    import h5py

_UNIT_KEYS = ("unit", "units")


def read_axis(
    file: h5py.File,
    path: Path,
    signals: Sequence[str],
    *,
    time: str | None,
    time_unit: str | None,
    gaps: str,
) -> TimeAxis | None:
    """Return what `file` says of the sampling of `signals`, None where it says nothing.

    A rate is an attribute of the file, of a group that holds a signal, or of the signal's data set,
    or a data set of one number beside the signals or at the top. Times are the data set `time`, or
    unless given one that is called like a time, beside the signals or at the top, and has as many
    samples. An empty `time` stands for none.

    Raises:
        DataError: Statements contradict each other, or times are uneven, or have a gap while `gaps`
            is not split.
        MissingSignalError: There is no data set `time`.
    """
    times = _find_times(file, path, signals, time, time_unit)
    if times is not None and gaps != "split":
        refuse_gaps(path, *times)
    return combine_statements(path, list(_statements(file, path, signals)), times)


def read_unit(file: h5py.File, name: str) -> str:
    """Return the attribute unit or units of a data set, empty where there is none."""
    item = file.get(name) or file.get(name.rpartition(":")[0])
    for key in _UNIT_KEYS:
        value = item.attrs.get(key) if item is not None else None
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, str):
            return value
    return ""


def _places(signals: Sequence[str]) -> list[PurePosixPath]:
    """Return the groups that hold signals, and those above them, without the top."""
    places: dict[PurePosixPath, None] = {}
    for name in signals:
        for parent in PurePosixPath("/", name.rpartition(":")[0] or name).parents:
            if parent != PurePosixPath("/"):
                places[parent] = None
    return list(places)


def _statements(file: h5py.File, path: Path, signals: Sequence[str]) -> Iterator[Statement]:
    import h5py

    holders: list[tuple[str, Any]] = [("file attribute", file)]
    holders += [
        (f"attribute of {place.as_posix()!r},", file[place.as_posix()])
        for place in _places(signals)
        if place.as_posix() in file
    ]
    groups = [holder for _, holder in holders if isinstance(holder, h5py.Group)]
    for name in signals:
        base = name if name in file else name.rpartition(":")[0]
        item = file.get(base) if base else None
        if isinstance(item, h5py.Dataset):
            holders.append((f"attribute of {base!r},", item))
    for what, holder in holders:
        for key in holder.attrs:
            if is_rate_name(key):
                yield read_statement(path, f"{what} {key!r}", key, holder.attrs[key])
    for group in groups:
        for key in group:
            if not is_rate_name(key):
                continue
            item = group.get(key)
            if isinstance(item, h5py.Dataset) and item.size == 1 and item.dtype.kind in "iuf":
                yield read_statement(path, f"data set {item.name.lstrip('/')!r}", key, item[()])


def _find_times(
    file: h5py.File, path: Path, signals: Sequence[str], time: str | None, time_unit: str | None
) -> tuple[str, TimeAxis] | None:
    """Return the data set of times and what it says."""
    if time == "":
        return None
    if time is not None:
        places = ["", *(place.as_posix().strip("/") + "/" for place in _places(signals))]
        name = next((each + time for each in places if each + time in file), None)
        if name is None:
            raise missing_signal(path, time, signal_names(file), what="data set of times")
        return name, _measure(file, path, name, time_unit)
    length = _length(file, path, signals)

    def measure(name: str) -> tuple[str, TimeAxis] | None:
        if find_layout(file, path, name).length != length:
            return None
        return name, _measure(file, path, name, time_unit)

    return notice_time(_called_time(file, signals), measure)


def _length(file: h5py.File, path: Path, signals: Sequence[str]) -> int | None:
    names = list(signals) or signal_names(file)
    others = [name for name in names if not time_rank(name.rpartition("/")[2])]
    return find_layout(file, path, others[0]).length if others else None


def _called_time(file: h5py.File, signals: Sequence[str]) -> list[str]:
    """Return data sets that may hold times, beside the signals or at the top."""
    import h5py

    found: list[str] = []
    for place in ["/", *(place.as_posix() for place in _places(signals))]:
        group = file.get(place)
        if not isinstance(group, h5py.Group):
            continue
        for key in group:
            item = group.get(key) if time_rank(key) else None
            if isinstance(item, h5py.Dataset) and item.size and item.dtype.kind in "iuf":
                found.append(item.name.lstrip("/"))
    return list(dict.fromkeys(found))


def _measure(file: h5py.File, path: Path, name: str, time_unit: str | None) -> TimeAxis:
    find_layout(file, path, name)
    stamps: HostArray = np.asarray(file[name]).reshape(-1)
    stated = read_unit(file, name)
    unit = time_unit or unit_of(name) or (unit_of(f"[{stated}]") if stated else None)
    times, begin, guessed = seconds_of(stamps, unit)
    axis = measure_time(path, name, times, begin)
    require_plausible(path, name, axis, guessed=guessed)
    return axis
