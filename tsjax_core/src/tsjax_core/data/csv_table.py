"""One CSV file as columns of numbers, and what is wrong with it where it is not."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsjax_core.data.checks import missing_signal
from tsjax_core.errors import DataError, UnreadableFileError, UnsupportedDatasetError
from tsjax_core.types import HostArray

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
"""Units of a column of time, in seconds."""

_TIME_TOLERANCE = 0.1
_OTHER_DELIMITERS = (";", "\t", "|", ",")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file: `values` is (columns, rows) as float32, `dt` in seconds.

    `bad` has, for each column that does not hold numbers throughout, the line and the text of its
    first cell that is not one.
    """

    names: tuple[str, ...]
    values: HostArray
    bad: dict[str, tuple[int, str]]
    dt: float | None

    @property
    def nbytes(self) -> int:
        """Memory that the values take."""
        return int(self.values.nbytes)

    @property
    def length(self) -> int:
        """Rows below the first line."""
        return int(self.values.shape[1])

    def column(self, path: Path, name: str) -> HostArray:
        """Return the column `name`, (rows,), which is one of `names`.

        Raises UnsupportedDatasetError where a cell of it is not a number.
        """
        _require_numbers(path, name, self.bad)
        column: HostArray = self.values[self.names.index(name)]
        return column


def read_table(
    path: Path,
    delimiter: str,
    time: str | None,
    *,
    time_unit: str | None = None,
    allow_empty: bool = False,
) -> Table:
    """Parse `path`, with `time` as the column that gives the sampling time.

    Without `time_unit`, the unit is the one at the end of the column's name, seconds without one.
    With `allow_empty`, an empty cell is a missing sample, NaN. Empty rows at the end are no rows.

    Raises UnreadableFileError, and MissingSignalError or DataError for the column of time.
    """
    try:
        names = _header(path, delimiter)
        try:
            values, bad = _parse_fast(path, delimiter), dict[str, tuple[int, str]]()
            if values.shape[1] != len(names):
                raise ValueError  # noqa: TRY301
        except UnicodeDecodeError:
            raise
        except ValueError:
            values, bad = _parse_slowly(path, delimiter, names, allow_empty=allow_empty)
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: there is no such file.", path=path) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as CSV text in UTF-8: {error}.", path=path
        ) from error
    dt = None
    if time is not None:
        if time not in names:
            raise missing_signal(path, time, names, what="column of time")
        _require_numbers(path, time, bad)
        unit = time_unit or unit_of(time)
        # Stamps of a clock are large: what is left after the first has the file's precision.
        stamps = values[:, names.index(time)]
        dt = _even_dt(path, time, (stamps - stamps[0]) * UNITS[unit], stamps[0] * UNITS[unit])
    # A value beyond float32 becomes infinite, which the statistics report with its place.
    with np.errstate(over="ignore", invalid="ignore"):
        columns = np.ascontiguousarray(values.T, np.float32)
    return Table(names, columns, bad, dt)


def _header(path: Path, delimiter: str) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = tuple(cell.strip() for cell in next(csv.reader(file, delimiter=delimiter), ()))
        has_rows = any(line.strip() for line in file)
    if not any(names):
        raise _unreadable(path, "the first line is empty; it names the columns.", line=1)
    if all(_is_number(name) for name in names):
        raise _unreadable(
            path,
            f"the first line holds numbers ({', '.join(names[:3])}); it names the columns, such as "
            f"'u{delimiter}y'. Add such a line.",
            line=1,
        )
    other = next((each for each in _OTHER_DELIMITERS if len(names) == 1 and each in names[0]), None)
    if other is not None:
        raise _unreadable(
            path,
            f"one column named {names[0]!r} with the delimiter {delimiter!r}; "
            f"give delimiter={other!r} if that is what separates its cells.",
            line=1,
        )
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise _unreadable(path, f"two columns are named {twice[0]!r}; rename one.", line=1)
    if not has_rows:
        raise _unreadable(path, "there are names and no rows below them.", line=1)
    return names


