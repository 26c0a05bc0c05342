"""Directories that appear whole or not at all, under names that are free."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_directory(path: Path) -> Path:
    """Return `path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


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
