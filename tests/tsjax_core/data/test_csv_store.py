from __future__ import annotations

import pickle

import numpy as np
import pytest

from tsjax_core.data import csv as csv_module
from tsjax_core.data.csv import CSVStore
from tsjax_core.errors import (
    ConfigError,
    DataError,
    MissingSignalError,
    UnreadableFileError,
    UnsupportedDatasetError,
    WindowError,
)

N = 60
COLUMNS = {
    "time": 0.25 * np.arange(N) + 3,
    "u": np.random.default_rng(0).standard_normal(N).astype("f4"),
    "y [V]": np.random.default_rng(1).standard_normal(N).astype("f4"),
}


def written(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_reads_columns_by_name(tmp_path, write_csv, delimiter):
    """A column is a signal, named by the first line."""
    path = write_csv(tmp_path / "a.csv", COLUMNS, delimiter)
    store = CSVStore([path], delimiter=delimiter, time="time")
    wanted = np.stack([COLUMNS["y [V]"], COLUMNS["u"]], axis=1)
    got = store.read_signals(path, ["y [V]", "u"])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(store.read_signals(path, ["y [V]", "u"], 5, 9), wanted[5:9])
    starts = np.array([7, 0, 50])
    windows = store.read_windows(path, ["y [V]", "u"], starts, 10)
    np.testing.assert_array_equal(windows, np.stack([wanted[s : s + 10] for s in starts]))
    assert store.read_windows(path, ["u"], starts[:0], 10).shape == (0, 10, 1)
    assert store.get_seq_len(path) == store.get_seq_len(path, "u") == N
    assert store.get_dt(path) == 0.25
    assert store.signal_names(path) == list(COLUMNS)
    assert list(store.paths) == [path]


def test_forms_that_programs_write(tmp_path):
    """Byte order marks, quotes, blank lines, spaces and columns of text do not disturb."""
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbf"u", y,remark,\r\n1, 2.5,start,\r\n\r\n"-1e3",nan,"a, b",\r\n3,inf,,\r\n'
    )
    store = CSVStore([path])
    got = store.read_signals(path, ["u", "y"])
    np.testing.assert_array_equal(got, [[1.0, 2.5], [-1000.0, np.nan], [3.0, np.inf]])
    assert store.get_dt(path) is None


def test_pickle_reads_anew(tmp_path, write_csv):
    """A store is pickled without its samples."""
    long = {"u": np.arange(2000.0), "y": np.arange(2000.0)}
    path = write_csv(tmp_path / "a.csv", long)
    store = CSVStore([path])
    store.read_signals(path, ["u"])
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert pickle.loads(data).read_signals(path, ["u"])[1999, 0] == 1999.0


def test_kept_files_are_bounded(tmp_path, write_csv, monkeypatch):
    """Beyond the limit a file is parsed again, and below it only once."""
    parsed = []
    read_table = csv_module.read_table

    def counted(path, *args, **options):
        parsed.append(path)
        return read_table(path, *args, **options)

    monkeypatch.setattr(csv_module, "read_table", counted)
    paths = [write_csv(tmp_path / f"{i}.csv", {"u": np.full(10, i)}) for i in range(3)]
    for limit, times in ((2**30, 1), (40, 2)):
        parsed.clear()
        monkeypatch.setattr(csv_module, "_CACHE_BYTES", limit)
        store = CSVStore(paths)
        for path in paths * 2:
            assert store.read_signals(path, ["u"])[0, 0] == int(path.stem)
        assert len(parsed) == times * len(paths)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", ": is empty."),
        ("\n \n", ": is empty."),
        ("u,y\n", "line 1: there are names and no rows"),
        ("u,y\n\n \n", "line 1: there are names and no rows"),
        ("u,y,u\n1,2,3\n", "line 1: two columns are named 'u'"),
        ("u,y\na,b\nc,d\n", "no column of numbers among the first 3 lines"),
        ('u,y\n1,"2\n"\n3,4\n', "line 3: a quoted cell goes over several lines"),
        ("u;y\n1,234;2\n5,678;3\n", "line 2: '1,234' may be 1.234 or 1234. Give decimal = ','"),
        ("u,y\n1,2\n3\n4,5\n", "line 3: 1 cells and 2 columns (u, y)"),
        ("u,y\n1,2\n3,4,5\n", "line 3: 3 cells and 2 columns"),
        ("u,y\n1,2,3\n4,5,6\n", "line 2: 3 cells and 2 columns"),
    ],
)
def test_unreadable_texts(tmp_path, told, text, says):
    """What makes a text no table is told with its line."""
    path = written(tmp_path, text)
    error = told(UnreadableFileError, CSVStore([path]).get_seq_len, path)
    assert error.path == path
    assert str(error).startswith(str(path))
    assert says in str(error)


