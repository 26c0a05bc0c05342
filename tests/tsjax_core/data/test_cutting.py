"""A data set without splits of its own: one file, a folder, a list, or records in memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core import CSVStore, HDF5Store, create_grain_dls
from tsjax_core.data.arrays import ArrayStore
from tsjax_core.data.cutting import CutStore, Division, Piece
from tsjax_core.errors import ConfigError, SplitError, UnequalLengthError, WindowError

N = 200


def signals(n: int = N, seed: int = 0) -> dict[str, np.ndarray]:
    """Return two inputs and an output whose values say where they stand."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((2, n)).astype(np.float32)
    return {"a": u[0], "b": u[1], "y": np.arange(n, dtype=np.float32) + 1000 * seed}


def write_csv(path: Path, record: dict[str, np.ndarray], dt: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"t": dt * np.arange(len(record["y"])), **record}
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(f"{x:.9g}" for x in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_hdf5(path: Path, record: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in record.items():
            file[name] = values
        file.attrs["mass"] = 2.5 + record["y"][0]
        file.attrs["fs"] = 10.0
    return path


def pipeline_of(dataset, **options):
    options = {"win_sz": 10, "stp_sz": 5, "bs": 4, **options}
    return create_grain_dls(["a", "b"], ["y"], dataset, **options)


def outputs(data, split: str) -> list[np.ndarray]:
    """Return the outputs of each record of a split."""
    records = data.files[split]
    return [records[i]["y"][:, 0] for i in range(len(records))]


def test_one_csv_file_is_cut_in_time(tmp_path):
    record = signals()
    data = pipeline_of(write_csv(tmp_path / "motor.csv", record), time="t")
    parts = [outputs(data, split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert [len(part[0]) for part in parts] == [140, 30, 30]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), record["y"])
    assert data.signals.dt == pytest.approx(0.1)
    assert data.files["valid"].paths[0].name == "motor_140-170.csv"
    print(data.summary())
    assert "split: 70 / 15 / 15 % of the time of each record for train / valid / test" in (
        data.summary()
    )


def test_no_window_and_no_statistic_reaches_over_a_cut(tmp_path):
    """Training windows end before validation begins; the scaling is that of training alone."""
    record = signals()
    data = pipeline_of(
        write_hdf5(tmp_path / "one.h5", record), stp_sz=1, valid="windows", split=[0.5, 0.25, 0.25]
    )
    windows = np.stack([data.train[i]["y"][:, 0] for i in range(len(data.train))])
    assert len(windows) == 100 - 10 + 1
    assert windows.max() == 99.0
    valid = np.stack([data.valid[i]["y"][:, 0] for i in range(len(data.valid))])
    assert (valid.min(), valid.max()) == (100.0, 149.0)
    np.testing.assert_allclose(data.signals.stats["y"].mean, record["y"][:100].mean(), rtol=1e-6)
    np.testing.assert_allclose(data.signals.stats["u"].std[0], record["a"][:100].std(), rtol=1e-5)


def test_each_file_of_a_folder_is_cut_in_time(tmp_path):
    """Files of unequal length, in folders below, with a scalar each."""
    lengths = (200, 90, 61)
    for seed, n in enumerate(lengths):
        write_hdf5(tmp_path / "all" / f"day{seed}" / "run.hdf5", signals(n, seed))
    write_hdf5(tmp_path / "all" / ".hidden" / "run.hdf5", signals(50))
    data = pipeline_of(tmp_path / "all", u_scalars=["mass"])
    for number, n in enumerate(lengths):
        parts = [outputs(data, split)[number] for split in ("train", "valid", "test")]
        whole = signals(n, number)["y"]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert abs(len(parts[0]) - 0.7 * n) <= 0.5
    assert len({path for split in data.files.values() for path in split.paths}) == 9
    assert data.test[0]["u_scalar"].tolist() == [2.5]


def test_whole_files_are_dealt_out(tmp_path):
    """In their order, each split gets one at least."""
    files = [write_csv(tmp_path / f"{i}.csv", signals(40, i)) for i in range(5)]
    for dataset in (tmp_path, files, [str(file) for file in files]):
        data = pipeline_of(dataset, split_by="files", split=(0.9, 0.05, 0.05))
        names = {split: [p.name for p in source.paths] for split, source in data.files.items()}
        assert names == {
            "train": ["0.csv", "1.csv", "2.csv"],
            "valid": ["3.csv"],
            "test": ["4.csv"],
        }
        assert data.files["train"].lengths.tolist() == [40, 40, 40]
    with pytest.raises(SplitError, match="needs a record for each of train, valid, test") as error:
        pipeline_of(files[:2], split_by="files")
    print(error.value)


def test_records_in_memory_are_cut():
    pandas = pytest.importorskip("pandas")
    record = signals()
    for dataset in (record, [record], pandas.DataFrame(record), [pandas.DataFrame(record)]):
        data = pipeline_of(dataset, dt=0.1)
        assert [outputs(data, split)[0][0] for split in ("train", "valid", "test")] == [0, 140, 170]
    lists = {name: values.tolist() for name, values in record.items()}
    assert pipeline_of(lists, dt=0.1) == pipeline_of(record, dt=0.1)
    several = pipeline_of([signals(50, i) for i in range(4)], split_by="files")
    assert [len(several.files[split]) for split in ("train", "valid", "test")] == [2, 1, 1]


def test_files_are_resampled_before_they_are_cut(tmp_path):
    """A cut is no end of the record: there is no transient of the filter at it."""
    n = 2000
    slow = np.sin(2 * np.pi * np.arange(n) / 400.0).astype(np.float32)
    record = {"a": signals(n)["a"], "b": signals(n)["b"], "y": slow}
    data = pipeline_of(write_csv(tmp_path / "one.csv", record), time="t", target_fs=5.0)
    assert data.signals.dt == pytest.approx(0.2)
    whole = np.concatenate([outputs(data, split)[0] for split in ("train", "valid", "test")])
    assert len(whole) == 1000
    np.testing.assert_allclose(whole[10:-10], slow[::2][10:-10], atol=2e-3)


def test_what_a_run_would_do_with_it_goes_through_pickle(tmp_path):
    data = pipeline_of(write_hdf5(tmp_path / "one.h5", signals()))
    assert pickle.loads(pickle.dumps(data)) == data
    assert data != pipeline_of(tmp_path / "one.h5", split=[0.6, 0.2, 0.2])


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(3, 5000),
    shares=st.tuples(*[st.integers(1, 40)] * 3),
    records=st.integers(3, 40),
)
def test_every_sample_and_every_file_is_in_one_split(n, shares, records):
    division = Division(tuple(share / sum(shares) for share in shares))
    bounds = division.bounds(n)
    assert bounds[0] == 0
    assert bounds[-1] == n
    assert list(bounds) == sorted(bounds)
    for share, begin, end in zip(division.shares, bounds, bounds[1:], strict=False):
        assert abs(end - begin - share * n) <= 1.0
    parts = division.divide_records(range(records))
    assert [i for part in parts.values() for i in part] == list(range(records))
    assert all(parts.values())


@pytest.mark.parametrize("kind", ["csv", "hdf5", "arrays"])
def test_a_piece_reads_as_a_slice_of_the_whole(tmp_path, kind):
    """Signals, windows, lengths and ends, by stores with windows and without."""
    record = signals(60)
    if kind == "csv":
        store = CSVStore([write_csv(tmp_path / "one.csv", record)], time="t")
    elif kind == "hdf5":
        store = HDF5Store([write_hdf5(tmp_path / "one.h5", record)])
    else:
        store = ArrayStore([record])
    pieces = [Piece(store.paths[0], 0, 20), Piece(store.paths[0], 20, 55)]
    cut = CutStore(store, pieces)
    first, second = cut.paths
    assert cut.get_seq_len(first) == 20
    assert cut.get_seq_len(second, "y") == 35
    table = np.stack([record["a"], record["y"]], 1)
    np.testing.assert_allclose(cut.read_signals(second, ["a", "y"]), table[20:55], rtol=1e-6)
    np.testing.assert_allclose(cut.read_signals(first, ["a", "y"], 3, 7), table[3:7], rtol=1e-6)
    starts = np.array([30, 0, 7])
    windows = cut.read_windows(second, ["a", "y"], starts, 5)
    expected = np.stack([table[20 + s : 25 + s] for s in starts])
    np.testing.assert_allclose(windows, expected, rtol=1e-6)
    assert cut.read_windows(second, ["a"], starts[:0], 5).shape == (0, 5, 1)
    for read in (
        lambda: cut.read_signals(first, ["a"], 0, 21),
        lambda: cut.read_windows(second, ["a"], np.array([31]), 5),
    ):
        with pytest.raises(WindowError) as error:
            read()
        print(error.value)


def test_a_folder_with_splits_is_used_as_it_is(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        write_csv(tmp_path / split / "0.csv", signals(30 + number))
    assert pipeline_of(tmp_path).division is None
    for option in ({"split": [0.5, 0.3, 0.2]}, {"split_by": "files"}):
        with pytest.raises(ConfigError, match="dataset has splits of its own") as error:
            pipeline_of(tmp_path, **option)
        print(error.value)


@pytest.mark.parametrize(
    "split", [[0.7, 0.3], [0.7, 0.3, 0.0], [0.8, 0.15, 0.15], "70/15/15", [True, 0.0, 0.0], 0.7]
)
def test_shares_that_are_none_are_refused(split):
    with pytest.raises(ConfigError, match="three numbers above 0 whose sum is 1") as error:
        pipeline_of(signals(), split=split)
    assert error.value.key == "split"
    print(error.value)


def test_what_cannot_be_cut_is_refused(tmp_path):
    with pytest.raises(SplitError, match="its 2 samples leave none for") as error:
        pipeline_of(signals(2))
    print(error.value)
    unequal = signals() | {"a": signals(150)["a"]}
    with pytest.raises(UnequalLengthError):
        pipeline_of(unequal)
    (tmp_path / "empty").mkdir()
    for dataset, words in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "here or below. It is empty."),
        ([tmp_path / "gone.csv"], "there is no such file"),
        ([], "is an empty list"),
    ):
        with pytest.raises(SplitError, match=words) as error:
            pipeline_of(dataset)
        print(error.value)
    with pytest.raises(ConfigError, match="split_by"):
        pipeline_of(signals(), split_by="chance")


def test_a_run_on_one_file_states_its_split(tmp_path, tsjax, monkeypatch):
    """From the command line: announced, written out, evaluated, resumed, and changed by --set."""
    write_csv(tmp_path / "motor.csv", signals(300))
    (tmp_path / "motor.toml").write_text(
        '[data]\ndataset = "motor.csv"\nu = ["a", "b"]\ny = ["y"]\ntime = "t"\nwin_sz = 20\n'
        'stp_sz = 10\n[model]\nname = "core/gru"\nhidden_size = 2\n[train]\nepochs = 1\n'
    )
    monkeypatch.chdir(tmp_path)
    status, out, err = tsjax("train", "motor.toml", "--out", "run")
    assert status == 0, err
    assert "split: 70 / 15 / 15 % of the time of each record" in out
    assert "motor_255-300.csv" in out
    text = (tmp_path / "run" / "experiment.toml").read_text()
    assert 'split_by = "time"' in text
    assert "0.7" in text
    assert tsjax("evaluate", "run", "--split", "valid")[0] == 0
    status, out, err = tsjax(
        "train", "motor.toml", "--out", "other", "--set", "data.split=[0.5,0.25,0.25]"
    )
    assert status == 0, err
    assert "motor_225-300.csv" in out
