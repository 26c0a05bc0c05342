"""Data sets of any size: a filtered noise and what a saturated filter makes of it."""

from pathlib import Path

import h5py
import numpy as np

_BLOCK = 1 << 20
_TAPS = np.exp(-np.arange(48) / 12) / 12


def write_signals(
    folder: Path, *, samples: int, short: int = 2000, compressed: bool = False
) -> Path:
    """Write train/, valid/ and test/ with one HDF5 file each, signals `u` and `y`, float32.

    The training file has `samples` samples, the others `short` of them. Signals are contiguous,
    or in chunks that gzip compressed.
    """
    rng = np.random.default_rng(0)
    options = {"chunks": True, "compression": "gzip"} if compressed else {}
    for split, length in (("train", samples), ("valid", short), ("test", short)):
        path = folder / split / "signals.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["fs"] = 1000.0
            u, y = (file.create_dataset(name, (length,), "f4", **options) for name in "uy")
            for start in range(0, length, _BLOCK):
                block = rng.standard_normal(min(_BLOCK, length - start)).astype(np.float32)
                u[start : start + len(block)] = block
                filtered = np.convolve(block, _TAPS)[: len(block)]
                y[start : start + len(block)] = np.tanh(3.0 * filtered)
    return folder
