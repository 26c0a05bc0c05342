from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.sources import FullSequenceSource, WindowedSource
from tsjax_core.errors import (
    ConfigError,
    MissingSignalError,
    UnequalLengthError,
    WindowError,
)
from tsjax_core.protocols import BatchedSource, ResidentSource, Source


def numbered(array_store, lengths):
    """A store whose sample t of file f is f + t / 1000 in u and its negative in y."""
    files = {}
    for f, n in enumerate(lengths):
        values = f + np.arange(n) / 1000
        files[Path(f"file{f}")] = {"u": values, "y": -values}
    return array_store(files)


def test_long_files_are_joined_as_they_are(tmp_path):
    """Files of several pieces and a part of one, compressed, contiguous, and resampled."""
    lengths = (140_001, 65_536, 70_000)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(n).astype(np.float32) for n in lengths]
    paths = [tmp_path / f"{number}.hdf5" for number in range(3)]
    for path, each in zip(paths, values, strict=True):
        with h5py.File(path, "w") as file:
            file.attrs["fs"] = 200.0
            file.create_dataset("u", data=each)
            file.create_dataset("y", data=-each, compression="gzip")
    store = HDF5Store(paths)
    joined = WindowedSource(store, ["u"], ["y"], win_sz=50).read_resident()
    np.testing.assert_array_equal(joined["u"][:, 0], np.concatenate(values))
    np.testing.assert_array_equal(joined["y"][:, 0], -np.concatenate(values))
    slower = ResampledStore(store, target_fs=100.0)
    joined = WindowedSource(slower, ["u"], ["y"], win_sz=50).read_resident()
    whole = np.concatenate([slower.read_signals(path, ["u"]) for path in paths])
    np.testing.assert_array_equal(joined["u"], whole)


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    win_sz=st.integers(1, 40),
    stp_sz=st.integers(1, 50),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_windows(array_store, lengths, win_sz, stp_sz, data):
    """Windows are counted, placed, gathered and stacked alike by every way to read them."""
    store = numbered(array_store, lengths)
    counts = [len(range(0, n - win_sz + 1, stp_sz)) for n in lengths]
    if not any(counts):
        with pytest.raises(WindowError):
            WindowedSource(store, ["u"], ["y"], win_sz=win_sz, stp_sz=stp_sz)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        source = WindowedSource(store, ["u"], ["y"], win_sz=win_sz, stp_sz=stp_sz)
    assert len(source) == sum(counts)
    each = [source[i] for i in range(len(source))]
    wanted = [(f, k * stp_sz) for f, count in enumerate(counts) for k in range(count)]
    for sample, (f, start) in zip(each, wanted, strict=True):
        inside = f + np.arange(start, start + win_sz) / 1000
        np.testing.assert_array_equal(sample["u"][:, 0], inside.astype("f4"))
        np.testing.assert_array_equal(sample["y"], -sample["u"])

    indices = np.array(data.draw(st.lists(st.integers(0, len(source) - 1), max_size=20)), int)
    batch = source.read_batch(indices)
    assert batch["u"].shape == batch["y"].shape == (len(indices), win_sz, 1)
    starts, files = source.locate(indices)
    joined = source.read_resident()
    assert source.resident_bytes == sum(x.nbytes for x in joined.values())
    offsets = np.cumsum([0, *lengths])
    for row, index in enumerate(indices):
        assert (files[row], starts[row] - offsets[files[row]]) == wanted[index]
        for key in ("u", "y"):
            np.testing.assert_array_equal(batch[key][row], each[index][key])
            gathered = joined[key][starts[row] : starts[row] + win_sz]
            np.testing.assert_array_equal(gathered, each[index][key])


@given(win_sz=st.integers(1, 60), stp_sz=st.integers(1, 30), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_stores_agree(stored, array_store, win_sz, stp_sz, seed):
    """Mapped, chunked and preloaded files give the batches that arrays in memory give."""
    stores, arrays = stored
    options = {"win_sz": win_sz, "stp_sz": stp_sz}
    wanted = WindowedSource(array_store(arrays), ["u", "v"], ["y"], **options)
    indices = np.random.default_rng(seed).integers(0, len(wanted), 25)
    batch = wanted.read_batch(indices)
    for store in stores:
        source = WindowedSource(store, ["u", "v"], ["y"], **options)
        got = source.read_batch(indices)
        assert set(got) == {"u", "y"}
        for key, values in got.items():
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, batch[key])


