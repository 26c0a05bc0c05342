"""Files that other tools write, in which a number could be read wrongly without a word."""

from __future__ import annotations

import os
import re

import h5py
import numpy as np
import pytest

from tsjax_core import HDF5Store, ResampledStore, create_grain_dls
from tsjax_core.data.arrays import ArrayStore
from tsjax_core.data.store import find_files
from tsjax_core.errors import (
    ConfigError,
    ConstantChannelError,
    UnreadableFileError,
    UnsupportedDatasetError,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1)])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_vector_of_two_axes_is_one_channel(tmp_path, rng, shape, chunks):
    """As MATLAB writes vectors; its samples are those of the file in any part."""
    values = rng.standard_normal(300).astype("f4")
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        options = {"chunks": tuple(min(n, 50) for n in shape), "compression": "gzip"}
        f.create_dataset("u", data=values.reshape(shape), **(options if chunks else {}))
    store = HDF5Store([file])
    assert store.signal_names(file) == ["u"]
    assert store.get_seq_len(file, "u") == 300
    np.testing.assert_array_equal(store.read_signals(file, ["u"])[:, 0], values)
    np.testing.assert_array_equal(store.read_signals(file, ["u"], 120, 170)[:, 0], values[120:170])
    windows = store.read_windows(file, ["u"], np.array([7, 200]), 30)
    np.testing.assert_array_equal(windows[:, :, 0], [values[7:37], values[200:230]])
    np.testing.assert_array_equal(
        HDF5Store([file], preload=True).read_signals(file, ["u"])[:, 0], values
    )


def test_a_matrix_with_time_as_second_axis_is_named(tmp_path, rng):
    """Its columns would be read as channels of three samples."""
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        f["u"] = rng.standard_normal((3, 300))
    with pytest.raises(UnsupportedDatasetError, match="time seems to be the second axis") as caught:
        HDF5Store([file]).read_signals(file, ["u"])
    print(caught.value)


def test_a_part_of_a_virtual_data_set_that_is_gone_is_named(tmp_path, rng):
    """HDF5 would give zeros in its place."""
    for name in ("one", "two"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as f:
            f["y"] = rng.standard_normal(100) + 5.0
    layout = h5py.VirtualLayout((200,), "f8")
    for number, name in enumerate(("one", "two")):
        layout[100 * number : 100 * number + 100] = h5py.VirtualSource(f"{name}.h5", "y", (100,))
    file = tmp_path / "all.h5"
    with h5py.File(file, "w") as f:
        f.create_virtual_dataset("y", layout)
    assert HDF5Store([file]).read_signals(file, ["y"]).min() > 1.0
    with h5py.File(tmp_path / "two.h5", "w") as f:
        f["z"] = np.zeros(100)
    with pytest.raises(UnreadableFileError, match=r"two.h5: it has no data set 'y'") as caught:
        HDF5Store([file]).read_signals(file, ["y"])
    print(caught.value)
    (tmp_path / "two.h5").unlink()
    with pytest.raises(UnreadableFileError, match=r"two.h5: there is no such file") as caught:
        HDF5Store([file]).read_signals(file, ["y"])
    print(caught.value)


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    """With its target; a link that leads somewhere is followed."""
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["y"] = np.arange(5.0)
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        f["good"] = h5py.ExternalLink("other.h5", "/y")
        f["far"] = h5py.ExternalLink("gone.h5", "/y")
        f["near"] = h5py.SoftLink("/nothing")
    store = HDF5Store([file])
    np.testing.assert_array_equal(store.read_signals(file, ["good"])[:, 0], np.arange(5.0))
    for name, part in (("far", "'/y' in the file 'gone.h5'"), ("near", "'/nothing'")):
        with pytest.raises(UnreadableFileError, match=part) as caught:
            store.read_signals(file, [name])
        print(caught.value)


@pytest.mark.parametrize(
    "attributes,part",
    [
        ({"scale_factor": 0.01}, "scale_factor = [0.01]"),
        ({"add_offset": 273.15}, "add_offset = [273.15]"),
        ({"_FillValue": np.int16(-999)}, "_FillValue"),
    ],
    ids=["scale", "offset", "fill"],
)
def test_stored_numbers_that_are_not_the_values_are_refused(tmp_path, attributes, part):
    """Attributes of netCDF are never passed over; neutral ones change nothing."""
    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as f:
        f["y"] = np.arange(5, dtype="i2")
        f["y"].attrs.update({"scale_factor": 1.0, "add_offset": 0.0, "_FillValue": np.nan})
    store = HDF5Store([file])
    np.testing.assert_array_equal(store.read_signals(file, ["y"])[:, 0], np.arange(5.0))
    with h5py.File(file, "r+") as f:
        f["y"].attrs.update(attributes)
    with pytest.raises(UnsupportedDatasetError, match=re.escape(part)) as caught:
        HDF5Store([file]).read_signals(file, ["y"])
    print(caught.value)


def test_linked_folders_are_read(tmp_path):
    """With what lies below them; a circle of links ends with its name."""
    (tmp_path / "elsewhere" / "day2").mkdir(parents=True)
    (tmp_path / "elsewhere" / "day2" / "b.h5").touch()
    train = tmp_path / "train"
    train.mkdir()
    (train / "a.h5").touch()
    (train / "linked").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in find_files(train)] == ["a.h5", "b.h5"]
    (tmp_path / "elsewhere" / "back").symlink_to(train)
    with pytest.raises(UnreadableFileError, match="leads back to a folder") as caught:
        find_files(train)
    print(caught.value)


