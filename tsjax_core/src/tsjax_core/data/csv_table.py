"""One CSV file as columns of numbers, and what is wrong with it where it is not."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.data.checks import missing_signal
from tsjax_core.data.csv_dialect import (
    Dialect,
    find_dialect,
    is_number,
    read_text,
    split_rows,
)
from tsjax_core.data.rates import (
    Statement,
    combine_statements,
    is_rate_name,
    read_statement,
)
from tsjax_core.data.time_axis import (
    TimeAxis,
    interpolate_evenly,
    measure_time,
    notice_time,
    parse_times,
    refuse_gaps,
    require_plausible,
    seconds_of,
    unit_of,
)
from tsjax_core.errors import DataError, UnreadableFileError, UnsupportedDatasetError
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    import pandas as pd

_MISSING = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None"]


@dataclass(frozen=True)
class CSVOptions:
    """How CSV files are read; see `CSVStore`."""

    delimiter: str | None = None
    decimal: str | None = None
    skip_rows: int | None = None
    time: str | None = None
    time_unit: str | None = None
    gaps: str = "refuse"
    even_fs: float | None = None
    allow_empty: bool = False
    offsets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a file: `values` is (columns, rows) as float32.

    `bad` has, for each column that does not hold numbers throughout, the line and the text of its
    first cell that is not one. `time` is the column of time, if there is one, and `axis` what it
    says.
    """

    dialect: Dialect
    values: HostArray
    bad: dict[str, tuple[int, str]]
    time: str | None
    axis: TimeAxis | None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, those without a name as empty texts."""
        return self.dialect.names

    @property
    def nbytes(self) -> int:
        """Memory that the values take."""
        return int(self.values.nbytes)

    @property
    def length(self) -> int:
        """Rows of numbers."""
        return int(self.values.shape[1])

    def unit(self, name: str) -> str:
        """Return the unit of a column, empty where the file does not say."""
        return self.dialect.units[self.names.index(name)]

    def column(self, path: Path, name: str) -> HostArray:
        """Return the column `name`, (rows,), which is one of `names`.

        Raises UnsupportedDatasetError where a cell of it is not a number.
        """
        _require_numbers(path, name, self.bad)
        column: HostArray = self.values[self.names.index(name)]
        return column


def read_table(path: Path, options: CSVOptions) -> Table:
    """Parse `path`.

    Raises UnreadableFileError, and MissingSignalError or DataError for the column of time.
    """
    text = read_text(path)
    try:
        dialect = find_dialect(
            path,
            text,
            delimiter=options.delimiter,
            decimal=options.decimal,
            skip_rows=options.skip_rows,
        )
        lines = _find_rows(path, text, dialect)
    except csv.Error as error:
        raise UnreadableFileError(f"{path}: cannot be read as CSV: {error}.", path=path) from error
    frame = _parse(text, dialect, lines)
    numbers, bad = np.empty((len(dialect.names), len(lines))), dict[str, tuple[int, str]]()
    for place, name in enumerate(dialect.names):
        numbers[place], wrong = _numbers_of(frame[place])
        if wrong is not None:
            bad[name] = (lines[wrong[0]], wrong[1])
    if not options.allow_empty and np.isnan(numbers).any():
        _find_empty(text, dialect, set(lines), numbers, bad)
    time, axis, times = _find_time(path, frame, dialect, bad, options)
    stated = _find_rates(path, dialect, numbers) if options.time != "" else []
    for place, name in enumerate(dialect.names):
        numbers[place] -= options.offsets.get(name, 0.0)
    if time is not None and axis is None:
        assert options.even_fs is not None
        numbers = interpolate_evenly(path, time, times, numbers, options.even_fs)
        axis = TimeAxis(1.0 / options.even_fs, ((0, numbers.shape[1]),))
    elif stated:
        whole = TimeAxis(None, ((0, numbers.shape[1]),))
        axis = combine_statements(path, stated, (time or "time", axis or whole))
    # A value beyond float32 becomes infinite, which the statistics report with its place.
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(numbers, np.float32)
    return Table(dialect, values, bad, time, axis)


def _find_rows(path: Path, text: str, dialect: Dialect) -> array[int]:
    """Return the lines of the rows of numbers; UnreadableFileError for one of another width."""
    width, lines, last, before = len(dialect.names), array("q"), 0, 0
    for line, cells in split_rows(text, dialect.delimiter):
        jumped, before = line > before + 1, line
        if line < dialect.first or not any(cells):
            # A row of empty cells is one of missing samples, unless no other follows it.
            if line >= dialect.first and len(cells) == width and width > 1:
                lines.append(line)
            continue
        if jumped:
            raise _unreadable(
                path, "a quoted cell goes over several lines; write each row in one line.", line
            )
        if cells[0][:1] in ("#", "%") and not is_number(cells[0], dialect.decimal):
            continue
        if len(cells) != width:
            names = ", ".join(dialect.names)
            raise _unreadable(
                path,
                f"{len(cells)} cells and {width} columns ({names}). Give every row one cell per "
                "column.",
                line,
            )
        lines.append(line)
        last = len(lines)
    return lines[:last]


def _parse(text: str, dialect: Dialect, lines: array[int]) -> pd.DataFrame:
    import pandas as pd

    every = text.split("\n")
    first, last = lines[0], lines[-1]
    if last - first + 1 == len(lines):
        body = "\n".join(every[first - 1 : last])
    else:
        body = "\n".join(every[line - 1] for line in lines)
    del every
    return pd.read_csv(
        io.StringIO(body),
        sep=r"\s+" if dialect.delimiter == " " else dialect.delimiter,
        decimal=dialect.decimal,
        header=None,
        names=list(range(len(dialect.names))),
        index_col=False,
        skip_blank_lines=False,
        skipinitialspace=True,
        keep_default_na=False,
        na_values=_MISSING,
        low_memory=False,
        engine="c",
    )


def _numbers_of(column: pd.Series[Any]) -> tuple[HostArray, tuple[int, str] | None]:
    """Return a column as numbers, NaN where there is none, and the first cell that is a text."""
    import pandas as pd

    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64), None
    texts = column.astype("string").str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(numbers) & ~column.isna().to_numpy()
    if not wrong.any():
        return numbers, None
    row = int(np.argmax(wrong))
    return numbers, (row, str(texts.iloc[row]))


def _find_empty(
    text: str,
    dialect: Dialect,
    lines: set[int],
    numbers: HostArray,
    bad: dict[str, tuple[int, str]],
) -> None:
    """Add to `bad` the first empty cell of each column, where no text stands before it."""
    looked = [j for j in range(len(dialect.names)) if np.isnan(numbers[j]).any()]
    found: set[int] = set()
    for line, cells in split_rows(text, dialect.delimiter):
        if line not in lines:
            continue
        for j in looked:
            if j not in found and not (cells[j] if cells else ""):
                found.add(j)
                name = dialect.names[j]
                if name not in bad or line < bad[name][0]:
                    bad[name] = (line, "")
        if len(found) == len(looked):
            return


def _find_rates(path: Path, dialect: Dialect, numbers: HostArray) -> list[Statement]:
    """Return what columns such as `Ts` state that have one value, in all rows or in the first."""
    stated = []
    for place, name in enumerate(dialect.names):
        values = np.unique(numbers[place][~np.isnan(numbers[place])])
        if is_rate_name(name) and len(values) == 1 and 0.0 < values[0] < np.inf:
            stated.append(read_statement(path, f"column {name!r}", name, values[0]))
    return stated


def _find_time(
    path: Path,
    frame: pd.DataFrame,
    dialect: Dialect,
    bad: dict[str, tuple[int, str]],
    options: CSVOptions,
) -> tuple[str | None, TimeAxis | None, HostArray]:
    """Return the column of time and what it says; nothing is said of uneven times to be evened."""
    nothing = None, None, np.empty(0)
    if options.time == "":
        return nothing
    if options.time is not None:
        if options.time not in dialect.names:
            present = [name for name in dialect.names if name]
            raise missing_signal(path, options.time, present, what="column of time")
        return _measure(path, options.time, frame, dialect, bad, options)

    def measure(name: str) -> tuple[str, TimeAxis | None, HostArray] | None:
        # The date of one day says nothing.
        if _is_constant(frame[dialect.names.index(name)]):
            return None
        return _measure(path, name, frame, dialect, bad, options)

    return notice_time(dialect.names, measure) or nothing


def _is_constant(column: pd.Series[Any]) -> bool:
    """Return whether a column says nothing, such as that of the date of one day."""
    return len(column) == 0 or bool((column == column.iloc[0]).all())


def _measure(
    path: Path,
    name: str,
    frame: pd.DataFrame,
    dialect: Dialect,
    bad: dict[str, tuple[int, str]],
    options: CSVOptions,
) -> tuple[str, TimeAxis | None, HostArray]:
    place = dialect.names.index(name)
    column, begin, guessed = frame[place], 0.0, False
    if column.dtype.kind in "iuf" and len(column):
        unit = options.time_unit or unit_of(name) or unit_of(f"[{dialect.units[place]}]")
        times, begin, guessed = seconds_of(column.to_numpy(), unit)
    else:
        _require_filled(path, name, bad)
        parsed = parse_times([str(text) for text in column])
        if parsed is None:
            _require_numbers(path, name, bad, what="neither a number nor a date or time")
        assert parsed is not None
        times = parsed
    try:
        axis = measure_time(path, name, times, begin)
    except DataError:
        if options.even_fs is None:
            raise
        return name, None, times
    require_plausible(path, name, axis, guessed=guessed)
    if options.gaps == "refuse":
        refuse_gaps(path, name, axis)
    return name, axis, times


def _require_filled(path: Path, name: str, bad: dict[str, tuple[int, str]]) -> None:
    if name in bad and not bad[name][1]:
        _require_numbers(path, name, bad)


def _require_numbers(
    path: Path, name: str, bad: dict[str, tuple[int, str]], what: str = "not a number"
) -> None:
    if name not in bad:
        return
    line, cell = bad[name]
    if not cell:
        problem = (
            "the cell is empty. If the sample is missing, write nan, or give allow_nan = true, "
            "with which empty cells are missing samples."
        )
    elif is_number(cell, ","):
        problem = (
            f"{cell!r} is not a number with a decimal point; give decimal = ',' if the comma is "
            "the decimal sign."
        )
    else:
        problem = f"{cell!r} is {what}."
    raise UnsupportedDatasetError(
        f"{path}, line {line}, column {name!r}: {problem}", path=path, signal=name
    )


def _unreadable(path: Path, problem: str, line: int) -> UnreadableFileError:
    return UnreadableFileError(f"{path}, line {line}: {problem}", path=path)
