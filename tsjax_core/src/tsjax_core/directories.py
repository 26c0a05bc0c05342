"""Directories and files that appear whole or not at all, under names that are free."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tsjax_core.errors import RunDirectoryError


def free_directory(path: Path) -> Path:
    """Return `path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def check_new_directory(path: Path) -> None:
    """Raise RunDirectoryError where `path` is a file, or a directory with something in it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryError(
            f"{path} exists and is not empty; nothing was written. Choose another directory with "
            "--out.",
            path=path,
        )


@contextmanager
def held_directory(path: Path) -> Iterator[None]:
    """Keep the directory `path` for this process; the hold ends with the process at the latest.

    Where the system has no such locks, it is not kept from others.

    Raises:
        RunDirectoryError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"{path} is being written by another process that trains; wait for it, or "
                "choose another directory.",
                path=path,
            ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory that takes the place of `path` when the block ends without error.

    Until then `path` is untouched, and an error leaves nothing behind, nor any of the directories
    above `path` that were not there.
    """
    missing = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replaced(path) as fresh:
            yield fresh
    except BaseException:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fresh.chmod(0o755)
        yield fresh
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            path.rename(old / "old")
            try:
                fresh.rename(path)
            except BaseException:
                (old / "old").rename(path)
                raise
            finally:
                shutil.rmtree(old)
        else:
            fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Name `path` in an error of the system that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a new path beside `path`, whose file takes its place when the block ends without error.

    An error, such as a full disk, leaves `path` as it was and nothing beside it.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named_in_errors(path):
            yield fresh
            fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
