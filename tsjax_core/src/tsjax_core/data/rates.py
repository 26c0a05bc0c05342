"""Statements of a sampling time or rate, which must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.data.time_axis import TimeAxis
from tsjax_core.errors import DataError

DT_TOLERANCE = 1e-3
"""Relative difference below which two sampling times count as one: clocks and rounding differ."""

_TIMES = {
    "dt",
    "ts",
    "sampling_time",
    "sample_time",
    "sampling_interval",
    "sample_interval",
    "sampling_period",
    "sample_period",
}
_RATES = {
    "fs",
    "rate",
    "sampling_rate",
    "sample_rate",
    "samplerate",
    "samplingrate",
    "sampling_frequency",
    "sample_frequency",
}


@dataclass(frozen=True)
class Statement:
    """A sampling time in s, and where it is stated."""

    where: str
    dt: float


def is_rate_name(name: str) -> bool:
    """Return whether a number of this name is a sampling time or rate."""
    return name.lower() in _TIMES | _RATES


def read_statement(path: Path, where: str, key: str, value: Any) -> Statement:
    """Return the statement of the number `value`, called `key`, a time in s or a rate in Hz.

    Raises:
        DataError: It is not one finite number above 0.
    """
    values = np.asarray(value).reshape(-1)
    number = float(values[0]) if values.size == 1 and values.dtype.kind in "iufb" else np.nan
    if not (np.isfinite(number) and number > 0.0):
        shown = value.item() if isinstance(value, np.generic) else value
        raise DataError(
            f"{path}: {where} is {shown}; a sampling time (s) or rate (Hz) is one finite number "
            "above 0.",
            path=path,
            signal=key,
        )
    is_time = key.lower() in _TIMES
    return Statement(f"{where} = {number:.9g}", number if is_time else 1.0 / number)


def combine_statements(
    path: Path, stated: Sequence[Statement], times: tuple[str, TimeAxis] | None
) -> TimeAxis | None:
    """Return the sampling that all statements and the times of a record agree on.

    Raises:
        DataError: They contradict each other.
    """
    every = list(stated)
    axis = None
    if times is not None:
        name, axis = times
        if axis.dt is not None:
            every.append(Statement(f"{name!r}", axis.dt))
    if not every:
        return axis
    first = every[0]
    for other in every[1:]:
        if abs(other.dt / first.dt - 1.0) > DT_TOLERANCE:
            raise DataError(
                f"{path}: its statements of the sampling contradict each other: {first.where}, "
                f"which is dt = {first.dt:.9g} s, and {other.where}, which is dt = "
                f"{other.dt:.9g} s. Correct or remove one of them; time = '' leaves times of "
                "samples out.",
                path=path,
            )
    if axis is None:
        return TimeAxis(first.dt, ())
    return TimeAxis(first.dt, axis.stretches, axis.gaps)
