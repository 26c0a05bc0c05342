"""How a text file of numbers is written: encoding, delimiter, decimal sign, first lines.

All of it is noticed from the text, unless it is given. The reading that makes most cells numbers
and has as many names as columns is taken.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsjax_core.errors import UnreadableFileError

DELIMITERS = (",", ";", "\t", "|", " ")
"""Characters between cells that are noticed; a space stands for any run of blanks."""

DECIMALS = (".", ",")

_WORDS = r"[+-]?(nan|inf|infinity)"
_NUMBERS = {
    ".": re.compile(rf"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|{_WORDS}", re.IGNORECASE),
    ",": re.compile(rf"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?|{_WORDS}", re.IGNORECASE),
}
_MOMENT = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?|\d{1,3}:\d{2}:\d{2}([.,]\d+)?Z?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_UNIT = re.compile(
    r"[\[(]\s*[^\[\]()]*[\])]|[-%‰#]|°[CF]?|ppm|dB|"
    r"(1/)?[µumkMGndcp]?(s|V|A|W|m|g|N|Nm|Hz|Pa|bar|K|C|F|J|Ohm|Ω|H|T|rad|deg|Grad|l|L|h|min|rpm|U"
    r"|rev|VA|VAR|Wh|bit)([*/·^0-9][0-9a-zA-ZµΩ°^*/·-]*|[²³])?"
)
_LONGEST_UNIT = 12

_LIKELY = 0.3
"""Share of numbers among the cells from which on a reading with several columns is likely."""

_HEAD = 300
_SPREAD = 200


@dataclass(frozen=True)
class Dialect:
    """How one file is written.

    `first` is the line of the first row of the table, counted from 1. `names` are those of the
    columns, their numbers where the file has none; `units` has a text for each of them, empty where
    nothing is said.
    """

    delimiter: str
    decimal: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    first: int
    has_names: bool


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1252, with plain line ends.

    Raises:
        UnreadableFileError: There is no such file, or it is no text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: there is no such file.", path=path) from error
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read: {error}.", path=path) from error
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            encodings: tuple[str, ...] = (encoding,)
            break
    else:
        encodings = ("utf-8", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise UnreadableFileError(
        f"{path}: is no text in UTF-8, UTF-16 or Windows-1252. Check that it is a CSV file and was "
        "copied to its end.",
        path=path,
    )


def split_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line of each row, counted from 1, and its cells; none for an empty line.

    A quoted cell that goes over several lines has the number of its last line.
    """
    lines = io.StringIO(text, newline="")
    if delimiter == " ":
        yield from ((number, line.split()) for number, line in enumerate(lines, 1))
        return
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        yield reader.line_num, [cell.strip() for cell in cells]


def is_number(cell: str, decimal: str = ".") -> bool:
    """Return whether a cell is one number."""
    return _NUMBERS[decimal].fullmatch(cell) is not None


def find_dialect(
    path: Path,
    text: str,
    *,
    delimiter: str | None = None,
    decimal: str | None = None,
    skip_rows: int | None = None,
) -> Dialect:
    """Return how `text` is written, as far as it is not given.

    Args:
        path: The file, for messages.
        text: All of it.
        delimiter: The character between two cells, a space for any run of blanks.
        decimal: The decimal sign, a point or a comma.
        skip_rows: Lines above the names of the columns.

    Raises:
        UnreadableFileError: There is no table of numbers, its names do not fit it, or its numbers
            could be read in two ways.
    """
    if not text.strip():
        raise UnreadableFileError(f"{path}: is empty.", path=path)
    head, spread = _sample(text, skip_rows or 0)
    found: list[tuple[tuple[bool, bool, float, int], _Reading]] = []
    for one in DELIMITERS if delimiter is None else (delimiter,):
        for sign in DECIMALS if decimal is None else (decimal,):
            reading = _read_as(head, spread, one, sign, skip_rows or 0)
            if reading is not None:
                found.append((reading.rank, reading))
    best = max(found, key=lambda each: each[0], default=None)
    if best is None or best[1].share == 0.0:
        raise _no_table(path, head, delimiter)
    reading = best[1]
    if decimal is None and reading.decimal == "," and reading.delimiter != ",":
        _refuse_thousands(path, reading)
    return reading.dialect(path)


@dataclass(frozen=True)
class _Reading:
    """A file as it would be with one delimiter and decimal sign."""

    delimiter: str
    decimal: str
    rows: list[tuple[int, list[str]]]
    width: int
    share: float
    first: int
    above: list[tuple[int, list[str]]]
    empty_end: bool

    @property
    def fits(self) -> bool:
        """Whether there are names for the columns, or nothing above the numbers."""
        return not self.above or self.names_of(self.above[-1][1]) is not None

    @property
    def rank(self) -> tuple[bool, bool, float, int]:
        """What is larger for a reading that is more likely."""
        several = self.width > 1 and self.share >= _LIKELY
        return self.fits, several, round(self.share, 2), self.width

    def names_of(self, cells: list[str]) -> tuple[str, ...] | None:
        """Return a row above the numbers as names of all columns, None where it is not."""
        row = list(cells)
        if len(row) > self.width and row[0] in ("#", "%"):
            row = row[1:]
        while len(row) > self.width and not row[-1]:
            row.pop()
        if len(row) == self.width - 1 and self.empty_end:
            row.append("")
        return tuple(row) if len(row) == self.width and any(row) else None

    def dialect(self, path: Path) -> Dialect:
        """Return the dialect; UnreadableFileError where the names do not fit the columns."""
        first, above = self.first, self.above
        line, cells = next((line, cells) for line, cells in self.rows if line == first)
        counted = [str(number) for number in range(self.width)]
        numbers = [cell for cell in cells if cell]
        is_count = self.width > 1 and (
            numbers in (counted, counted[:-1]) or numbers == [str(n + 1) for n in range(self.width)]
        )
        if not above and is_count and len(self.rows) > 1:
            # Programs number columns that have no names.
            names, units = tuple(cells), ("",) * self.width
            return Dialect(self.delimiter, self.decimal, names, units, line + 1, has_names=True)
        names_row = self.names_of(above[-1][1]) if above else None
        if names_row is None:
            if above and len([cell for cell in above[-1][1] if cell]) > 1:
                listed = ", ".join(above[-1][1])
                raise UnreadableFileError(
                    f"{path}, line {first}: {self.width} cells and {len(above[-1][1])} columns "
                    f"({listed}). Give every row one cell per column.",
                    path=path,
                )
            units = ("",) * self.width
            plain = tuple(counted)
            return Dialect(self.delimiter, self.decimal, plain, units, first, has_names=False)
        units = ("",) * self.width
        over = self.names_of(above[-2][1]) if len(above) > 1 else None
        if over is not None and all(over) and _are_units(names_row):
            names_row, units = over, tuple(cell.strip("[]() ") for cell in names_row)
        _refuse_twice(path, names_row, above[-1][0])
        return Dialect(self.delimiter, self.decimal, names_row, units, first, has_names=True)


