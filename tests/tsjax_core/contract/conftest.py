"""The plugin `families`, installed for a test, and data with a further signal and scalars."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w

from tsjax_core.registry import registry

SOURCE = Path(__file__).with_name("families.py").read_text(encoding="utf-8")
LENGTHS = {"train": (130, 87, 64), "valid": (70, 50), "test": (60, 40)}


@pytest.fixture
def families(site):
    """Install the plugin and return its module."""
    site.install("families", SOURCE)
    registry._installed.cache_clear()
    yield import_module("fake_families._plugin")
    registry._installed.cache_clear()


@pytest.fixture(scope="session")
def lag_files(tmp_path_factory) -> Path:
    """Return a first-order lag of 0.2 s and gain 3 at 50 Hz, with a mask, in unequal files."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("lag")
    for split, lengths in LENGTHS.items():
        (folder / split).mkdir()
        for number, n in enumerate(lengths):
            u = np.repeat(rng.standard_normal(n // 5 + 1), 5)[:n]
            y = np.zeros(n)
            x = rng.standard_normal()
            for t in range(n):
                x += 0.02 / 0.2 * (3.0 * u[t] - x)
                y[t] = x
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                file.attrs["dt"] = 0.02
                file["u"], file["y"] = u.astype("f4"), y.astype("f4")
                file["v"] = rng.standard_normal(n).astype("f4")
                file["moves"] = (np.arange(n) % 3 > 0).astype("f4")
    return folder


@pytest.fixture
def write_experiment(lag_files, tmp_path):
    """Return a function that writes an experiment with some of its tables changed."""

    def write(name="e", **tables) -> Path:
        base = {
            "data": {
                "dataset": str(lag_files),
                "u": ["u"],
                "y": ["y"],
                "win_sz": 20,
                "stp_sz": 10,
                "bs": 3,
            },
            "model": {"name": "core/gru", "hidden_size": 3},
            "train": {"epochs": 2, "metrics": ["core/rmse"]},
        }
        for key, value in tables.items():
            base[key] = {**base[key], **value} if key in base else value
        file = tmp_path / f"{name}.toml"
        file.write_text(tomli_w.dumps(base), encoding="utf-8")
        return file

    return write
