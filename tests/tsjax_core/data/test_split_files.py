from __future__ import annotations

import numpy as np
import pytest

from tsjax_core.data.csv import CSVStore
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.store import check_split_files, find_split_files, open_store
from tsjax_core.errors import ConfigError, DataError, SplitError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_found_below_and_sorted(tmp_path):
    """Files of any depth and any of the endings are found; hidden and other files are not."""
    touch(
        tmp_path,
        "train/b.hdf5",
        "train/a.H5",
        "train/day2/c.hdf",
        "train/.hidden.hdf5",
        "train/.cache/d.hdf5",
        "train/notes.txt",
        "valid/a.hdf5",
        "test/z.h5",
        "README.md",
    )
    (tmp_path / "train" / "folder.hdf5").mkdir()
    found = find_split_files(tmp_path)
    names = {split: [p.relative_to(tmp_path).as_posix() for p in f] for split, f in found.items()}
    assert names == {
        "train": ["train/a.H5", "train/b.hdf5", "train/day2/c.hdf"],
        "valid": ["valid/a.hdf5"],
        "test": ["test/z.h5"],
    }
    assert find_split_files(str(tmp_path)) == found


def test_a_hidden_parent_does_not_hide(tmp_path):
    """A data set below a hidden directory is found."""
    root = tmp_path / ".data"
    touch(root, "train/a.csv", "valid/a.csv", "test/a.csv")
    assert len(find_split_files(root)["train"]) == 1


def test_missing_directory(tmp_path, told):
    """A directory that does not exist or is a file is told with what is expected."""
    error = told(SplitError, find_split_files, tmp_path / "nowhere")
    assert "nowhere: does not exist. Give a directory with train/, valid/ and test/" in str(error)
    touch(tmp_path, "a.hdf5")
    assert "is a file" in str(told(SplitError, find_split_files, tmp_path / "a.hdf5"))


def test_missing_split(tmp_path, told):
    """A split that is missing is told with what is there instead."""
    error = told(SplitError, find_split_files, tmp_path)
    assert "there is no directory 'train'" in str(error)
    assert "It is empty." in str(error)
    touch(tmp_path, "train/a.hdf5", "test/a.hdf5", "validation/a.hdf5", "README.md")
    error = told(SplitError, find_split_files, tmp_path)
    assert error.path == tmp_path / "valid"
    assert f"looked for {tmp_path / 'valid'}" in str(error)
    assert "There is: README.md, test/, train/, validation/." in str(error)


def test_empty_split(tmp_path, told):
    """A split without a file of a known ending is told with what it has."""
    touch(tmp_path, "train/a.xyz", "train/.b.hdf5", "valid/a.hdf5", "test/a.hdf5")
    error = told(SplitError, find_split_files, tmp_path)
    assert "no file of the split 'train'; looked for files that end in .hdf5, .h5" in str(error)
    assert "There is: .b.hdf5, a.xyz." in str(error)


def test_mixed_formats(tmp_path, told):
    """HDF5 and CSV files in one data set are refused, one of each named."""
    touch(tmp_path, "train/a.hdf5", "valid/a.hdf5", "test/a.csv")
    error = told(DataError, find_split_files, tmp_path)
    assert f"mixes HDF5 ({tmp_path / 'train/a.hdf5'}) and CSV ({tmp_path / 'test/a.csv'})" in str(
        error
    )


def test_lists_of_files(told):
    """Lists of files are taken as they are, and checked like a directory."""
    lists = {"train": ["b.h5", "a.h5"], "valid": ["c.h5"], "test": ["d.h5"]}
    assert [p.name for p in check_split_files(lists)["train"]] == ["b.h5", "a.h5"]
    cases = [
        (SplitError, {"valid": []}, "dataset['valid'] is empty; give at least one file"),
        (ConfigError, {"test": "d.h5"}, "dataset['test'] is 'd.h5'; give a list of files"),
        (ConfigError, {"tset": ["d.h5"]}, "a split 'tset'; the splits are train, valid, test"),
        (DataError, {"test": ["d.xyz"]}, "d.xyz: unknown ending '.xyz'; files end in .hdf5"),
        (DataError, {"test": ["d.csv"]}, "mixes HDF5 (b.h5) and CSV (d.csv)"),
    ]
    for kind, change, says in cases:
        assert says in str(told(kind, check_split_files, lists | change))
    error = told(SplitError, check_split_files, {"train": ["a.h5"]})
    assert "dataset['valid'] is missing" in str(error)
    assert "There is: train." in str(error)


def test_store_by_ending(tmp_path, write_hdf5, write_csv, told):
    """The ending decides which store reads the files."""
    signals = {"t": np.arange(4.0), "u": np.arange(4.0)}
    for path in (write_hdf5(tmp_path / "a.H5", signals), write_csv(tmp_path / "a.csv", signals)):
        store = open_store([path], preload=True)
        np.testing.assert_array_equal(store.read_signals(path, ["u"])[:, 0], signals["u"])
    assert isinstance(open_store([tmp_path / "a.H5"]), HDF5Store)
    store = open_store([str(tmp_path / "a.csv")], time="t")
    assert isinstance(store, CSVStore)
    assert store.get_dt(tmp_path / "a.csv") == 1.0
    error = told(DataError, open_store, [tmp_path / "a.xyz"])
    assert "unknown ending '.xyz'" in str(error)
    told(DataError, open_store, [tmp_path / "a.csv", tmp_path / "a.H5"])
    assert open_store([tmp_path / "a.H5"], time="t").get_dt(tmp_path / "a.H5") == 1.0
    error = told(ConfigError, open_store, [tmp_path / "a.csv"], groups="exp*")
    assert error.key == "groups"
    assert "groups is 'exp*', for HDF5 files, and the files are CSV" in str(error)


@pytest.mark.parametrize("n, says", [(3, "b2"), (30, "b19 and 10 more")])
def test_long_lists_are_cut(tmp_path, told, n, says):
    """A list of names in an error has at most twenty."""
    touch(tmp_path, *(f"train/b{i:02}.txt" if n > 20 else f"train/b{i}.txt" for i in range(n)))
    assert says in str(told(SplitError, find_split_files, tmp_path)).replace(".txt", "")
