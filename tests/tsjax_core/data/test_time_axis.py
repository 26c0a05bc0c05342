"""Times of samples: units, dates, scatter, gaps, and what is done about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import h5py
import numpy as np
import pytest

from tsjax_core import CSVStore, HDF5Store, create_grain_dls
from tsjax_core.data.arrays import ArrayStore
from tsjax_core.data.time_axis import measure_time, round_within
from tsjax_core.errors import ConfigError, DataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write(path, stamps, name="time", **columns):
    columns = columns or {"u": np.arange(len(stamps), dtype=float)}
    rows = zip(stamps, *columns.values(), strict=True)
    lines = [",".join([name, *columns]), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def dt_of(path, **options):
    return CSVStore([path], **options).get_dt(path)


@pytest.mark.parametrize(
    "form,step",
    [
        ("%Y-%m-%d %H:%M:%S", 2.0),
        ("%Y-%m-%dT%H:%M:%S.%fZ", 0.02),
        ("%d.%m.%Y %H:%M:%S", 1.0),
        ("%d/%m/%Y %H:%M", 60.0),
        ("%m/%d/%Y %H:%M:%S", 3600.0),
        ("%H:%M:%S", 5.0),
        ("%H:%M:%S.%f", 0.125),
    ],
)
def test_dates_and_times_of_day(tmp_path, form, step):
    """Over midnight, and over the end of a month where the order of day and month matters."""
    begin = datetime(2024, 5, 31, 23, 59, 50, tzinfo=UTC)
    stamps = [(begin + timedelta(seconds=step * n)).strftime(form) for n in range(200)]
    path = write(tmp_path / "a.csv", stamps)
    assert dt_of(path) == pytest.approx(step, rel=1e-12)


def test_decimal_commas_in_dates(tmp_path):
    """As a comma stands for the point in the rest of the file."""
    stamps = [f"01.05.2024 12:00:{n // 10:02},{n % 10}00" for n in range(500)]
    lines = ["Zeit;u", *(f"{stamp};{n},5" for n, stamp in enumerate(stamps))]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    store = CSVStore([path])
    assert store.get_dt(path) == 0.1
    assert store.read_signals(path, ["u"])[3, 0] == 3.5


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_numbers_that_are_dates(tmp_path, factor):
    """Are counted from 1970 in the unit in which they are a date of our time."""
    stamps = [1_700_000_000 * factor + n * 2 * factor for n in range(50)]
    assert dt_of(write(tmp_path / "a.csv", stamps)) == 2.0


def test_a_clock_that_only_looks_like_dates_is_refused(tmp_path):
    """Nanoseconds since a start, in numbers that could be milliseconds since 1970."""
    path = write(tmp_path / "a.csv", [10**12 + 5_000_000 * n for n in range(50)])
    with pytest.raises(DataError, match=r"5000 s apart. Give time_unit") as caught:
        dt_of(path)
    print(caught.value)
    assert dt_of(path, time_unit="ns") == 0.005


@pytest.mark.parametrize("name", ["Time", "time [s]", "#timestamp", "t", "Zeit", "elapsed_time"])
def test_a_column_called_like_a_time_is_noticed(tmp_path, name):
    """And another one with an even clock in it is not."""
    path = write(tmp_path / "a.csv", 0.5 * np.arange(20), name)
    assert dt_of(path) == 0.5
    assert dt_of(path, time="") is None
    assert dt_of(write(tmp_path / "b.csv", 0.5 * np.arange(20), "ramp")) is None


def test_a_signal_may_be_called_t(tmp_path, rng):
    """A temperature does not grow evenly; but a column called time must."""
    values = rng.standard_normal(50)
    assert dt_of(write(tmp_path / "a.csv", values, "t")) is None
    with pytest.raises(DataError, match="must grow"):
        dt_of(write(tmp_path / "b.csv", np.r_[values[:49], values[0] + 9.0], "time"))


def test_a_column_of_the_date_alone_is_passed_over(tmp_path):
    """Where another one has the time of day."""
    rows = "\n".join(f"2024-05-01,12:00:{n:02},{n}" for n in range(50))
    path = tmp_path / "a.csv"
    path.write_text(f"date,time,u\n{rows}\n")
    assert dt_of(path) == 1.0


@pytest.mark.parametrize("kind", ["stamps", "digits"])
def test_scattered_stamps_have_the_round_sampling_time(tmp_path, rng, kind):
    """A short record with 4 % of scatter, and stamps of few digits."""
    if kind == "stamps":
        stamps, dt = 0.01 * (np.arange(60) + 0.04 * rng.standard_normal(60)), 0.01
    else:
        stamps, dt = np.round(np.arange(300) / 30.0, 2), 1.0 / 30.0
    assert dt_of(write(tmp_path / "a.csv", stamps)) == dt


@pytest.mark.parametrize("seed", range(30))
def test_rounding_stays_within_what_the_scatter_leaves(seed):
    """The true sampling time is within the bound, and the answer too."""
    rng = np.random.default_rng(seed)
    n, dt = int(rng.integers(20, 400)), float(10.0 ** rng.uniform(-4, 2))
    off = 0.1 * rng.uniform(-1.0, 1.0, n)
    times = dt * (np.arange(n) + off)
    found = measure_time(None, "t", times - times[0]).dt
    assert found == pytest.approx(dt, rel=6.0 * 0.1 / (n - 1))


def test_the_roundest_number_is_that_of_time_or_rate():
    """Whichever has fewer digits."""
    assert round_within(0.0100003, 1e-6) == 0.01
    assert round_within(0.033333, 1e-5) == 1.0 / 30.0
    assert round_within(0.123456789, 0.0) == 0.123456789


def test_a_gap_is_named_or_cuts_the_record(tmp_path, rng):
    """No window reaches over it, and the rows are those of the file."""
    time = np.r_[0.1 * np.arange(300), 0.1 * np.arange(300, 800) + 5.0]
    u, y = rng.standard_normal((2, 800))
    path = write(tmp_path / "a.csv", time.round(6), u=u, y=y)
    with pytest.raises(DataError, match=r"gap of 5.1 s after row 300, at a sampling time of 0.1 s"):
        create_grain_dls(["u"], ["y"], path, win_sz=50)
    pipeline = create_grain_dls(["u"], ["y"], path, win_sz=50, gaps="split", split_by="time")
    assert pipeline.signals.dt == 0.1
    train = pipeline.records("train")
    assert train.lengths.tolist() == [210, 350]
    np.testing.assert_array_equal(train[1]["u"][:, 0], u[300:650].astype(np.float32))
    assert [str(path.name) for path in train.paths] == [
        "a_0-300_0-210.csv",
        "a_300-800_0-350.csv",
    ]
    assert "with 1 gap" in CSVStore([path], gaps="split").describe(path)


def test_a_gap_in_hdf5_and_in_memory(tmp_path, rng):
    """Are found by the data set, or the array, of times."""
    time = np.r_[np.arange(100.0), np.arange(103.0, 200.0)]
    record = {"time": time, "u": rng.standard_normal(197), "y": rng.standard_normal(197)}
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        for name, values in record.items():
            f[name] = values
    for dataset in (file, record):
        with pytest.raises(DataError, match="gap of 4 s after row 100"):
            create_grain_dls(["u"], ["y"], dataset, win_sz=10)
        pipeline = create_grain_dls(["u"], ["y"], dataset, win_sz=10, gaps="split")
        assert pipeline.records("train").lengths.tolist() == [70, 68]
        assert pipeline.signals.dt == 1.0


def test_uneven_stamps_are_interpolated_on_demand(tmp_path, rng):
    """Linear between the rows, at the rate that is asked for."""
    time = np.cumsum(rng.uniform(0.05, 0.15, 400)).round(6)
    path = write(tmp_path / "a.csv", time, u=2.0 * time, y=-time)
    with pytest.raises(DataError, match="times are uneven") as caught:
        create_grain_dls(["u"], ["y"], path, win_sz=20)
    print(caught.value)
    with pytest.raises(DataError, match="times are uneven"):
        create_grain_dls(["u"], ["y"], path, win_sz=20, target_fs=20.0)
    pipeline = create_grain_dls(["u"], ["y"], path, win_sz=20, target_fs=20.0, resample="linear")
    assert pipeline.signals.dt == 0.05
    u = np.concatenate(
        [pipeline.records(part)[0]["u"][:, 0] for part in ("train", "valid", "test")]
    )
    assert len(u) == int((time[-1] - time[0]) * 20.0) + 1
    np.testing.assert_allclose(u, 2.0 * (time[0] + 0.05 * np.arange(len(u))), rtol=1e-6)


def test_nothing_is_interpolated_over_a_gap(tmp_path, rng):
    """Nor where time goes back."""
    time = np.cumsum(rng.uniform(0.05, 0.15, 100)).round(6)
    time[50:] += 30.0
    path = write(tmp_path / "a.csv", time)
    with pytest.raises(DataError, match="after row 50, where the usual step") as caught:
        dt_of(path, even_fs=20.0)
    print(caught.value)
    time[70] = time[69]
    with pytest.raises(DataError, match="row 71 has the same time as row 70") as caught:
        dt_of(write(tmp_path / "b.csv", time), even_fs=20.0)
    print(caught.value)


def test_a_missing_time_is_named(tmp_path):
    """With its row."""
    path = tmp_path / "a.csv"
    path.write_text("time,u\n0,1\nnan,2\n2,3\n")
    with pytest.raises(DataError, match="row 2 has no time") as caught:
        dt_of(path)
    print(caught.value)


@pytest.mark.parametrize(
    "where", ["file", "group", "data set", "number", "times", "milliseconds", "rate in the name"]
)
def test_rates_in_hdf5(tmp_path, where):
    """Wherever a file states them."""
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        f["run/u"] = np.arange(50.0)
        if where == "file":
            f.attrs["Fs"] = 200.0
        elif where == "group":
            f["run"].attrs["sampling_rate"] = 200
        elif where == "data set":
            f["run/u"].attrs["dt"] = 0.005
        elif where == "number":
            f["run/Ts"] = 0.005
        elif where == "times":
            f["run/t"] = 0.005 * np.arange(50)
        elif where == "milliseconds":
            f["time"] = 5 * np.arange(50)
            f["time"].attrs["units"] = "ms"
        else:
            f["time_us"] = 5000 * np.arange(50)
    store = HDF5Store([file])
    store.get_seq_len(file, "run/u")
    assert store.get_dt(file) == 0.005


def test_statements_that_contradict_each_other_are_refused(tmp_path):
    """Between an attribute and times, in a file and in memory; an empty time leaves times out."""
    file = tmp_path / "a.h5"
    record = {"u": np.arange(50.0), "time": 0.01 * np.arange(50), "fs": 50.0}
    with h5py.File(file, "w") as f:
        f["u"], f["time"] = record["u"], record["time"]
        f.attrs["fs"] = 50.0
    for kind, paths in ((HDF5Store, [file]), (ArrayStore, [record])):
        store = kind(paths)
        store.get_seq_len(store.paths[0], "u")
        with pytest.raises(DataError, match="contradict each other") as caught:
            store.get_dt(store.paths[0])
        print(caught.value)
        assert kind(paths, time="").get_dt(store.paths[0]) == 0.02


def test_arrays_of_dates(rng):
    """Dates of NumPy, as in a data frame, are times."""
    time = np.datetime64("2024-05-01T12:00:00") + np.arange(100) * np.timedelta64(20, "ms")
    record = {"time": time, "u": rng.standard_normal(100), "y": rng.standard_normal(100)}
    assert create_grain_dls(["u"], ["y"], record, win_sz=5).signals.dt == 0.02


@pytest.mark.parametrize("kind", [CSVStore, HDF5Store, ArrayStore])
def test_wrong_options_of_time(kind):
    """Each is named."""
    for option, part in ((("time_unit", "weeks"), "time_unit"), (("gaps", "join"), "gaps")):
        with pytest.raises(ConfigError, match=part) as caught:
            kind([], **dict([option]))
        assert caught.value.key == option[0]
        print(caught.value)


@pytest.mark.parametrize("name,value,dt", [("Ts", 4.0, 4.0), ("fs", 50.0, 0.02), ("dt", 0.5, 0.5)])
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_column_that_states_the_rate(tmp_path, name, value, dt, everywhere):
    """In each row, or in the first one alone; it must agree with the times."""
    cells = [str(value)] + [str(value) * everywhere] * 49
    path = write(tmp_path / "a.csv", cells, name)
    assert dt_of(path) == dt
    assert dt_of(path, time="") is None
    path = write(tmp_path / "b.csv", cells, name, time=3.0 * np.arange(50))
    with pytest.raises(DataError, match="contradict each other"):
        dt_of(path)
