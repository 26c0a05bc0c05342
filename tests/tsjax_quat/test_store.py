"""Quaternions resampled as rotations."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

import tsjax_quat as tq
from tsjax_core import HDF5Store
from tsjax_core.errors import ConfigError, DataError, MissingSignalError
from tsjax_core.testing import StoreConformance

NAMES = [f"quat_{axis}" for axis in "wxyz"]
FS = 50.0


def files(folder, lengths=(41, 23)):
    rng = np.random.default_rng(0)
    paths = []
    for number, n in enumerate(lengths):
        q = Rotation.from_rotvec(np.cumsum(0.1 * rng.standard_normal((n, 3)), axis=0)).as_quat()
        # Files change between q and -q, which are the same.
        q = q[:, [3, 0, 1, 2]] * np.sign(rng.standard_normal((n, 1)))
        q[10] = np.nan
        paths.append(folder / f"{number}.hdf5")
        with h5py.File(paths[-1], "w") as file:
            file.attrs["fs"], file.attrs["mass"] = FS, 2.0
            for name, column in zip(NAMES, q.T, strict=True):
                file[name] = column.astype(np.float32)
            file["gyr"] = rng.standard_normal(n).astype(np.float32)
    return paths


class TestQuaternionStore(StoreConformance):
    signals = (
        "quat_w",
        "gyr",
        "quat_x",
        "quat_y",
        "quat_z",
        "quat_inclination_deg",
        "quat_roll_rad",
    )
    attributes = ("mass", "fs")

    @classmethod
    def setup_class(cls):
        import tempfile
        from pathlib import Path

        cls.folder = tempfile.TemporaryDirectory()
        cls.store = tq.QuaternionStore(HDF5Store(files(Path(cls.folder.name))), target_fs=30.0)

    @classmethod
    def teardown_class(cls):
        cls.folder.cleanup()


class TestQuaternionStoreAtTheRateOfTheFiles(TestQuaternionStore):
    @classmethod
    def setup_class(cls):
        super().setup_class()
        cls.store = tq.QuaternionStore(HDF5Store(cls.store.paths))


@pytest.fixture
def raw(tmp_path):
    return HDF5Store(files(tmp_path))


@pytest.mark.parametrize("fs", [20.0, 75.0, 50.0 / 3.0])
def test_new_samples_are_those_of_scipy(raw, case, fs):
    """At any ratio, whatever the signs in the file; NaN beside a gap and nowhere else."""
    store = tq.QuaternionStore(raw, target_fs=fs)
    for path in store.paths:
        q = raw.read_signals(path, NAMES)
        got = store.read_signals(path, NAMES)
        at = np.arange(len(got)) * FS / fs
        beside = np.abs(at - 10.0) < 1.0 - 1e-6
        assert np.array_equal(np.isnan(got).all(-1), beside)
        assert np.array_equal(np.isnan(got).any(-1), beside)
        known = ~np.isnan(q[:, 0])
        expected = Slerp(np.flatnonzero(known), case.scipy(q[known]))(at[~beside])
        case.same(got[~beside], expected.as_quat()[:, [3, 0, 1, 2]])
        np.testing.assert_allclose(np.linalg.norm(got[~beside], axis=-1), 1.0, atol=1e-6)
        assert store.get_dt(path) == pytest.approx(1.0 / fs)


def test_angles_are_signals_of_their_own(raw):
    """Inclination, roll and pitch of each quaternion, in rad and in degrees."""
    store = tq.QuaternionStore(raw)
    path = store.paths[0]
    q = np.delete(store.read_signals(path, NAMES), 10, axis=0).astype(np.float64)
    kinds = [
        f"quat_{kind}_{unit}"
        for kind in ("inclination", "roll", "pitch")
        for unit in ("rad", "deg")
    ]
    got = np.delete(store.read_signals(path, kinds), 10, axis=0)
    angles = [tq.inclination(q), *np.moveaxis(tq.to_roll_pitch_yaw(q), -1, 0)[:2]]
    for number, angle in enumerate(angles):
        np.testing.assert_allclose(got[:, 2 * number], angle, atol=1e-5)
        np.testing.assert_allclose(got[:, 2 * number + 1], np.degrees(angle), atol=1e-3)


def test_other_forms_of_names_and_options_that_do_not_fit(raw, tmp_path):
    """A quaternion may be named q1w, q1x; one that is missing, and a wrong option, are told."""
    path = tmp_path / "named.hdf5"
    with h5py.File(path, "w") as file:
        for axis in "wxyz":
            file[f"q1{axis}"] = np.ones(5, np.float32)
    store = tq.QuaternionStore(HDF5Store([path]), quaternions=("q1",))
    np.testing.assert_allclose(store.read_signals(path, ["q1x", "q1w"]), 0.5)
    assert store.read_signals(path, ["q1_inclination_rad"]).shape == (5, 1)
    assert store.get_dt(path) is None
    with pytest.raises(MissingSignalError) as caught:
        tq.QuaternionStore(raw, quaternions=("q1",)).read_signals(raw.paths[0], ["q1_w"])
    print(caught.value)
    assert "no signal 'q1_w'" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        tq.QuaternionStore(raw, quaternions=())
    print(caught.value)
    assert "quat/slerp got quaternions = []" in str(caught.value)
    with pytest.raises(DataError):
        store.read_signals(path, ["q1w"], 3, 9)
