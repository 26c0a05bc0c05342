from __future__ import annotations

import gc
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsjax_core.data import hdf5
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.errors import (
    DataError,
    MissingSignalError,
    UnequalLengthError,
    UnreadableFileError,
    UnsupportedDatasetError,
    WindowError,
)

N = 700
VALUES = np.random.default_rng(3).integers(-3000, 3000, (N, 3))
ENCODINGS = {
    "float32": ("f4", {}),
    "float64": ("f8", {}),
    "float16": ("f2", {}),
    "big-endian float64": (">f8", {}),
    "big-endian int32": (">i4", {}),
    "int16": ("i2", {}),
    "chunked": ("f4", {"chunks": True}),
    "small chunks": ("i2", {"chunks": 64}),
    "gzip": ("f8", {"compression": "gzip", "chunks": 128}),
    "shuffle and checksum": (">f4", {"shuffle": True, "fletcher32": True, "chunks": 50}),
}
DESCRIPTORS = Path("/dev/fd")
STARTS = np.array([5, 0, N - 40, 5, 311])


def expected(dtype):
    return VALUES.astype(dtype).astype(np.float32)


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_read_alike(tmp_path, write_hdf5, encoding, preload):
    """Whatever the type, byte order and layout in the file, the same numbers are read."""
    dtype, options = ENCODINGS[encoding]
    values = VALUES.astype(dtype)
    path = write_hdf5(
        tmp_path / "a.hdf5", {"u": values[:, 0], "imu/acc_x": values[:, 1]}, **options
    )
    store = HDF5Store([path], preload=preload)
    wanted = expected(dtype)[:, [1, 0]]
    names = ["imu/acc_x", "u"]
    for _ in range(2):
        got = store.read_signals(path, names)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(store.read_signals(path, names, 13, 99), wanted[13:99])
        assert store.read_signals(path, names, 7, 7).shape == (0, 2)
        windows = store.read_windows(path, names, STARTS, 40)
        np.testing.assert_array_equal(windows, np.stack([wanted[s : s + 40] for s in STARTS]))
        assert store.read_windows(path, names, STARTS[:0], 40).shape == (0, 40, 2)
    assert store.get_seq_len(path, "u") == store.get_seq_len(path) == N


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("options", [{}, {"chunks": (100, 3)}, {"compression": "gzip"}])
def test_columns(tmp_path, write_hdf5, options, preload):
    """A column of a 2-D data set is a signal of its own, named by its number."""
    path = write_hdf5(tmp_path / "a.hdf5", {"acc": VALUES.astype(">i4")}, **options)
    store = HDF5Store([path], preload=preload)
    names = ["acc:2", "acc:0"]
    wanted = VALUES[:, [2, 0]].astype("f4")
    np.testing.assert_array_equal(store.read_signals(path, names, 3, 80), wanted[3:80])
    windows = store.read_windows(path, names, STARTS, 9)
    np.testing.assert_array_equal(windows, np.stack([wanted[s : s + 9] for s in STARTS]))
    assert store.signal_names(path) == ["acc:0", "acc:1", "acc:2"]


@pytest.mark.parametrize("encoding", ["float32", "big-endian int32", "float64"])
def test_contiguous_data_are_mapped(tmp_path, write_hdf5, encoding, monkeypatch):
    """Contiguous data sets are read without HDF5, once it has told where they lie."""
    dtype, _ = ENCODINGS[encoding]
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0].astype(dtype)})
    store = HDF5Store([path])
    store.get_seq_len(path, "u")
    monkeypatch.setattr(h5py, "File", None)
    np.testing.assert_array_equal(store.read_signals(path, ["u"])[:, 0], expected(dtype)[:, 0])


