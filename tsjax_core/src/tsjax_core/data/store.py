"""The files of a data set, and the store that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tsjax_core.data.checks import listing
from tsjax_core.data.csv import CSVStore
from tsjax_core.data.groups import GroupStore
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.mat import MatStore
from tsjax_core.errors import ConfigError, DataError, SplitError, UnreadableFileError
from tsjax_core.protocols import SignalStore

Split: TypeAlias = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
"""The parts of a data set, each with files of its own."""

_FORMATS = {
    ".hdf5": "HDF5",
    ".h5": "HDF5",
    ".hdf": "HDF5",
    ".csv": "CSV",
    ".txt": "CSV",
    ".dat": "CSV",
    ".tsv": "CSV",
    ".mat": "MATLAB",
}
_ENDINGS = ", ".join(_FORMATS)

# Other texts than tables lie in folders too.
_SEARCHED = tuple(ending for ending in _FORMATS if ending not in (".txt", ".dat"))


def find_split_files(
    directory: str | Path, endings: Sequence[str] | None = None
) -> dict[Split, tuple[Path, ...]]:
    """Return the files below `train/`, `valid/` and `test/` of `directory`, sorted.

    They are those that end in `endings`, HDF5, CSV and MATLAB files unless given. Files and
    directories whose name begins with a dot are left out. Raises SplitError where a directory is
    missing or holds no file, and DataError where formats are mixed.
    """
    root = Path(directory)
    check_path(root)
    wanted = _SEARCHED if endings is None else tuple(endings)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise SplitError(
            f"{root}: {what}. Give a directory with train/, valid/ and test/, each with files "
            f"that end in {', '.join(wanted)}.",
            path=root,
        )
    files = {split: _files_below(root, split, wanted) for split in SPLITS}
    if endings is None:
        format_of_all([path for paths in files.values() for path in paths])
    return files


def _files_below(root: Path, split: str, endings: Sequence[str]) -> tuple[Path, ...]:
    folder = root / split
    if not folder.is_dir():
        raise SplitError(
            f"{root}: there is no directory {split!r}; looked for {folder}. {_there(root)}",
            path=folder,
        )
    found = _data_files(folder, endings)
    if not found:
        raise SplitError(
            f"{folder}: no file of the split {split!r}; looked for files that end in "
            f"{', '.join(endings)}, "
            f"here and below. {_there(folder)}",
            path=folder,
        )
    return found


def _data_files(folder: Path, endings: Sequence[str]) -> tuple[Path, ...]:
    """Return the files in `folder` and below that end in `endings`, sorted; links are followed.

    Raises UnreadableFileError for a link that leads nowhere or in a circle, and for what is no
    file, such as a pipe: a data set that shrinks without a word is worse than an error.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            raise UnreadableFileError(
                f"{here} leads back to a folder that it lies in, or to one that was read before. "
                "Remove the link.",
                path=here,
            )
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in endings:
                continue
            check_path(path)
            if not path.exists():
                raise UnreadableFileError(
                    f"{path} is a link to {path.readlink()}, which is not there. Fetch the file, "
                    "or remove the link.",
                    path=path,
                )
            if not path.is_file():
                raise UnreadableFileError(
                    f"{path} is no file, but a pipe or a device; write the data to a file.",
                    path=path,
                )
            found.append(path)
    return tuple(sorted(found))


