"""Small files, a store in memory, and a look at the texts of errors."""

from __future__ import annotations

import h5py
import numpy as np
import pytest


def _write_hdf5(path, signals, attrs=(), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in signals.items():
            file.create_dataset(name, data=values, **options)
        file.attrs.update(dict(attrs))
    return path


def _write_csv(path, columns, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.stack(list(columns.values()), axis=1)
    lines = [delimiter.join(columns), *(delimiter.join(f"{x:.9g}" for x in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _told(kind, function, *args, **options):
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert type(caught.value) is kind
    print(f"{kind.__name__}: {caught.value}")
    return caught.value


class ArrayStore:
    """Signals in memory, by path and name, without any of the optional abilities."""

    def __init__(self, files):
        self.files = files

    @property
    def paths(self):
        return tuple(self.files)

    def get_seq_len(self, path, signal=None):
        signals = self.files[path]
        return len(signals[signal or next(iter(signals))])

    def read_signals(self, path, signals, start=0, stop=None):
        return np.stack([self.files[path][name][start:stop] for name in signals], 1, dtype="f4")


@pytest.fixture(scope="session")
def write_hdf5():
    """Write `{name: values}` as data sets of an HDF5 file, made with the options of h5py."""
    return _write_hdf5


@pytest.fixture(scope="session")
def write_csv():
    """Write `{name: values}` as columns of a CSV file."""
    return _write_csv


@pytest.fixture(scope="session")
def told():
    """Call a function, print the error of exactly the given type that it raises, return it."""
    return _told


@pytest.fixture(scope="session")
def array_store():
    """The class of stores in memory."""
    return ArrayStore


@pytest.fixture
def dataset(tmp_path, write_hdf5):
    """A directory of noise: three files to train, one to validate, two to test, 100 Hz."""
    rng = np.random.default_rng(0)
    lengths = {"train/a": 300, "train/b": 170, "train/c": 90, "valid/a": 120}
    for number, (name, n) in enumerate({**lengths, "test/a": 150, "test/b": 80}.items()):
        signals = {key: rng.standard_normal(n).astype("f4") for key in ("u", "y", "z")}
        attrs = {"fs": 100.0, "mass": 1.0 + number, "x0": [0.5 * number, number]}
        write_hdf5(tmp_path / "data" / f"{name}.hdf5", signals, attrs)
    return tmp_path / "data"