def test_chunked_data_are_not_mapped(tmp_path, write_hdf5, monkeypatch):
    """The test above fails where HDF5 is needed."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0]}, chunks=True)
    store = HDF5Store([path])
    store.get_seq_len(path, "u")
    monkeypatch.setattr(h5py, "File", None)
    with pytest.raises(TypeError):
        store.read_signals(path, ["u"])


def test_unusual_places(tmp_path, write_hdf5):
    """User blocks, links, compact and never written data sets give what HDF5 gives."""
    other = write_hdf5(tmp_path / "other.hdf5", {"far": VALUES[:, 1].astype("f4")})
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["u"] = VALUES[:, 0].astype("f4")
        file["soft"] = h5py.SoftLink("/u")
        file["external"] = h5py.ExternalLink(other.name, "far")
        file.create_dataset("unwritten", (N,), "f4", fillvalue=2.5)
        file["odd:0"] = VALUES[:, 2].astype("i2")
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((N,))
        dataset = h5py.h5d.create(file.id, b"compact", h5py.h5t.STD_I16BE, space, dcpl=compact)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES[:, 2].astype("i2"))
    names = ["u", "soft", "/u", "external", "unwritten", "odd:0", "compact"]
    store = HDF5Store([path])
    with h5py.File(path) as file:
        wanted = np.stack([file[name][:] for name in names], axis=1)
    np.testing.assert_array_equal(store.read_signals(path, names), wanted)
    np.testing.assert_array_equal(HDF5Store([path], preload=True).read_signals(path, names), wanted)


def test_value_beyond_float32_becomes_infinite(tmp_path, write_hdf5):
    """A float64 value that float32 cannot hold is infinite, without a warning."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.array([1e300, 1.0])})
    assert HDF5Store([path]).read_signals(path, ["u"])[:, 0].tolist() == [np.inf, 1.0]


def test_reads_are_copies(tmp_path, write_hdf5):
    """Writing into what was read changes neither the file nor the next read."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0].astype("f4")})
    for preload in (False, True):
        store = HDF5Store([path], preload=preload)
        store.read_signals(path, ["u"])[:] = 0.0
        store.read_windows(path, ["u"], STARTS, 3)[:] = 0.0
        np.testing.assert_array_equal(store.read_signals(path, ["u"])[:, 0], VALUES[:, 0])


def test_pickle_holds_neither_files_nor_samples(tmp_path, write_hdf5):
    """A store that has read much is pickled in a few hundred bytes, and reads the same after."""
    long = np.arange(100_000, dtype="f4")
    mapped = write_hdf5(tmp_path / "a.hdf5", {"u": long})
    chunked = write_hdf5(tmp_path / "b.hdf5", {"u": long}, chunks=True)
    store = HDF5Store([mapped, chunked], preload=True)
    plain = HDF5Store([mapped, chunked])
    for each in (store, plain):
        for path in each.paths:
            each.read_signals(path, ["u"])
        data = pickle.dumps(each)
        assert len(data) < 2000
        again = pickle.loads(data)
        for path in again.paths:
            np.testing.assert_array_equal(again.read_signals(path, ["u"])[:, 0], long)


@pytest.mark.parametrize("options", [{}, {"chunks": True}])
@pytest.mark.parametrize("limit", [3, 1000])
def test_open_files_are_bounded(tmp_path, write_hdf5, monkeypatch, limit, options):
    """No more files are open than the limit, and with a high limit this test sees them all."""
    monkeypatch.setattr(hdf5, "_MAX_MAPS", limit)
    monkeypatch.setattr(hdf5, "_MAX_FILES", limit)
    paths = [
        write_hdf5(tmp_path / f"{i}.hdf5", {"u": np.full(5, i, "f4")}, **options) for i in range(40)
    ]
    store = HDF5Store(paths)
    # What other tests have left open would be closed while this one counts.
    gc.collect()
    before = len(list(DESCRIPTORS.iterdir()))
    for _ in range(2):
        for i, path in enumerate(paths):
            assert store.read_signals(path, ["u"])[0, 0] == i
    opened = len(list(DESCRIPTORS.iterdir())) - before
    assert opened <= limit
    assert opened >= min(limit, 40)


def test_threads_share_a_store(tmp_path, write_hdf5, monkeypatch):
    """Reads from several threads are right while files are closed to open others."""
    monkeypatch.setattr(hdf5, "_MAX_MAPS", 2)
    monkeypatch.setattr(hdf5, "_MAX_FILES", 2)
    paths = [
        write_hdf5(
            tmp_path / f"{i}.hdf5", {"u": np.full(50, i, "f4")}, chunks=(10,) if i % 2 else None
        )
        for i in range(8)
    ]
    store = HDF5Store(paths)

    def wrong(seed):
        order = np.random.default_rng(seed).integers(0, len(paths), 100)
        return [i for i in order if not (store.read_signals(paths[i], ["u"]) == i).all()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(wrong, range(4))) == [[]] * 4


def test_unreadable_files(tmp_path, write_hdf5, told):
    """A missing, foreign, empty or truncated file is named with what HDF5 says of it."""
    missing = tmp_path / "missing.hdf5"
    error = told(UnreadableFileError, HDF5Store([missing]).get_seq_len, missing, "u")
    assert error.path == missing
    assert str(error) == f"{missing}: there is no such file."

    foreign = tmp_path / "foreign.hdf5"
    foreign.write_text("time,u,y\n0,1,2\n")
    error = told(UnreadableFileError, HDF5Store([foreign]).read_signals, foreign, ["u"])
    assert str(error).startswith(f"{foreign}: cannot be read as HDF5: ")
    assert "file signature not found" in str(error)
    assert "Check that it is an HDF5 file" in str(error)

    empty = tmp_path / "empty.hdf5"
    empty.touch()
    told(UnreadableFileError, HDF5Store([empty]).get_dt, empty)
    told(UnreadableFileError, HDF5Store([tmp_path]).get_dt, tmp_path)

    cut = write_hdf5(tmp_path / "cut.hdf5", {"u": VALUES[:, 0]})
    os.truncate(cut, 3000)
    error = told(UnreadableFileError, HDF5Store([cut]).get_seq_len, cut, "u")
    assert "truncated file" in str(error)
    assert "copied or written to its end" in str(error)


def test_file_truncated_under_the_store(tmp_path, write_hdf5, told):
    """A file that shrinks after it was looked at gives an error, not a crash."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0]})
    store = HDF5Store([path])
    store.get_seq_len(path, "u")
    os.truncate(path, 3000)
    error = told(UnreadableFileError, store.read_signals, path, ["u"])
    assert "and the file at 3000" in str(error)