def check_path(path: Path) -> None:
    """Raise UnreadableFileError for a name that is no text, which no file could name again."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UnreadableFileError(
            f"{str(path)!a}: the name of the file or folder is no text in UTF-8. Rename it.",
            path=path,
        ) from error


def _there(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return f"There is: {listing(names)}." if names else "It is empty."


def find_files(dataset: Any, endings: Sequence[str] | None = None) -> tuple[Path, ...]:
    """Return the files of a data set without splits: one file, a list of files, or a directory.

    Of a directory they are those that end in `endings`, here and below, sorted; names that begin
    with a dot are left out. Raises SplitError where there are none, and DataError where HDF5 and
    CSV files are mixed.
    """
    for each in dataset if isinstance(dataset, list | tuple) else [dataset]:
        check_path(Path(each))
    if isinstance(dataset, list | tuple):
        files = tuple(Path(path) for path in dataset)
        if not files:
            raise SplitError("dataset is an empty list; give at least one file.")
        if missing := [path for path in files if not path.is_file()]:
            raise SplitError(f"{missing[0]}: there is no such file.", path=missing[0])
    elif Path(dataset).is_file():
        files = (Path(dataset),)
    else:
        root, wanted = Path(dataset), _SEARCHED if endings is None else tuple(endings)
        if not root.is_dir():
            raise SplitError(
                f"{root}: does not exist. Give a file that ends in {', '.join(wanted)}, a "
                "directory with such files, or one with train/, valid/ and test/.",
                path=root,
            )
        files = _data_files(root, wanted)
        if not files:
            raise SplitError(
                f"{root}: no file that ends in {', '.join(wanted)}, here or below. {_there(root)}",
                path=root,
            )
    if endings is None:
        format_of_all(files)
    return files


def check_split_files(
    files: Mapping[str, Sequence[str | Path]], endings: Sequence[str] | None = None
) -> dict[Split, tuple[Path, ...]]:
    """Return the files of each split as paths.

    Raises ConfigError for a split of another name or that is not a list, SplitError for one that
    is missing or empty, and DataError for endings that are mixed, or unknown unless `endings` are
    those of a store of its own.
    """
    checked: dict[Split, tuple[Path, ...]] = {
        split: tuple(Path(path) for path in paths)
        for split, paths in check_splits(files, of="files").items()
    }
    if endings is None:
        format_of_all([path for paths in checked.values() for path in paths])
    return checked


def check_splits(splits: Mapping[str, Any], *, of: str) -> dict[Split, tuple[Any, ...]]:
    """Return the files or records of each split as a tuple; `of` says which they are.

    A record alone is a split of one. Raises ConfigError for a split of another name or that is not
    a list, SplitError for one that is missing or empty.
    """
    unknown = [name for name in splits if name not in SPLITS]
    if unknown:
        raise ConfigError(
            f"dataset has a split {unknown[0]!r}; the splits are {', '.join(SPLITS)}.",
            key="dataset",
        )
    checked: dict[Split, tuple[Any, ...]] = {}
    for split in SPLITS:
        given = splits.get(split, ())
        if of == "records" and (isinstance(given, Mapping) or hasattr(given, "columns")):
            given = (given,)
        if not isinstance(given, list | tuple):
            raise ConfigError(
                f"dataset[{split!r}] is {str(given)!r}; give a list of {of}.", key="dataset"
            )
        if not given:
            state = "is empty" if split in splits else "is missing"
            raise SplitError(
                f"dataset[{split!r}] {state}; give at least one {of[:-1]} for each of "
                f"{', '.join(SPLITS)}. There is: {listing(splits)}."
            )
        checked[split] = tuple(given)
    return checked


def format_of_all(paths: Sequence[Path]) -> str:
    """Return the format of all `paths`, "HDF5" or "CSV".

    Raises DataError for an unknown ending and where formats are mixed.
    """
    first: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() not in _FORMATS:
            raise DataError(
                f"{path}: unknown ending {path.suffix!r}; files end in {_ENDINGS}.", path=path
            )
        first.setdefault(_FORMATS[path.suffix.lower()], path)
    if len(first) > 1:
        mixed = " and ".join(f"{kind} ({path})" for kind, path in first.items())
        raise DataError(
            f"the data set mixes {mixed}; convert the files to one format.",
            path=next(iter(first.values())),
        )
    return next(iter(first), "HDF5")


def open_store(
    paths: Sequence[str | Path],
    *,
    preload: bool = False,
    delimiter: str | None = None,
    decimal: Literal[".", ","] | None = None,
    skip_rows: int | None = None,
    time: str | None = None,
    time_unit: str | None = None,
    gaps: Literal["refuse", "split"] = "refuse",
    groups: str | None = None,
    offsets: Mapping[str, float] | None = None,
    even_fs: float | None = None,
    allow_empty: bool = False,
) -> SignalStore:
    """Return the store that reads `paths`, chosen by their ending.

    `preload` and `groups` are for HDF5, see `HDF5Store` and `GroupStore`; `delimiter`, `decimal`,
    `skip_rows`, `even_fs` and `allow_empty` are for CSV, see `CSVStore`. `time`, `time_unit`,
    `gaps` and `offsets` are for all. Raises DataError for an unknown ending or mixed formats, and
    ConfigError for `groups` of files that have none.
    """
    every: dict[str, Any] = {"time": time, "time_unit": time_unit, "gaps": gaps, "offsets": offsets}
    kind = format_of_all([Path(path) for path in paths])
    if kind == "MATLAB":
        kind = _kind_of_matlab([Path(path) for path in paths])
    if groups is not None and kind != "HDF5":
        raise ConfigError(
            f"groups is {groups!r}, for HDF5 files, and the files are {kind}; leave it out.",
            key="groups",
        )
    if kind == "CSV":
        return CSVStore(
            paths,
            delimiter=delimiter,
            decimal=decimal,
            skip_rows=skip_rows,
            even_fs=even_fs,
            allow_empty=allow_empty,
            **every,
        )
    if kind == "MATLAB":
        return MatStore(paths, **every)
    if groups is not None:
        return GroupStore(paths, groups, preload=preload, **every)
    return HDF5Store(paths, preload=preload, **every)


def _kind_of_matlab(paths: Sequence[Path]) -> str:
    """Return HDF5 for files of MATLAB's format 7.3, and MATLAB for older ones."""
    import h5py

    new = [path for path in paths if h5py.is_hdf5(path)]
    if new and len(new) < len(paths):
        old = next(path for path in paths if path not in new)
        raise DataError(
            f"the data set mixes MATLAB files of format 7.3 ({new[0]}) and of an older one "
            f"({old}); save all with -v7.3.",
            path=old,
        )
    return "HDF5" if new else "MATLAB"