def test_a_wrong_delimiter_is_named(tmp_path, told):
    """With the one that the file seems to have."""
    path = written(tmp_path, "u;y\n1;2\n")
    error = told(UnreadableFileError, CSVStore([path], delimiter=",").get_seq_len, path)
    assert "Leave delimiter out, or give delimiter = ';'" in str(error)


def test_unreadable_files(tmp_path, told):
    """A missing file, a directory and bytes that are no text are named."""
    missing = tmp_path / "missing.csv"
    error = told(UnreadableFileError, CSVStore([missing]).get_seq_len, missing)
    assert str(error) == f"{missing}: there is no such file."
    told(UnreadableFileError, CSVStore([tmp_path]).get_seq_len, tmp_path)
    binary = tmp_path / "binary.csv"
    for data in (b"u,y\n1,2\n\x81,3\n", b"\x89HDF\r\n\x1a\n\x00"):
        binary.write_bytes(data)
        error = told(UnreadableFileError, CSVStore([binary]).get_seq_len, binary)
        assert "is no text in UTF-8, UTF-16 or Windows-1252" in str(error)


@pytest.mark.parametrize(
    "cell, says",
    [
        ("abc", "'abc' is not a number."),
        ("", "the cell is empty. If the sample is missing, write nan, or give allow_nan"),
        ('"1,5"', "'1,5' is not a number with a decimal point; give decimal = ','"),
    ],
)
def test_bad_cells(tmp_path, told, cell, says):
    """A cell that is no number is told with line and column, if its column is asked for."""
    path = written(tmp_path, f"u,y\n1,2\n\n3,{cell}\n5,x\n")
    store = CSVStore([path])
    error = told(UnsupportedDatasetError, store.read_signals, path, ["u", "y"])
    assert (error.path, error.signal) == (path, "y")
    assert says in str(error)
    assert str(error).startswith(f"{path}, line 4, column 'y': ")
    assert store.read_signals(path, ["u"])[:, 0].tolist() == [1.0, 3.0, 5.0]


def test_missing_column(tmp_path, write_csv, told):
    """A missing column is told with those that are there."""
    path = write_csv(tmp_path / "a.csv", COLUMNS)
    error = told(MissingSignalError, CSVStore([path]).read_signals, path, ["y"])
    assert "no signal 'y'. It has: time, u, y [V]." in str(error)
    error = told(MissingSignalError, CSVStore([path], time="t").get_seq_len, path)
    assert "no column of time 't'" in str(error)


def test_range_outside(tmp_path, write_csv, told):
    """A range or a window that leaves the file is an error that tells its length."""
    path = write_csv(tmp_path / "a.csv", COLUMNS)
    store = CSVStore([path])
    assert "the file has 60" in str(told(WindowError, store.read_signals, path, ["u"], 0, 61))
    told(WindowError, store.read_windows, path, ["u"], np.array([0, 51]), 10)


@pytest.mark.parametrize("delimiter", ["", ";;", 3])
def test_wrong_delimiter(told, delimiter):
    """A delimiter is one character."""
    assert told(ConfigError, CSVStore, [], delimiter=delimiter).key == "delimiter"


