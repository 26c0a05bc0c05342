"""Where signals and scalars lie inside an HDF5 file.

A name is the path of a 1-D data set in the file, such as `u` or `imu/acc_x`, or `name:column` for
one column of a 2-D (time, columns) data set. A data set of one row or one column, as MATLAB writes
vectors, is one channel and is named as a 1-D one. Matrices that MATLAB wrote have their axes in the
order of MATLAB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.data.checks import missing_signal
from tsjax_core.errors import UnreadableFileError, UnsupportedDatasetError

if TYPE_CHECKING:
    import h5py

_KINDS = {
    "O": ("strings or objects", "Store numbers, one data set per channel."),
    "S": ("strings", "Store numbers, one data set per channel."),
    "V": ("compound records", "Store each field as a data set of its own."),
    "b": ("booleans", "Store them as integers 0 and 1."),
    "c": ("complex numbers", "Store real and imaginary part as two data sets."),
}


@dataclass(frozen=True)
class Layout:
    """Place and type of one channel. `offset` is in bytes, None where only HDF5 can read it.

    `shape` has time as its first axis; `is_row` says that the file has it as the second one. `key`
    is equal for two names of the same numbers, and `taken_off` a number that is subtracted.
    """

    dataset: str
    column: int | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    is_row: bool = False
    key: object = None
    taken_off: float = 0.0

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
        if any(text in str(error) for text in ("unable to lock", "already open for write")):
            raise UnreadableFileError(
                f"{path}: another program has the file open for writing ({error}). Close it there, "
                "or copy the file.",
                path=path,
            ) from error
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
            if item.ndim == 1 or _is_vector(item):
                names.append(name)
            elif item.ndim == 2:
                names.extend(
                    f"{name}:{column}" for column in range(item.shape[_time_last(item) - 1])
                )

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
        _require_links(file, path, name)
        raise missing_signal(path, name, signal_names(file))
    _require_sources(dataset, path, base)
    _require_plain_values(dataset, path, base)
    _require_numbers(dataset, path, base)
    _require_filters(dataset, path, base)
    key = _key_of(dataset, column)
    if column in (None, 0) and _is_vector(dataset):
        shape = (max(dataset.shape),)
        is_row = dataset.shape[0] == 1
        return Layout(
            base, None, shape, dataset.dtype, _offset(file, dataset), is_row=is_row, key=key
        )
    _require_one_channel(dataset, path, base, column)
    is_row = dataset.ndim == 2 and _time_last(dataset)
    axes: tuple[int, ...] = tuple(dataset.shape[::-1] if is_row else dataset.shape)
    if column is not None and column >= axes[1]:
        columns = [f"{base}:{each}" for each in range(axes[1])]
        raise missing_signal(path, name, columns)
    return Layout(base, column, axes, dataset.dtype, _offset(file, dataset), is_row=is_row, key=key)


def _lookup(file: h5py.File, name: str) -> h5py.Dataset | None:
    import h5py

    item = file.get(name) if name else None
    return item if isinstance(item, h5py.Dataset) else None


def _time_last(dataset: h5py.Dataset) -> bool:
    """Return whether MATLAB wrote a matrix, whose first axis is the last one in the file."""
    return "MATLAB_class" in dataset.attrs


def _key_of(dataset: h5py.Dataset, column: int | None) -> object:
    """Return what is equal for two names of the same numbers, such as `u`, `/u` and a link."""
    import h5py

    # A column of a data set that has one alone is the whole of it.
    alone = None if dataset.ndim < 2 or 1 in dataset.shape else column
    return dataset.file.filename, h5py.h5o.get_info(dataset.id).addr, alone


def _require_filters(dataset: h5py.Dataset, path: Path, name: str) -> None:
    """Raise UnsupportedDatasetError for a compression that is not there, after looking for it."""
    import h5py

    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    for code, _, _, label in filters:
        if h5py.h5z.filter_avail(code):
            continue
        if find_spec("hdf5plugin") is not None:
            import_module("hdf5plugin")
            if h5py.h5z.filter_avail(code):
                continue
        called = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        raise UnsupportedDatasetError(
            f"{path}: {name!r} is compressed by {called or 'a filter'} (number {code}), which h5py "
            "does not have. Install it, which suffices: pip install hdf5plugin; or compress by "
            "gzip.",
            path=path,
            signal=name,
        )


def _is_vector(dataset: h5py.Dataset) -> bool:
    """Return whether a data set of two axes has one row or one column, and is one channel."""
    return dataset.ndim == 2 and 1 in dataset.shape and max(dataset.shape) > 1


def _require_links(file: h5py.File, path: Path, name: str) -> None:
    """Raise UnreadableFileError where `name` is a link that leads nowhere."""
    import h5py

    try:
        link = file.get(name, getlink=True)
    except (KeyError, ValueError):
        return
    if isinstance(link, h5py.ExternalLink):
        target = f"{link.path!r} in the file {link.filename!r}"
    elif isinstance(link, h5py.SoftLink):
        target = repr(link.path)
    else:
        return
    raise UnreadableFileError(
        f"{path}: {name!r} is a link to {target}, which is not there. Copy what it leads to beside "
        "the file.",
        path=path,
        signal=name,
    )


def _require_sources(dataset: h5py.Dataset, path: Path, name: str) -> None:
    """Raise UnreadableFileError where a file of a virtual data set is gone, which HDF5 fills up."""
    import h5py

    if dataset.shape is None or not dataset.is_virtual:
        return
    for source in dataset.virtual_sources():
        place = path.parent / source.file_name
        if source.file_name == ".":
            continue
        problem = "there is no such file" if not place.is_file() else ""
        if not problem:
            with h5py.File(place, "r") as other:
                if source.dset_name not in other:
                    problem = f"it has no data set {source.dset_name!r}"
        if problem:
            raise UnreadableFileError(
                f"{path}: {name!r} is a virtual data set, and a part of it lies in {place}: "
                f"{problem}. Copy all files of it together.",
                path=path,
                signal=name,
            )


def _require_plain_values(dataset: h5py.Dataset, path: Path, name: str) -> None:
    """Raise UnsupportedDatasetError where attributes say that stored numbers are not values."""
    scale, offset, fill = (
        np.asarray(dataset.attrs.get(key, neutral)).reshape(-1)
        for key, neutral in (("scale_factor", 1.0), ("add_offset", 0.0), ("_FillValue", np.nan))
    )
    for key, values, neutral in (("scale_factor", scale, 1.0), ("add_offset", offset, 0.0)):
        if values.size != 1 or values.dtype.kind not in "iuf" or float(values[0]) != neutral:
            raise UnsupportedDatasetError(
                f"{path}: {name!r} has the attribute {key} = {values.tolist()}: what is stored is "
                "not the value. Store the values themselves, stored * scale_factor + add_offset.",
                path=path,
                signal=name,
            )
    if fill.size == 1 and fill.dtype.kind in "iuf" and np.isfinite(fill[0]):
        raise UnsupportedDatasetError(
            f"{path}: {name!r} has the attribute _FillValue = {fill[0]!r}, which stands for "
            "missing samples. Store these as NaN, in a data set of floats without the attribute.",
            path=path,
            signal=name,
        )


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
        if shape[1] > shape[0]:
            problem = (
                f"has shape {shape}: time seems to be the second axis. Store it transposed, "
                "(time, columns), and ask for its columns."
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


def read_scalar(file: h5py.Group, path: Path, name: str) -> float:
    """Return the attribute `name`, or value `index` of an array attribute `name:index`."""
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