def test_damaged_chunk(tmp_path, write_hdf5, told):
    """A chunk whose checksum is wrong is an error that names the file."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0]}, fletcher32=True, chunks=(N,))
    with h5py.File(path) as file:
        offset = file["u"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)
    error = told(UnreadableFileError, HDF5Store([path]).read_signals, path, ["u"])
    assert str(path) in str(error)


def test_missing_signals(tmp_path, write_hdf5, told):
    """A missing signal is told with what is there and the nearest name."""
    one = VALUES[:, 0]
    path = write_hdf5(tmp_path / "a.hdf5", {"torque": one, "imu/acc_x": one, "pos": VALUES})
    store = HDF5Store([path])
    error = told(MissingSignalError, store.read_signals, path, ["torqe"])
    assert (error.path, error.signal) == (path, "torqe")
    assert str(error) == (
        f"{path}: no signal 'torqe'. It has: imu/acc_x, pos:0, pos:1, pos:2, torque. "
        "Did you mean 'torque'?"
    )
    assert "imu/acc_x" in str(told(MissingSignalError, store.get_seq_len, path, "imu"))
    error = told(MissingSignalError, store.get_seq_len, path, "pos:3")
    assert "It has: pos:0, pos:1, pos:2." in str(error)
    told(MissingSignalError, store.get_seq_len, path, "torque/x")
    told(MissingSignalError, store.get_seq_len, path, "")

    bare = write_hdf5(tmp_path / "bare.hdf5", {})
    error = told(MissingSignalError, HDF5Store([bare]).get_seq_len, bare)
    assert "It has no signal at all." in str(error)


@pytest.mark.parametrize(
    "values, says",
    [
        (np.array(["a", "b"], object), "'u' holds strings or objects; a signal holds integers"),
        (np.array([b"a", b"b"]), "'u' holds strings;"),
        (np.array([True, False]), "'u' holds booleans; a signal holds integers or floats. Store"),
        (np.array([1 + 2j]), "'u' holds complex numbers"),
        (np.zeros(3, [("t", "f4"), ("x", "f4")]), "'u' holds compound records"),
        (h5py.Empty("f4"), "'u' is empty"),
        (3.0, "'u' is a single value"),
        (np.zeros((4, 3)), "one name is one channel; ask for a column: 'u:0' to 'u:2'"),
        (np.zeros((4, 3, 2)), "has shape (4, 3, 2); store it as (time,) or (time, columns)"),
    ],
)
def test_data_sets_that_are_no_channel(tmp_path, write_hdf5, told, values, says):
    """What is not numbers along one axis is refused with what to do about it."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        path = tmp_path / "a.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("u", data=values, dtype=h5py.string_dtype())
    else:
        path = write_hdf5(tmp_path / "a.hdf5", {"u": values})
    error = told(UnsupportedDatasetError, HDF5Store([path]).read_signals, path, ["u"])
    assert (error.path, error.signal) == (path, "u")
    assert str(error).startswith(f"{path}: ")
    assert says in str(error)


