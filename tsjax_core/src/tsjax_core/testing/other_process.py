"""Calling an object in another process, as a loader does that reads ahead."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

from tsjax_core.types import HostArray


def call_there(target: object, method: str, *arguments: Any) -> Any:
    """Return `target.method(*arguments)` as another process computes it from a copy of `target`."""
    result, error = (
        _worker().submit(_call, pickle.dumps(target), method, arguments, sys.path).result()
    )
    assert error is None, f"in another process, {method} raises {error}"
    return result


@cache
def _worker() -> ProcessPoolExecutor:
    # Started once, because a process takes seconds to import jax, and not forked from this one,
    # whose threads a fork would leave behind.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _call(
    pickled: bytes, method: str, arguments: Sequence[Any], path: Sequence[str]
) -> tuple[Any, str | None]:
    # Unpickled only after the path is set, so that the modules of the object are found.
    sys.path[:] = path
    try:
        return getattr(pickle.loads(pickled), method)(*arguments), None  # noqa: S301 - our own
    except Exception as error:  # noqa: BLE001 - as text, because not every exception can be sent
        return None, f"{type(error).__name__}: {error}"


def equal_values(first: Any, second: Any) -> bool:
    """Return whether two arrays, or two mappings of arrays, are equal; NaN equals NaN."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            equal_values(first[key], second[key]) for key in first
        )
    return _equal(first, second)


def _equal(first: HostArray, second: HostArray) -> bool:
    return bool(
        first.shape == second.shape
        and first.dtype == second.dtype
        and (first.tobytes() == second.tobytes())
    )