def _parse_fast(path: Path, delimiter: str) -> HostArray:
    return np.loadtxt(
        path,
        delimiter=delimiter,
        skiprows=1,
        ndmin=2,
        comments=None,
        quotechar='"',
        encoding="utf-8-sig",
    )


def _parse_slowly(
    path: Path, delimiter: str, names: tuple[str, ...], *, allow_empty: bool
) -> tuple[HostArray, dict[str, tuple[int, str]]]:
    rows: list[list[float]] = []
    bad: dict[str, tuple[int, str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        waiting: list[tuple[int, list[str]]] = []
        for line, cells in ((reader.line_num, cells) for cells in reader):
            if not cells:
                continue
            # Programs of tables write rows of empty cells behind the last one.
            waiting.append((line, cells))
            if not any(cell.strip() for cell in cells):
                continue
            for number, row in waiting:
                rows.append(_parse_row(path, number, row, names, bad, allow_empty=allow_empty))
            waiting = []
    return np.array(rows, np.float64).reshape(len(rows), len(names)), bad


def _parse_row(
    path: Path,
    line: int,
    cells: list[str],
    names: tuple[str, ...],
    bad: dict[str, tuple[int, str]],
    *,
    allow_empty: bool,
) -> list[float]:
    """Return the numbers of a row, NaN where there is none; `bad` gets the first of each column."""
    if len(cells) != len(names):
        raise _unreadable(
            path,
            f"{len(cells)} cells and {len(names)} columns ({', '.join(names)}). "
            "Give every row one cell per column.",
            line=line,
        )
    row = []
    for name, cell in zip(names, cells, strict=True):
        try:
            row.append(float(cell))
        except ValueError:
            row.append(np.nan)
            if allow_empty and not cell.strip():
                continue
            bad.setdefault(name, (line, cell))
    return row


def unit_of(name: str) -> str:
    """Return the unit in which a column of time is by its name: "t [ms]", "time_us", "Time (s)"."""
    found = re.search(r"(?:[\[(]\s*|_)(ns|us|µs|ms|s|min|h)\s*[\])]?\s*$", name)
    return found.group(1) if found else "s"


def _even_dt(path: Path, name: str, times: HostArray, begin: float) -> float | None:
    """Return the step of `times` in s, which count from the time `begin`."""
    if len(times) == 1:
        return None
    dt = float(times[-1] - times[0]) / (len(times) - 1)
    if not (np.isfinite(dt) and dt > 0):
        raise DataError(
            f"{path}, column {name!r}: time goes from {begin:.9g} s to "
            f"{begin + times[-1]:.9g} s; it must grow.",
            path=path,
            signal=name,
        )
    away = np.abs(times - (times[0] + dt * np.arange(len(times))))
    worst = int(np.argmax(np.where(np.isnan(away), np.inf, away)))
    if not away[worst] <= _TIME_TOLERANCE * dt:
        raise DataError(
            f"{path}, column {name!r}: times are uneven. Row {worst + 1} is at "
            f"{begin + times[worst]:.6g} s, and {len(times)} even steps of {dt:.6g} s put it at "
            f"{begin + worst * dt:.6g} s "
            f"(allowed: {_TIME_TOLERANCE:g} steps off). Resample the signals to an even grid, or "
            "leave the column of time out and give dt.",
            path=path,
            signal=name,
        )
    return dt


def _require_numbers(path: Path, name: str, bad: dict[str, tuple[int, str]]) -> None:
    if name not in bad:
        return
    line, cell = bad[name]
    if not cell.strip():
        problem = "the cell is empty; write nan where a sample is missing."
    elif "," in cell and _is_number(cell.replace(",", ".")):
        problem = f"{cell!r} is not a number; write decimals with a point."
    else:
        problem = f"{cell!r} is not a number."
    raise UnsupportedDatasetError(
        f"{path}, line {line}, column {name!r}: {problem}", path=path, signal=name
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _unreadable(path: Path, problem: str, *, line: int) -> UnreadableFileError:
    return UnreadableFileError(f"{path}, line {line}: {problem}", path=path)
