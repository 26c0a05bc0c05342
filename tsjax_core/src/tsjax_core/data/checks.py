"""What every store checks before it reads, with the texts that a user sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tsjax_core.checks import nearest
from tsjax_core.errors import MissingSignalError, UnequalLengthError, WindowError
from tsjax_core.types import HostArray

_SHOWN = 20


def listing(names: Iterable[object], *, shown: int = _SHOWN) -> str:
    """Return `names` separated by commas, and a count of those beyond `shown`."""
    every = [str(name) for name in names]
    rest = f" and {len(every) - shown} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + rest


def missing_signal(
    path: Path, name: str, present: Sequence[str], *, what: str = "signal"
) -> MissingSignalError:
    """Return the error for a `what` that `path` lacks, with the nearest name that it has."""
    there = f"It has: {listing(present)}." if present else f"It has no {what} at all."
    return MissingSignalError(
        f"{path}: no {what} {name!r}. {there}{nearest(name, present)}", path=path, signal=name
    )


def common_length(path: Path, lengths: dict[str, int]) -> int:
    """Return the one length of the signals of `path`; UnequalLengthError if there are several."""
    if len(set(lengths.values())) > 1:
        each = listing(f"{name!r} has {length} samples" for name, length in lengths.items())
        first = next(iter(lengths.values()))
        odd = next(name for name, length in lengths.items() if length != first)
        raise UnequalLengthError(
            f"{path}: signals that are read together differ in length: {each}. "
            "Cut or resample them to one length.",
            path=path,
            signal=odd,
        )
    return next(iter(lengths.values()), 0)


def sample_range(path: Path, length: int, start: int, stop: int | None) -> tuple[int, int]:
    """Return `start` and `stop` with None replaced; WindowError if they leave 0 to `length`."""
    end = length if stop is None else stop
    if not 0 <= start <= end <= length:
        raise WindowError(
            f"{path}: samples {start} to {end} were asked for and the file has {length}. "
            f"Give 0 <= start <= stop <= {length}.",
            path=path,
        )
    return start, end


def window_starts(path: Path, length: int, starts: HostArray, win_sz: int) -> None:
    """Raise a WindowError unless every window of `win_sz` samples lies inside the file."""
    for start in (int(starts.min()), int(starts.max())):
        sample_range(path, length, start, start + win_sz)
