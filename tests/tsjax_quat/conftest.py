"""Rotations, signals of one quaternion, and small files of a turning sensor."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tsjax_core import NormStats, Signals, cli

QUAT = ("quat_w", "quat_x", "quat_y", "quat_z")
IMU = ("gyr_x", "gyr_y", "gyr_z", "acc_x", "acc_y", "acc_z")
DT = 0.02


def of_quaternions(names=QUAT, inputs=IMU) -> Signals:
    stats = {
        "u": NormStats(np.zeros(len(inputs)), np.ones(len(inputs))),
        "y": NormStats(np.zeros(len(names)), np.ones(len(names))),
    }
    return Signals(inputs, names, stats, DT)


def draw(seed: int, *shape: int) -> np.ndarray:
    q = np.random.default_rng(seed).standard_normal((*shape, 4))
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def scipy_of(q: np.ndarray) -> Rotation:
    """SciPy's rotation, whose order is x, y, z, w."""
    return Rotation.from_quat(np.asarray(q)[..., [1, 2, 3, 0]].reshape(-1, 4))


def same_rotation(p, q, atol=1e-6) -> None:
    dots = np.abs(np.sum(np.asarray(p, np.float64) * np.asarray(q, np.float64), axis=-1))
    np.testing.assert_allclose(dots, 1.0, atol=atol)


@pytest.fixture(scope="session")
def case() -> SimpleNamespace:
    return SimpleNamespace(
        signals=of_quaternions(),
        signals_of=of_quaternions,
        draw=draw,
        scipy=scipy_of,
        same=same_rotation,
        quat=QUAT,
        imu=IMU,
        dt=DT,
    )


def write_sensor(path: Path, n: int, seed: int) -> None:
    """Write what an ideal sensor measures while it turns, with gaps in the reference."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) * DT
    rate = sum(
        rng.uniform(0.3, 1.0, 3)
        * np.sin(rng.uniform(0.5, 3.0, 3) * t[:, None] + rng.uniform(0, 6, 3))
        for _ in range(2)
    )
    rate[:10] = 0.0
    rotation = scipy_of(draw(seed, 1))[0]
    q = np.empty((n, 4))
    for k in range(n):
        rotation = rotation * Rotation.from_rotvec(DT * rate[k])
        q[k] = rotation.as_quat()[[3, 0, 1, 2]]
    acc = scipy_of(q).inv().apply([0.0, 0.0, 9.81]) + 0.02 * rng.standard_normal((n, 3))
    q[30:33] = np.nan
    values = np.concatenate([rate + 0.01, acc, q], axis=1).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["dt"] = DT
        for name, column in zip((*IMU, *QUAT), values.T, strict=True):
            file[name] = column
        file["movement"] = (np.arange(n) >= 20).astype(np.float32)


@pytest.fixture(scope="session")
def turning(tmp_path_factory) -> Path:
    """Return a data set of a turning sensor, in files of unequal and odd lengths."""
    folder = tmp_path_factory.mktemp("turning")
    lengths = {"train": (161, 127), "valid": (101,), "test": (117, 90)}
    for split, sizes in lengths.items():
        (folder / split).mkdir()
        for number, n in enumerate(sizes):
            write_sensor(folder / split / f"{number}.hdf5", n, 7 * len(split) + number)
    return folder


@pytest.fixture
def tsjax(monkeypatch, capsys):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out = capsys.readouterr()
        print(out.out, out.err, sep="\n")
        code = left.value.code
        return (code if isinstance(code, int) else 0), out.out, out.err

    return run