def _sample(text: str, skip: int) -> tuple[str, list[str]]:
    """Return the first lines, and single lines spread over the rest."""
    lines = io.StringIO(text, newline="")
    for _ in range(skip):
        lines.readline()
    begin = lines.tell()
    head = "".join(line for _, line in zip(range(_HEAD), lines, strict=False))
    rest = begin + len(head)
    spread = []
    for number in range(_SPREAD):
        at = text.find("\n", rest + (len(text) - rest) * number // _SPREAD)
        end = text.find("\n", at + 1)
        if 0 <= at < end:
            spread.append(text[at + 1 : end])
    return head, spread if rest < len(text) else []


def _read_as(
    head: str, spread: Sequence[str], delimiter: str, decimal: str, skip: int
) -> _Reading | None:
    """Return how the sample reads with one delimiter and decimal sign, None where it does not."""
    try:
        rows = [(line + skip, cells) for line, cells in split_rows(head, delimiter) if any(cells)]
        later = [cells for line in spread for _, cells in split_rows(line, delimiter) if any(cells)]
    except csv.Error:
        return None
    if not rows:
        return None
    # The beginning may be other text.
    tail = [cells for _, cells in rows[len(rows) // 2 :]] + later
    late, every = Counter(map(len, tail)), Counter(len(cells) for _, cells in rows)
    width = max(late, key=lambda each: (late[each], every[each]))
    whole = [cells for cells in tail if len(cells) == width]
    filled = sum(1 for cells in tail for cell in cells if cell)
    counts = [sum(_is_value(cells[j], decimal) for cells in whole) for j in range(width)]
    given = [sum(1 for cells in whole if cells[j]) for j in range(width)]
    share = sum(counts) / filled if filled else 0.0
    numeric = [j for j in range(width) if counts[j] and counts[j] >= 0.5 * given[j]]
    at = next(
        (
            number
            for number, (_, cells) in enumerate(rows)
            if len(cells) == width
            and any(cells[j] for j in numeric)
            and all(not cells[j] or _is_value(cells[j], decimal) for j in numeric)
        ),
        None,
    )
    if at is None or not numeric:
        return None
    return _Reading(
        delimiter, decimal, rows, width, share, rows[at][0], rows[:at], empty_end=not given[-1]
    )


def _is_value(cell: str, decimal: str) -> bool:
    return is_number(cell, decimal) or _MOMENT.fullmatch(cell) is not None


def _are_units(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell]
    known = sum(_UNIT.fullmatch(cell) is not None for cell in given)
    return 2 * known >= len(given) and all(len(cell) <= _LONGEST_UNIT for cell in given)


def _refuse_thousands(path: Path, reading: _Reading) -> None:
    """Raise UnreadableFileError where commas may also stand between thousands."""
    with_comma = [
        (line, cell)
        for line, cells in reading.rows
        if line >= reading.first
        for cell in cells
        if "," in cell and is_number(cell, ",")
    ]
    if with_comma and all(_THOUSANDS.fullmatch(cell) for _, cell in with_comma):
        line, cell = with_comma[0]
        raise UnreadableFileError(
            f"{path}, line {line}: {cell!r} may be {cell.replace(',', '.')} or "
            f"{cell.replace(',', '')}. Give decimal = ',' if the comma is the decimal sign; if it "
            "stands between thousands, write the numbers without it.",
            path=path,
        )


def _refuse_twice(path: Path, names: Sequence[str], line: int) -> None:
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise UnreadableFileError(
            f"{path}, line {line}: two columns are named {twice[0]!r}; rename one.", path=path
        )


def _no_table(path: Path, head: str, delimiter: str | None) -> UnreadableFileError:
    lines = [line for line in head.split("\n") if line.strip()]
    if len(lines) == 1:
        problem = "there are names and no rows below them."
        return UnreadableFileError(f"{path}, line 1: {problem}", path=path)
    other = next((each for each in DELIMITERS if each != delimiter and each in lines[-1]), None)
    advice = ""
    if delimiter is not None and delimiter not in lines[-1] and other is not None:
        advice = f" Leave delimiter out, or give delimiter = {other!r}."
    return UnreadableFileError(
        f"{path}: no column of numbers among the first {len(lines)} lines, of which the last is "
        f"{lines[-1][:60]!r}.{advice}",
        path=path,
    )
