"""Several experiments in one HDF5 file, and MATLAB files of both kinds."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from tsjax_core import HDF5Store, create_grain_dls
from tsjax_core.data.groups import GroupStore
from tsjax_core.data.store import find_files, find_split_files, open_store
from tsjax_core.errors import (
    ConfigError,
    DataError,
    MissingSignalError,
    UnreadableFileError,
    UnsupportedDatasetError,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_groups(file, rng, lengths=(300, 240, 280)):
    records = []
    with h5py.File(file, "w") as f:
        f.attrs["mass"] = 2.0
        for number, length in enumerate(lengths):
            record = {name: rng.standard_normal(length).astype("f4") for name in "uy"}
            records.append(record)
            for name, values in record.items():
                f[f"exp{number}/{name}"] = values
            f[f"exp{number}"].attrs["fs"] = 100.0
            f[f"exp{number}"].attrs["load"] = float(number)
        f["notes/u"] = np.zeros(5)
    return records


def test_groups_are_records(tmp_path, rng):
    """With their own signals, rate and scalars; those of the file serve all."""
    file = tmp_path / "tests.h5"
    records = write_groups(file, rng)
    pipeline = create_grain_dls(["u"], ["y"], file, groups="exp*", win_sz=20, split_by="files")
    assert pipeline.signals.dt == 0.01
    for number, split in enumerate(("train", "valid", "test")):
        sample = pipeline.records(split)[0]
        np.testing.assert_array_equal(sample["u"][:, 0], records[number]["u"])
    assert pipeline.file_names("test") == ("exp2",)
    store = pipeline.records("test").store
    np.testing.assert_array_equal(store.read_attributes(*store.paths, ["load", "mass"]), [2.0, 2.0])
    windows = pipeline.train.read_batch(np.array([3, 100]))
    np.testing.assert_array_equal(windows["y"][1, :, 0], records[0]["y"][100:120])


def test_offsets_and_names_in_groups(tmp_path, rng):
    """Are those of the signals without the group."""
    file = tmp_path / "tests.h5"
    records = write_groups(file, rng)
    store = GroupStore([file], "/exp[01]/", offsets={"u": 0.5})
    path = store.paths[1]
    assert path == file / "exp1"
    assert store.signal_names(path) == ["u", "y"]
    np.testing.assert_array_equal(store.read_signals(path, ["u"])[:, 0], records[1]["u"] - 0.5)
    assert store.locate(path, "u") == store.locate(path, "/u".lstrip("/"))
    assert store.get_stretches(path) == ((0, 240),)


def test_groups_that_are_not_there(tmp_path, rng):
    """With those that are, and not for files without groups."""
    file = tmp_path / "tests.h5"
    write_groups(file, rng)
    with pytest.raises(DataError, match=r"no group 'run\*'. It has: exp0, exp1, exp2, notes.") as c:
        create_grain_dls(["u"], ["y"], file, groups="run*", win_sz=20)
    print(c.value)
    with pytest.raises(MissingSignalError, match="no signal 'exp0/v'"):
        create_grain_dls(["v"], ["y"], file, groups="exp0", win_sz=20)


@pytest.mark.parametrize("chunks", [None, (40, 2)])
@pytest.mark.parametrize("preload", [False, True])
def test_matrices_of_matlab_have_the_axes_of_matlab(tmp_path, rng, chunks, preload):
    """Format 7.3 stores a matrix (time, columns) with its axes exchanged, and marks it."""
    values = rng.standard_normal((300, 3)).astype("f4")
    file = tmp_path / "a.mat"
    with h5py.File(file, "w", userblock_size=512) as f:
        options = {"chunks": chunks[::-1], "compression": "gzip"} if chunks else {}
        f.create_dataset("data", data=values.T, **options)
        f["data"].attrs["MATLAB_class"] = np.bytes_("single")
        f["u"] = values[None, :, 0]
    store = open_store([file], preload=preload)
    assert isinstance(store, HDF5Store)
    assert store.signal_names(file) == ["data:0", "data:1", "data:2", "u"]
    got = store.read_signals(file, ["data:2", "u", "data:0"])
    np.testing.assert_array_equal(got, values[:, [2, 0, 0]])
    windows = store.read_windows(file, ["data:1"], np.array([250, 7]), 30)
    np.testing.assert_array_equal(windows[..., 0], [values[250:280, 1], values[7:37, 1]])


@pytest.mark.parametrize("old", ["4", "5"])
def test_older_formats_of_matlab(tmp_path, rng, old):
    """Vectors, matrices, structures, and a rate, read by SciPy."""
    u, y = rng.standard_normal((2, 300)).astype("f4")
    content = {"u": u[:, None], "Y": np.stack([y, u], 1), "Ts": 0.02}
    if old == "5":
        content |= {"rec": {"speed": y, "name": "motor"}, "label": "a"}
    savemat(tmp_path / "a.mat", content, format=old)
    assert find_files(tmp_path) == (tmp_path / "a.mat",)
    pipeline = create_grain_dls(["u"], ["Y:0"], tmp_path, win_sz=20)
    assert pipeline.signals.dt == 0.02
    np.testing.assert_array_equal(pipeline.records("train")[0]["y"][:, 0], y[:210])
    if old == "5":
        store = open_store([tmp_path / "a.mat"])
        np.testing.assert_array_equal(store.read_signals(*store.paths, ["rec/speed"])[:, 0], y)


def test_matlab_files_that_are_none(tmp_path):
    """Missing, cut off, or of both formats."""
    file = tmp_path / "a.mat"
    with pytest.raises(UnreadableFileError, match="there is no such file"):
        open_store([file])
    savemat(file, {"u": np.ones(3000)})
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UnreadableFileError, match="cannot be read as a MATLAB file") as caught:
        open_store([file])
    print(caught.value)
    with h5py.File(tmp_path / "b.mat", "w") as f:
        f["u"] = np.ones(30)
    with pytest.raises(DataError, match="save all with") as caught:
        open_store([file, tmp_path / "b.mat"])
    print(caught.value)


def test_two_names_of_the_same_numbers_are_refused(tmp_path, rng):
    """Whatever leads to them: a slash, a dot, a link, or the column of a vector."""
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        for name in "uyv":
            f[name] = rng.standard_normal(300)
        f["g/same"] = h5py.SoftLink("/y")
        f["also"] = f["y"]
    for other in ("/y", "./y", "g/same", "also"):
        with pytest.raises(
            ConfigError, match="the model would be given what it is to predict"
        ) as c:
            create_grain_dls(["u", other], ["y"], file, win_sz=20)
        print(c.value)
    with pytest.raises(ConfigError, match="it would count twice") as c:
        create_grain_dls(["u", "/u"], ["y"], file, win_sz=20)
    print(c.value)
    assert create_grain_dls(["u", "v"], ["y"], file, win_sz=20).signals.inputs == ("u", "v")


def test_copies_and_files_given_twice_are_named(tmp_path, rng):
    """Their figures say less than they seem to."""
    for split in ("train", "valid", "test"):
        (tmp_path / split).mkdir()
        with h5py.File(tmp_path / split / f"{split}.h5", "w") as f:
            f["u"], f["y"] = rng.standard_normal((2, 300))
    copy = tmp_path / "test" / "copy.h5"
    copy.write_bytes((tmp_path / "train" / "train.h5").read_bytes())
    with pytest.warns(UserWarning, match=r"test has the same samples .*copy.h5 \(as") as caught:
        create_grain_dls(["u"], ["y"], tmp_path, win_sz=20)
    print(caught[0].message)
    copy.unlink()
    lists = {split: list(files) for split, files in find_split_files(tmp_path).items()}
    lists["train"] *= 2
    with pytest.warns(UserWarning, match="twice in train, so that it counts twice") as caught:
        create_grain_dls(["u"], ["y"], lists, win_sz=20)
    print(caught[0].message)


def test_a_name_that_is_no_text_is_refused(tmp_path, rng):
    """Before anything is trained on it."""
    name = os.fsdecode(b"m\xff.csv")
    rows = "\n".join(f"{a},{b}" for a, b in rng.standard_normal((300, 2)))
    (tmp_path / name).write_text(f"u,y\n{rows}\n")
    for dataset in (tmp_path, tmp_path / name, [tmp_path / name]):
        with pytest.raises(UnreadableFileError, match="is no text in UTF-8") as caught:
            create_grain_dls(["u"], ["y"], dataset, win_sz=20)
        print(caught.value)


def test_a_compression_that_is_not_there_is_named(tmp_path):
    """With the package that brings it; written by hand, as no library here has one."""
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        f.create_dataset("u", data=np.arange(300.0), chunks=(300,), compression="lzf")
    # The number of the filter is stored in the description of the data set.
    data = file.read_bytes()
    old = (32000).to_bytes(2, "little")
    assert data.count(old) == 1
    file.write_bytes(data.replace(old, (32099).to_bytes(2, "little")))
    with pytest.raises(UnsupportedDatasetError, match="pip install hdf5plugin") as caught:
        HDF5Store([file]).read_signals(file, ["u"])
    print(caught.value)


def test_a_file_that_is_being_written_is_named(tmp_path):
    """By another process, which holds it."""
    file = tmp_path / "a.h5"
    code = (
        "import h5py, sys\n"
        f"f = h5py.File({str(file)!r}, 'w'); f['u'] = [1.0, 2.0]; f.flush()\n"
        "print('open', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(
            UnreadableFileError, match="another program has the file open"
        ) as caught:
            HDF5Store([file]).read_signals(file, ["u"])
        print(caught.value)
    finally:
        process.communicate()


def test_missing_targets_are_counted(rng):
    """After resampling, with how many there were."""
    y = np.full(3000, np.nan)
    y[::10] = rng.standard_normal(300)
    record = {"u": rng.standard_normal(3000), "y": y}
    options = {"win_sz": 20, "allow_nan": True, "dt": 0.01}
    text = create_grain_dls(["u"], ["y"], record, **options).summary()
    assert "train: y in record_0_0-2100: 210 of 2100 samples are measured" in text
    text = create_grain_dls(["u"], ["y"], record, target_fs=5.0, **options).summary()
    print(text)
    assert "0 of 105 samples" not in text
    text = create_grain_dls(["u"], ["y"], record, target_fs=25.0, **options).summary()
    assert "of 2100" not in text
