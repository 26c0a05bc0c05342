"""Where signals and scalars lie inside an HDF5 file.

A name is the path of a 1-D data set in the file, such as `u` or `imu/acc_x`, or `name:column` for
one column of a 2-D (time, columns) data set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.data.checks import missing_signal
from tsjax_core.errors import DataError, UnreadableFileError, UnsupportedDatasetError

if TYPE_CHECKING:
    import h5py

DT_TOLERANCE = 1e-3
"""Relative difference below which two sampling times count as one: clocks and rounding differ."""

_KINDS = {
    "O": ("strings or objects", "Store numbers, one data set per channel."),
    "S": ("strings", "Store numbers, one data set per channel."),
    "V": ("compound records", "Store each field as a data set of its own."),
    "b": ("booleans", "Store them as integers 0 and 1."),
    "c": ("complex numbers", "Store real and imaginary part as two data sets."),
}


@dataclass(frozen=True)
class Layout:
    """Place and type of one channel. `offset` is in bytes, None where only HDF5 can read it."""

    dataset: str
    column: int | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None

    @property
    def length(self) -> int:
        """Samples along the time axis."""
        return self.shape[0]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an `OSError` of HDF5 or of the system into an UnreadableFileError that names `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{path}: there is no such file.", path=path) from error
    except OSError as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as HDF5: {error}. "
            "Check that it is an HDF5 file and was copied or written to its end.",
            path=path,
        ) from error


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open `path` for reading while the block runs; UnreadableFileError if it cannot be read."""
    import h5py

    with reading(path), h5py.File(path, "r") as file:
        yield file


def signal_names(file: h5py.File) -> list[str]:
    """Return every name that addresses a channel of numbers, in the order of the file."""
    import h5py

    names: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in "iuf":
            if item.ndim == 1:
                names.append(name)
            elif item.ndim == 2:
                names.extend(f"{name}:{column}" for column in range(item.shape[1]))

    file.visititems(visit)
    return names


def find_layout(file: h5py.File, path: Path, name: str) -> Layout:
    """Return where the channel `name` lies.

    Raises MissingSignalError if there is none, UnsupportedDatasetError if it is not a channel.
    """
    dataset, base, column = _lookup(file, name), name, None
    if dataset is None:
        head, _, tail = name.rpartition(":")
        if head and tail.isdecimal():
            dataset, base, column = _lookup(file, head), head, int(tail)
    if dataset is None:
        raise missing_signal(path, name, signal_names(file))
    _require_numbers(dataset, path, base)
    _require_one_channel(dataset, path, base, column)
    if column is not None and column >= dataset.shape[1]:
        columns = [f"{base}:{each}" for each in range(dataset.shape[1])]
        raise missing_signal(path, name, columns)
    return Layout(base, column, tuple(dataset.shape), dataset.dtype, _offset(file, dataset))


def _lookup(file: h5py.File, name: str) -> h5py.Dataset | None:
    import h5py

    item = file.get(name) if name else None
    return item if isinstance(item, h5py.Dataset) else None


def _require_numbers(dataset: h5py.Dataset, path: Path, name: str) -> None:
    if dataset.shape is None:
        raise UnsupportedDatasetError(f"{path}: {name!r} is empty.", path=path, signal=name)
    if dataset.dtype.kind not in "iuf":
        found, advice = _KINDS.get(dataset.dtype.kind, (str(dataset.dtype), "Store numbers."))
        raise UnsupportedDatasetError(
            f"{path}: {name!r} holds {found}; a signal holds integers or floats. {advice}",
            path=path,
            signal=name,
        )


def _require_one_channel(dataset: h5py.Dataset, path: Path, name: str, column: int | None) -> None:
    shape = tuple(dataset.shape)
    if len(shape) == (1 if column is None else 2):
        return
    if len(shape) == 0:
        problem = (
            "is a single value; a signal has one value per sample. "
            "Store a value per file as an attribute of the file."
        )
    elif len(shape) == 1:
        problem = f"has one axis and no columns; ask for {name!r} without a column."
    elif len(shape) == 2:
        problem = (
            f"has shape {shape}, and one name is one channel; "
            f"ask for a column: {name + ':0'!r} to '{name}:{shape[1] - 1}'."
        )
    else:
        problem = f"has shape {shape}; store it as (time,) or (time, columns)."
    raise UnsupportedDatasetError(f"{path}: {name!r} {problem}", path=path, signal=name)


def _offset(file: h5py.File, dataset: h5py.Dataset) -> int | None:
    import h5py

    plain = (
        dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and not dataset.external
        # Without storage HDF5 gives fill values, and its offset is not an offset.
        and dataset.id.get_storage_size() > 0
        # An external link leads into another file.
        and dataset.file.filename == file.filename
        # NumPy must see the very bytes: packed or foreign number formats have another type.
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)
    )
    return int(dataset.id.get_offset()) if plain else None


def read_scalar(file: h5py.File, path: Path, name: str) -> float:
    """Return the file attribute `name`, or value `index` of an array attribute `name:index`."""
    key, index, present = name, None, list(file.attrs)
    if name not in present:
        head, _, tail = name.rpartition(":")
        if head not in present or not tail.isdecimal():
            raise missing_signal(path, name, present, what="file attribute")
        key, index = head, int(tail)
    values = np.asarray(file.attrs[key]).reshape(-1)
    if values.dtype.kind not in "iufb" or values.size == 0:
        raise UnsupportedDatasetError(
            f"{path}: file attribute {key!r} is {file.attrs[key]!r}; a scalar is a number.",
            path=path,
            signal=name,
        )
    every = [f"{key}:{each}" for each in range(values.size)]
    if index is None and values.size > 1:
        raise UnsupportedDatasetError(
            f"{path}: file attribute {key!r} has {values.size} values, and one name is one scalar; "
            f"ask for {every[0]!r} to {every[-1]!r}.",
            path=path,
            signal=name,
        )
    if index is not None and index >= values.size:
        raise missing_signal(path, name, every, what="file attribute")
    return float(values[index or 0])


def read_dt(file: h5py.File, path: Path) -> float | None:
    """Return the sampling time in seconds from the file attribute `dt` or `fs`, None without."""
    dt = read_scalar(file, path, "dt") if "dt" in file.attrs else None
    fs = read_scalar(file, path, "fs") if "fs" in file.attrs else None
    for name, value in (("dt", dt), ("fs", fs)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise DataError(
                f"{path}: file attribute {name!r} is {value}; "
                "a sampling time (s) or rate (Hz) is finite and above 0.",
                path=path,
                signal=name,
            )
    if dt is not None and fs is not None and abs(dt * fs - 1) > DT_TOLERANCE:
        raise DataError(
            f"{path}: file attributes contradict each other: dt = {dt} s and fs = {fs} Hz, "
            f"which is dt = {1 / fs} s. Correct or remove one of them.",
            path=path,
        )
    if dt is None and fs is not None:
        return 1 / fs
    return dt