@pytest.fixture(scope="module")
def stored(tmp_path_factory, write_hdf5):
    """The same three files mapped, chunked, preloaded and as arrays."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("stored")
    arrays, chunked = {}, []
    for f, n in enumerate((200, 60, 99)):
        signals = {key: rng.standard_normal(n).astype("f4") for key in "uvy"}
        arrays[write_hdf5(root / f"{f}.hdf5", signals)] = signals
        options = {"chunks": (16,), "compression": "gzip"}
        chunked.append(write_hdf5(root / f"chunked{f}.hdf5", signals, **options))
    paths = list(arrays)
    return [HDF5Store(paths), HDF5Store(chunked), HDF5Store(paths, preload=True)], arrays


def test_protocols(array_store):
    """A windowed source can be kept on the device; a source of whole files is only a source."""
    store = numbered(array_store, [9])
    windows = WindowedSource(store, ["u"], ["y"], win_sz=3)
    assert isinstance(windows, ResidentSource)
    whole = FullSequenceSource(store, ["u"], ["y"])
    assert isinstance(whole, Source)
    assert not isinstance(whole, BatchedSource)


def test_locate_takes_any_shape(array_store):
    """All batches of an epoch can be located at once."""
    source = WindowedSource(numbered(array_store, [9, 7]), ["u"], ["y"], win_sz=3)
    starts, files = source.locate(np.arange(12).reshape(3, 4))
    assert starts.shape == files.shape == (3, 4)
    assert starts.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13]


def test_whole_files(array_store):
    """Whole files keep their lengths."""
    source = FullSequenceSource(numbered(array_store, [9, 0, 7]), ["u"], ["y"])
    assert [len(source[i]["u"]) for i in range(len(source))] == [9, 0, 7]
    assert source.lengths.tolist() == [9, 0, 7]
    np.testing.assert_array_equal(source[2]["y"], -source[2]["u"])
    assert source.read(2, 3, 5)["u"][:, 0].tolist() == pytest.approx([2.003, 2.004])


@pytest.mark.parametrize("index", [-1, 14, 10**9])
def test_index_outside(array_store, told, index):
    """Indices count from 0 and not from the end, in every way to read."""
    store = numbered(array_store, [9, 9])
    windows = WindowedSource(store, ["u"], ["y"], win_sz=3)
    error = told(IndexError, windows.__getitem__, index)
    assert str(error) == f"window {index} of 14; count from 0 to 13."
    told(IndexError, windows.read_batch, np.array([0, index]))
    told(IndexError, windows.locate, np.array([[0], [index]]))
    error = told(IndexError, FullSequenceSource(store, ["u"], ["y"]).__getitem__, index)
    assert str(error) == f"file {index} of 2; count from 0 to 1."


def test_iteration_ends(array_store):
    """A `for` loop over a source sees every sample once."""
    store = numbered(array_store, [9, 9])
    assert len(list(WindowedSource(store, ["u"], ["y"], win_sz=3))) == 14
    assert len(list(FullSequenceSource(store, ["u"], ["y"]))) == 2


def test_scalars(dataset):
    """Scalars come with each window of their file, and only when they are named."""
    paths = sorted(dataset.glob("train/*"))
    source = WindowedSource(
        HDF5Store(paths),
        ["u"],
        win_sz=80,
        stp_sz=40,
        u_scalars=["mass", "x0:1"],
        y_scalars=["x0:0"],
    )
    assert len(source) == 6 + 3 + 1
    indices = np.array([9, 0, 6, 5])
    batch = source.read_batch(indices)
    assert set(batch) == {"u", "u_scalar", "y_scalar"}
    np.testing.assert_array_equal(batch["u_scalar"], [[3, 2], [1, 0], [2, 1], [1, 0]])
    np.testing.assert_array_equal(batch["y_scalar"], [[1], [0], [0.5], [0]])
    for row, index in enumerate(indices):
        for key, value in source[index].items():
            np.testing.assert_array_equal(value, batch[key][row])
    resident = source.read_resident()
    assert resident["u_scalar"].shape == (3, 2)
    _, files = source.locate(indices)
    np.testing.assert_array_equal(resident["u_scalar"][files], batch["u_scalar"])
    assert source.resident_bytes == sum(x.nbytes for x in resident.values())
    whole = FullSequenceSource(HDF5Store(paths), ["u"], ["y"], y_scalars=["mass"])
    assert whole[2]["y_scalar"].tolist() == [3.0]


def test_changing_a_sample_changes_no_other(dataset):
    """What a source gives may be written to."""
    paths = sorted(dataset.glob("train/*"))
    source = WindowedSource(HDF5Store(paths), ["u"], ["y"], win_sz=9, u_scalars=["mass"])
    for read in (lambda: source[3], lambda: source.read_batch(np.array([3])), source.read_resident):
        first = {key: value.copy() for key, value in read().items()}
        for value in read().values():
            value[...] = 0.0
        for key, value in read().items():
            np.testing.assert_array_equal(value, first[key])


def test_window_longer_than_every_file(array_store, told):
    """A window that fits nowhere is refused with the length of the longest file."""
    error = told(
        WindowError, WindowedSource, numbered(array_store, [5, 9, 7]), ["u"], ["y"], win_sz=10
    )
    assert str(error) == (
        "no window of win_sz = 10 samples fits any of 3 files: the longest, file1, has 9. "
        "Choose win_sz no longer than the longest file."
    )
    assert error.path == Path("file1")
    told(WindowError, WindowedSource, array_store({}), ["u"], ["y"], win_sz=10)


def test_some_files_shorter_than_a_window(array_store):
    """Files without a window are warned of by name, and counting goes on behind them."""
    store = numbered(array_store, [5, 9, 2, 12])
    with pytest.warns(UserWarning, match="2 of 4 files are shorter than win_sz = 8") as caught:
        source = WindowedSource(store, ["u"], ["y"], win_sz=8)
    print(caught[0].message)
    assert "file0 (5), file2 (2)" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(source) == 7
    assert source.locate(np.array([0, 2]))[1].tolist() == [1, 3]


@pytest.mark.parametrize(
    "names, options, key, says",
    [
        (([], ["y"]), {}, "u", "u is empty"),
        ((["u"], []), {}, "y", "y and y_scalars are empty"),
        (
            (["u"], ["y"]),
            {"win_sz": 0},
            "win_sz",
            "win_sz = 0; give a whole number of samples, at least 1",
        ),
        ((["u"], ["y"]), {"stp_sz": 0}, "stp_sz", "stp_sz = 0"),
        ((["u"], ["y"]), {"u_scalars": ["m"]}, "u_scalars", "and ArrayStore has none"),
        ((["u"], []), {"y_scalars": ["m"]}, "y_scalars", "scalars (m) are attributes of HDF5"),
    ],
)
def test_wrong_arguments(array_store, told, names, options, key, says):
    """What cannot be a source is refused with the argument that is wrong."""
    error = told(
        ConfigError, WindowedSource, numbered(array_store, [9]), *names, **{"win_sz": 3} | options
    )
    assert error.key == key
    assert says in str(error)


def test_files_are_checked_when_the_source_is_built(tmp_path, write_hdf5, told):
    """A signal that one file lacks and lengths that differ are found before the first sample."""
    good = write_hdf5(tmp_path / "good.hdf5", {"u": np.zeros(9), "y": np.zeros(9)})
    lacks = write_hdf5(tmp_path / "lacks.hdf5", {"u": np.zeros(9), "y1": np.zeros(9)})
    odd = write_hdf5(tmp_path / "odd.hdf5", {"u": np.zeros(9), "y": np.zeros(8)})
    store = HDF5Store([good, lacks])
    error = told(MissingSignalError, FullSequenceSource, store, ["u"], ["y"])
    assert (error.path, error.signal) == (lacks, "y")
    assert f"{lacks}: no signal 'y'. It has: u, y1. Did you mean 'y1'?" in str(error)
    error = told(UnequalLengthError, FullSequenceSource, HDF5Store([good, odd]), ["u"], ["y"])
    assert error.path == odd
    error = told(MissingSignalError, FullSequenceSource, store, ["u"], ["u"], u_scalars=["mass"])
    assert "no file attribute 'mass'. It has no file attribute at all." in str(error)


def test_pickle(dataset):
    """A pickled source has no samples in it and gives the same ones."""
    paths = sorted(dataset.glob("train/*"))
    store = ResampledStore(HDF5Store(paths, preload=True), factor=0.7)
    source = WindowedSource(store, ["u"], ["y"], win_sz=50, u_scalars=["mass"])
    indices = np.array([7, 0, 100])
    batch = source.read_batch(indices)
    data = pickle.dumps(source)
    assert len(data) < 3000
    again = pickle.loads(data).read_batch(indices)
    for key, values in batch.items():
        np.testing.assert_array_equal(again[key], values)