def test_column_of_one_axis(tmp_path, write_hdf5, told):
    """A column of a 1-D data set is refused."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": VALUES[:, 0]})
    error = told(UnsupportedDatasetError, HDF5Store([path]).get_seq_len, path, "u:0")
    assert "ask for 'u' without a column" in str(error)


def test_unequal_lengths(tmp_path, write_hdf5, told):
    """Signals of different lengths cannot be read together, but each alone."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(10), "y": np.zeros(9)})
    store = HDF5Store([path])
    error = told(UnequalLengthError, store.read_signals, path, ["u", "y"])
    assert (error.path, error.signal) == (path, "y")
    assert "'u' has 10 samples, 'y' has 9 samples" in str(error)
    told(UnequalLengthError, store.read_windows, path, ["u", "y"], np.array([0]), 3)
    assert store.read_signals(path, ["y"]).shape == (9, 1)


@pytest.mark.parametrize("start, stop", [(-1, 4), (3, 2), (0, 11), (11, None)])
def test_range_outside(tmp_path, write_hdf5, told, start, stop):
    """A range that leaves the file is an error that tells its length."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(10)})
    error = told(WindowError, HDF5Store([path]).read_signals, path, ["u"], start, stop)
    assert "the file has 10" in str(error)
    assert error.path == path


@pytest.mark.parametrize("start", [-1, 8])
def test_window_outside(tmp_path, write_hdf5, told, start):
    """A window that leaves the file is an error, also beside windows that do not."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(10)})
    told(WindowError, HDF5Store([path]).read_windows, path, ["u"], np.array([0, start, 2]), 3)


def test_attributes(tmp_path, write_hdf5, told):
    """Scalars are file attributes; a value of an array attribute is named by its number."""
    attrs = {"mass": 2, "x0": [0.5, -1.5], "single": [7.0], "label": "run 3", "loaded": True}
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(3)}, attrs)
    store = HDF5Store([path])
    got = store.read_attributes(path, ["x0:1", "mass", "single", "loaded"])
    assert got.dtype == np.float32
    assert got.tolist() == [-1.5, 2.0, 7.0, 1.0]
    assert store.read_attributes(path, []).shape == (0,)
    error = told(MissingSignalError, store.read_attributes, path, ["mas"])
    assert "no file attribute 'mas'. It has: " in str(error)
    assert "Did you mean 'mass'?" in str(error)
    error = told(UnsupportedDatasetError, store.read_attributes, path, ["x0"])
    assert "ask for 'x0:0' to 'x0:1'" in str(error)
    told(MissingSignalError, store.read_attributes, path, ["x0:2"])
    told(MissingSignalError, store.read_attributes, path, [""])
    error = told(UnsupportedDatasetError, store.read_attributes, path, ["label"])
    assert "'label' is 'run 3'; a scalar is a number" in str(error)