def test_what_is_no_file_is_named(tmp_path):
    """A link whose file was not fetched, and a pipe, on which reading would wait for ever."""
    (tmp_path / "a.h5").touch()
    link = tmp_path / "b.h5"
    link.symlink_to("not-fetched")
    with pytest.raises(UnreadableFileError, match=r"b.h5 is a link to not-fetched") as caught:
        find_files(tmp_path)
    print(caught.value)
    link.unlink()
    os.mkfifo(tmp_path / "c.h5")
    with pytest.raises(UnreadableFileError, match=r"c.h5 is no file, but a pipe") as caught:
        find_files(tmp_path)
    print(caught.value)


def sparse(n: int, every: int, offset: int):
    """A record whose output is measured at some samples alone."""
    t = np.arange(n, dtype=np.float64)
    y = np.full(n, np.nan)
    y[offset::every] = t[offset::every]
    return {"u": np.sin(t / 20.0), "y": y}


@pytest.mark.parametrize("method", ["linear", "antialias"])
@pytest.mark.parametrize("factor", [2.0, 0.5, 0.1, 0.3])
@pytest.mark.parametrize("offset", [0, 3])
def test_every_measured_sample_stays_when_resampled(method, factor, offset):
    """At the new sample that is nearest, and none is made where nothing was measured."""
    record = sparse(300, 10, offset)
    store = ArrayStore([record], "train")
    path = store.paths[0]
    new = ResampledStore(store, factor=factor, method=method)
    y = new.read_signals(path, ["y"])[:, 0]
    measured = np.arange(offset, 300, 10)
    nearest = np.floor(measured * factor + 0.5 + 1e-9).astype(int)
    inside = nearest < len(y)
    known = np.flatnonzero(np.isfinite(y))
    if factor * 10 >= 1:
        np.testing.assert_array_equal(known, np.unique(nearest[inside]))
        np.testing.assert_allclose(y[nearest[inside]], measured[inside], rtol=1e-6)
    starts = np.array([0, len(y) // 3, len(y) - 12])
    windows = new.read_windows(path, ["u", "y"], starts, 12)
    whole = new.read_signals(path, ["u", "y"])
    for start, window in zip(starts, windows, strict=True):
        np.testing.assert_allclose(window, whole[start : start + 12], rtol=1e-6, atol=1e-7)
    assert np.isfinite(whole[:, 0]).all()


def test_a_gap_takes_only_what_needs_it():
    """Far from it, and where it has no weight, the values are those of the record without it."""
    record = {"y": np.sin(np.arange(400) / 15.0)}
    gapped = {"y": record["y"].copy()}
    gapped["y"][200:203] = np.nan
    new, full = (
        ResampledStore(ArrayStore([each], "train"), factor=0.5, method="antialias")
        for each in (gapped, record)
    )
    y, expected = (s.read_signals(s.paths[0], ["y"])[:, 0] for s in (new, full))
    far = np.abs(np.arange(200) - 100) > 12
    np.testing.assert_array_equal(y[far], expected[far])
    # Of new sample 100, old sample 199 is left; of 101 neither 201 nor 202.
    assert y[100] == gapped["y"][199].astype(np.float32)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(y)), [101])


def test_a_rate_that_makes_minutes_of_seconds_is_refused(rng):
    """A time in milliseconds that is read as seconds asks for 500 samples in the place of one."""
    record = {"u": rng.standard_normal(300), "y": rng.standard_normal(300)}
    with pytest.raises(ConfigError, match="is the unit of its time or rate another one") as caught:
        create_grain_dls(["u"], ["y"], record, win_sz=50, dt=10.0, target_fs=50.0)
    print(caught.value)


@pytest.mark.parametrize(
    "level,spread", [(1.5e9, 35.0), (101_325.0, 0.01)], ids=["encoder", "pressure"]
)
def test_an_offset_that_takes_the_signal_is_refused_with_the_figure(rng, level, spread):
    """32-bit numbers near it stand further apart than the signal moves."""
    values = level + spread * np.cumsum(rng.standard_normal(300)) / 10
    record = {"u": rng.standard_normal(300), "y": values}
    with pytest.raises(
        ConstantChannelError, match="Take the level off before: offsets = "
    ) as caught:
        create_grain_dls(["u"], ["y"], record, win_sz=50)
    print(caught.value)
    pipeline = create_grain_dls(["u"], ["y"], record, win_sz=50, offsets={"y": level})
    train = pipeline.records("train")[0]["y"][:, 0]
    np.testing.assert_array_equal(train, (values - level)[:210].astype(np.float32))
