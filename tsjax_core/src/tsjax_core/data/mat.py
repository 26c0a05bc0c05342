"""Signals in MATLAB files of the formats before 7.3, read by SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.data.arrays import ArrayStore, arrays_of
from tsjax_core.errors import UnreadableFileError


class MatStore(ArrayStore):
    """Signals in MATLAB files of the formats 4 to 7.2; those of format 7.3 are HDF5.

    A vector is a signal, a column `name:i` of a matrix (time, n) too; a field of a structure is
    named `structure/field`. The files are read whole, at once.

    Args:
        paths: The files.
        options: Those of `ArrayStore`: offsets, time, time_unit and gaps.

    Raises:
        UnreadableFileError: A file is missing, or is no MATLAB file.
    """

    def __init__(self, paths: Sequence[str | Path], **options: Any) -> None:
        super().__init__((), **options)
        self._records = {Path(path): _read_file(Path(path)) for path in paths}

    def __repr__(self) -> str:
        return f"MatStore({len(self._records)} files)"


def _read_file(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    if not path.is_file():
        raise UnreadableFileError(f"{path}: there is no such file.", path=path)
    try:
        values = loadmat(path, simplify_cells=True)
    except Exception as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as a MATLAB file: {error}. Check that it was copied to its "
            "end.",
            path=path,
        ) from error
    return arrays_of(path, dict(_numbers_in(values)))


def _numbers_in(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Return the arrays of numbers in a file by name, those of structures by their path."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if name.startswith("__"):
            continue
        if isinstance(value, Mapping):
            found += _numbers_in(value, f"{above}{name}/")
        elif np.asarray(value).dtype.kind in "biuf" and np.ndim(value) <= 2:
            found.append((f"{above}{name}", value))
    return found
