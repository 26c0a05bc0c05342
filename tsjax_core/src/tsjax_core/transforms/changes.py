"""What every part of tsjax that calls a batch transform has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tsjax_core.errors import SignatureError
from tsjax_core.types import Batch

Transform: TypeAlias = Callable[..., Mapping[str, Any]]
"""A batch transform: a function, or an object that is called like one."""


def changes_shape(transform: object) -> bool:
    """Return whether `transform` changes shapes, and so runs on the host."""
    return bool(getattr(transform, "changes_shape", False))


def check_batch(changed: Any, batch: Batch, name: str) -> None:
    """Raise SignatureError unless the transform `name` made of `batch` a batch with its keys."""
    if isinstance(changed, Mapping) and changed.keys() >= batch.keys():
        return
    got = list(changed) if isinstance(changed, Mapping) else type(changed).__name__
    raise SignatureError(
        f"transform {name!r} returned {got}; return a batch with the keys {list(batch)}, such as "
        "{**batch, 'u': ...}."
    )