@pytest.mark.parametrize("jitter, even", [(0.2, True), (0.3, False)])
def test_one_time_may_be_off(tmp_path, write_csv, told, jitter, even):
    """Times may lie up to a quarter of a sampling time off an even grid."""
    time = 0.01 * np.arange(100.0)
    time[40] += jitter * 0.01
    path = write_csv(tmp_path / "a.csv", {"t": time, "u": time})
    store = CSVStore([path], time="t")
    if even:
        assert store.get_dt(path) == 0.01
    else:
        error = told(DataError, store.get_dt, path)
        assert "column 't': times are uneven: row 41 is at 0.403 s" in str(error)
        assert "give time = '' and dt, to go without the column" in str(error)


@pytest.mark.parametrize("missing", [1, 50, 98])
def test_missing_row_is_found(tmp_path, write_csv, told, missing):
    """One missing sample anywhere is a gap."""
    time = np.delete(0.01 * np.arange(100.0), missing)
    path = write_csv(tmp_path / "a.csv", {"t": time})
    error = told(DataError, CSVStore([path], time="t").get_dt, path)
    assert f"gap of 0.02 s after row {missing}, at a sampling time of 0.01 s" in str(error)
    assert "Give gaps = 'split'" in str(error)


def test_time_that_does_not_grow(tmp_path, write_csv, told):
    """Time goes forward, and one row has no sampling time."""
    path = write_csv(tmp_path / "a.csv", {"t": np.arange(5.0)[::-1]})
    assert "it must grow" in str(told(DataError, CSVStore([path], time="t").get_dt, path))
    one = write_csv(tmp_path / "one.csv", {"t": np.zeros(1), "u": np.ones(1)})
    assert CSVStore([one], time="t").get_dt(one) is None
    for text in ("t,u\n0,1\nnan,2\n2,3\n", "t,u\n0,1\n1,2\nnan,3\n"):
        path = written(tmp_path, text)
        told(DataError, CSVStore([path], time="t").get_dt, path)


@pytest.mark.parametrize(
    "name, factor",
    [
        ("time_ms", 1e-3),
        ("t [us]", 1e-6),
        ("#timestamp [ns]", 1e-9),
        ("Time (min)", 60.0),
        ("t_s", 1.0),
        ("times", 1e-9),
    ],
)
def test_time_has_the_unit_of_its_name(tmp_path, name, factor):
    """At the end of it; another one is given by time_unit, and dates are noticed without one.

    The stamps of a clock are beyond 2^53, where 64-bit numbers stand 256 apart: over 59 steps of
    5 million, that is one in a million.
    """
    stamps = 1_403_636_579_763_555_584 + 5_000_000 * np.arange(60)
    rows = "\n".join(f"{stamp},1" for stamp in stamps)
    path = written(tmp_path, f"{name},u\n{rows}\n")
    assert CSVStore([path], time=name).get_dt(path) == pytest.approx(5e6 * factor, rel=1e-6)
    store = CSVStore([path], time=name, time_unit="ns")
    assert store.get_dt(path) == pytest.approx(0.005, rel=1e-6)


def test_an_unknown_unit_of_time_is_refused(told):
    """With those that there are."""
    error = told(ConfigError, CSVStore, [], time="t", time_unit="weeks")
    assert error.key == "time_unit"
    assert "'ms', 'us'" in str(error)


@pytest.mark.parametrize("allow_empty", [False, True])
def test_empty_rows_at_the_end_are_no_rows(tmp_path, told, allow_empty):
    """As programs of tables write them; within the rows they are missing samples, or refused."""
    path = written(tmp_path, "u,y\n1,2\n3,4\n,\n ,\n\n")
    store = CSVStore([path], allow_empty=allow_empty)
    np.testing.assert_array_equal(store.read_signals(path, ["u", "y"]), [[1, 2], [3, 4]])
    path = written(tmp_path, "u,y\n1,2\n,\n3,4\n", "b.csv")
    store = CSVStore([path], allow_empty=allow_empty)
    if allow_empty:
        got = store.read_signals(path, ["u", "y"])
        np.testing.assert_array_equal(got, [[1, 2], [np.nan, np.nan], [3, 4]])
    else:
        error = told(UnsupportedDatasetError, store.read_signals, path, ["u"])
        assert "line 3, column 'u': the cell is empty" in str(error)
