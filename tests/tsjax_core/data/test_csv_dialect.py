"""Texts of numbers as programs write them, each with the numbers that they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tsjax_core import CSVStore, create_grain_dls
from tsjax_core.errors import UnreadableFileError, UnsupportedDatasetError

NUMBERS = np.random.default_rng(0).standard_normal((40, 2)).round(4)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def read(path, names=("u", "y"), **options):
    store = CSVStore([path], **options)
    return store, store.read_signals(path, list(names))


@pytest.mark.parametrize(
    "delimiter,decimal,header,quoted",
    [
        case
        for case in itertools.product((",", ";", "\t", "|", "  "), ".,", (True, False), (0, 1))
        if not (case[0] == "," and case[1] == "," and not case[3])
        if not (case[0] == "  " and case[3])
    ],
)
def test_delimiter_and_decimal_sign_are_noticed(tmp_path, delimiter, decimal, header, quoted):
    """In every pair that can be read in one way."""
    mark = '"' if quoted else ""
    rows = [
        delimiter.join(f"{mark}{x:.4f}{mark}".replace(".", decimal) for x in row) for row in NUMBERS
    ]
    path = write(tmp_path / "a.csv", "\n".join([*([f"u{delimiter}y"] * header), *rows]) + "\n")
    store, got = read(path, ("u", "y") if header else ("0", "1"))
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))
    print(store.describe(path))
    assert ("decimal comma" in store.describe(path)) == (decimal == ",")
    assert ("numbered from 0" in store.describe(path)) == (not header)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    """Names with letters beyond ASCII are read in each."""
    rows = [f"{a};{b}" for a, b in NUMBERS]
    path = write(tmp_path / "a.csv", end.join(["Drehmoment µ;Öl °C", *rows]) + end, encoding)
    _, got = read(path, ["Drehmoment µ", "Öl °C"])
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))


@pytest.mark.parametrize(
    "above",
    [
        "",
        "Logger 5\n",
        "# recorded by hand\n# second line\n\n",
        "Device;Model 5\nSerial;1234\nStart;2024-05-01 12:00\n\n",
    ],
)
@pytest.mark.parametrize(
    "units", ["", "V;rpm\n", "[V];[rpm]\n", ";m/s^2\n", "mA;1/min\n", "Nm;px\n"]
)
def test_lines_above_the_table_and_units(tmp_path, above, units):
    """Lines of other text are passed over, and a row of units is kept."""
    rows = "\n".join(f"{a};{b}" for a, b in NUMBERS)
    path = write(tmp_path / "a.csv", f"{above}u;y\n{units}{rows}\n")
    store, got = read(path)
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))
    assert store.signal_names(path) == ["u", "y"]
    wanted = [unit.strip("[]") for unit in units.strip("\n").split(";")] if units else ["", ""]
    assert [store.get_unit(path, name) for name in "uy"] == wanted


def test_units_reach_the_signals(tmp_path):
    """Of a data set, where they label figures, and of a saved model."""
    rows = "\n".join(f"{0.1 * n:.1f};{a};{b}" for n, (a, b) in enumerate(NUMBERS))
    path = write(tmp_path / "a.csv", f"t;u;y\ns;V;rpm\n{rows}\n")
    pipeline = create_grain_dls(["u"], ["y"], path, win_sz=4)
    assert dict(pipeline.signals.units) == {"u": "V", "y": "rpm"}
    assert pipeline.signals.dt == 0.1


def test_names_that_look_like_units_stay_names(tmp_path):
    """Without a row of names above them."""
    rows = "\n".join(f"{a},{b}" for a, b in NUMBERS)
    store, got = read(write(tmp_path / "a.csv", f"V,A\n{rows}\n"), ("V", "A"))
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))
    assert store.get_unit(tmp_path / "a.csv", "V") == ""


def test_numbers_as_names_of_columns(tmp_path):
    """As programs write frames without names; a first column of row numbers has none."""
    rows = "\n".join(f"{n},{a},{b}" for n, (a, b) in enumerate(NUMBERS))
    _, got = read(write(tmp_path / "a.csv", f",0,1\n{rows}\n"), ("0", "1"))
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))


def test_a_name_line_of_numpy(tmp_path):
    """Its first cell is the sign of a comment, and blanks are between the cells."""
    path = tmp_path / "a.txt"
    np.savetxt(path, NUMBERS, header="u y")
    _, got = read(path)
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))


def test_comments_and_text_columns_within(tmp_path):
    """A line of comment is no row, and a column of text no number."""
    rows = [f"{a},run {n % 3},{b}" for n, (a, b) in enumerate(NUMBERS)]
    rows.insert(7, "# restarted, by hand")
    rows.insert(20, "")
    path = write(tmp_path / "a.csv", "u,what,y\n" + "\n".join(rows) + "\n")
    store, got = read(path)
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))
    with pytest.raises(UnsupportedDatasetError, match="line 2, column 'what': 'run 0' is not a"):
        store.read_signals(path, ["what"])


def test_lines_are_those_of_the_file(tmp_path):
    """Whatever stands above and between the rows."""
    text = "Logger 5\n\nu,y\nV,m\n1,2\n# note\n\n3,x\n4,5\n6,7\n"
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(UnsupportedDatasetError, match="line 8, column 'y': 'x' is not a") as caught:
        read(path)
    print(caught.value)
    path = write(tmp_path / "b.csv", "Logger 5\n\nu,y\nV,m\n1,2\n# note\n\n3\n4,5\n6,7\n")
    with pytest.raises(UnreadableFileError, match="line 8: 1 cells and 2 columns") as caught:
        read(path)
    print(caught.value)


def test_skipped_rows(tmp_path):
    """Are those above the names, also where they look like a table."""
    rows = "\n".join(f"{a},{b}" for a, b in NUMBERS)
    path = write(tmp_path / "a.csv", f"p,q\n1,2\nu,y\n{rows}\n")
    _, got = read(path, skip_rows=2)
    np.testing.assert_array_equal(got, NUMBERS.astype(np.float32))


@pytest.mark.parametrize(
    "cell,value", [("0,500", 0.5), ("-12,125", -12.125), ("1234,5", 1234.5), ("7", 7.0)]
)
def test_commas_that_can_only_be_decimal_signs(tmp_path, cell, value):
    """A number of thousands has no such form, so that nothing is asked."""
    path = write(tmp_path / "a.csv", f"u;y\n0,5;{cell}\n2,25;{cell}\n")
    _, got = read(path)
    np.testing.assert_array_equal(got, [[0.5, value], [2.25, value]])


def test_a_given_decimal_sign_decides(tmp_path):
    """Where the text could be read in two ways."""
    path = write(tmp_path / "a.csv", "u;y\n1,234;2\n5,678;3\n")
    np.testing.assert_array_equal(read(path, decimal=",")[1], np.float32([[1.234, 2], [5.678, 3]]))
    with pytest.raises(UnsupportedDatasetError, match="'1,234' is not a number with a decimal"):
        read(path, decimal=".")


def test_numbers_are_those_of_python(tmp_path):
    """To the last bit, whatever their form."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.standard_normal(300) * 10.0 ** rng.integers(-30, 30, 300), [0.0]])
    texts = [repr(float(x)) for x in values]
    path = write(tmp_path / "a.csv", "u,y\n" + "\n".join(f"{t},{t}" for t in texts) + "\n")
    _, got = read(path)
    np.testing.assert_array_equal(got[:, 0], values.astype(np.float32))


def test_later_lines_decide_too(tmp_path):
    """A file that begins with whole numbers has its decimal commas far below."""
    rows = ["0;0"] * 2000 + [f"{a};{b}".replace(".", ",") for a, b in NUMBERS]
    _, got = read(write(tmp_path / "a.csv", "u;y\n" + "\n".join(rows) + "\n"))
    np.testing.assert_array_equal(got[2000:], NUMBERS.astype(np.float32))