@pytest.mark.parametrize(
    "attrs, dt",
    [
        ({}, None),
        ({"fs": 50}, 0.02),
        ({"dt": 0.02}, 0.02),
        ({"dt": 0.02, "fs": np.float32(50)}, 0.02),
        ({"dt": [0.0035]}, 0.0035),
        ({"dt": 0.0035, "fs": 285.7}, 0.0035),
    ],
)
def test_sampling_time(tmp_path, write_hdf5, attrs, dt):
    """The sampling time is the attribute `dt` or the inverse of `fs`, up to rounding."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(3)}, attrs)
    assert HDF5Store([path]).get_dt(path) == dt


@pytest.mark.parametrize(
    "attrs, says",
    [
        (
            {"dt": 0.02, "fs": 100},
            "'dt' = 0.02, which is dt = 0.02 s, and file attribute 'fs' = 100, which is dt = 0.01",
        ),
        ({"fs": 0}, "'fs' is 0; a sampling time (s) or rate (Hz) is one finite number above 0"),
        ({"dt": np.nan}, "'dt' is nan"),
    ],
)
def test_wrong_sampling_time(tmp_path, write_hdf5, told, attrs, says):
    """Contradicting or impossible sampling times are refused."""
    path = write_hdf5(tmp_path / "a.hdf5", {"u": np.zeros(3)}, attrs)
    error = told(DataError, HDF5Store([path]).get_dt, path)
    assert error.path == path
    assert says in str(error)


def resident(path: Path) -> int:
    """Bytes of the file that are mapped into this process and resident."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(),
    reason="only Linux tells which pages of a mapped file are resident",
)
@pytest.mark.parametrize("way", ["pieces", "windows", "columns", "preloaded"])
def test_what_was_read_of_a_long_file_does_not_stay_resident(tmp_path, monkeypatch, way):
    """However much is read of it, in order or not, less than the limit remains."""
    monkeypatch.setattr(hdf5, "_MAX_RESIDENT", 12 << 20)
    length, piece = 8 << 20, 1 << 16
    values = np.arange(length, dtype=np.float32)
    path = tmp_path / "long.hdf5"
    with h5py.File(path, "w") as file:
        file["u"] = values[:, None].repeat(2, 1) if way == "columns" else values
    store = HDF5Store([path], preload=way == "preloaded")
    names = ["u:0", "u:1"] if way == "columns" else ["u"]
    rng = np.random.default_rng(0)
    most = 0
    for number in range(length // piece):
        if way == "windows":
            starts = rng.integers(0, length - 50, 16)
            got = store.read_windows(path, names, starts, 50)
            wanted = values[starts[:, None] + np.arange(50)][..., None]
        else:
            got = store.read_signals(path, names, number * piece, (number + 1) * piece)
            wanted = values[number * piece : (number + 1) * piece, None]
        assert (got == wanted).all()
        if number % 8 == 0:
            most = max(most, resident(path))
    print(most / 2**20, "MiB of", path.stat().st_size / 2**20)
    assert most <= 12 << 20


def test_threads_read_the_same_while_pages_are_given_back(tmp_path, monkeypatch):
    """A page that one thread gives back while another reads it is mapped again."""
    monkeypatch.setattr(hdf5, "_MAX_RESIDENT", 1 << 18)
    length = 1 << 20
    values = np.arange(length, dtype=np.float32)
    path = tmp_path / "long.hdf5"
    with h5py.File(path, "w") as file:
        file["u"] = values
    store = HDF5Store([path])

    def read(seed: int) -> bool:
        starts = np.random.default_rng(seed).integers(0, length - 50, 64)
        got = store.read_windows(path, ["u"], starts, 50)
        return bool((got[..., 0] == values[starts[:, None] + np.arange(50)]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))
