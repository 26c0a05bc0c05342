"""Shorter sequences: while training begins, or of a random length.

Both keep the first samples of every sequence in a batch and drop the rest; scalars stay. They run
on the host and use at most 8 lengths, evenly spaced from the shortest to the whole, because every
length is a program to compile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tsjax_core.checks import share, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchTransform
from tsjax_core.types import Array, Batch

N_LENGTHS = 8
"""Lengths that a transform uses, at most."""


def truncate_schedule(shortest: int = 50, start: float = 0.2, end: float = 0.6) -> BatchTransform:
    """Training begins with the first samples of each sequence and ends with all of them.

    The samples that are kept are `shortest` until the share `start` of the fit has passed, grow
    linearly with it, in at most 7 steps, and are all from the share `end` on. Sequences that are
    not longer than `shortest` stay whole.

    Args:
        shortest: Samples that are kept at the beginning of the fit.
        start: Share of the fit, 0 to 1, at which the sequences begin to grow.
        end: Share of the fit from which on they are whole.

    Raises:
        ConfigError: `shortest` is below 1, or not 0 <= start <= end <= 1.
    """
    least = whole_number("shortest", shortest, "samples", least=1, of="truncate_schedule")
    # In float32, as progress is, so that progress = end is the end.
    begin, stop = (
        np.float32(share(name, value, "a share of the fit,", of="truncate_schedule"))
        for name, value in (("start", start), ("end", end))
    )
    if begin > stop:
        raise ConfigError(
            f"truncate_schedule got start = {start} and end = {end}; sequences cannot be whole "
            "before they begin to grow. Give start <= end.",
            key="start",
        )

    def truncate(batch: Batch, *, progress: Any) -> Mapping[str, Any]:
        whole, now = _length(batch, of="truncate_schedule"), np.float32(progress)
        if now >= stop:
            return batch
        lengths = _lengths(least, whole)
        grown = max(0.0, float((now - begin) / (stop - begin))) if now > begin else 0.0
        return _cut(batch, lengths[int(grown * (len(lengths) - 1))])

    return _named(truncate, "truncate_schedule")


def vary_length(shortest: int = 50) -> BatchTransform:
    """Each batch keeps the first samples of its sequences, a random number of them.

    Its lengths, from `shortest` to the whole, are equally likely. Sequences that are not longer
    than `shortest` stay whole.

    Args:
        shortest: Samples that are kept at least.

    Raises:
        ConfigError: `shortest` is below 1.
    """
    least = whole_number("shortest", shortest, "samples", least=1, of="vary_length")

    def vary(batch: Batch, *, key: Array) -> Mapping[str, Any]:
        lengths = _lengths(least, _length(batch, of="vary_length"))
        return _cut(batch, lengths[int(jax.random.randint(key, (), 0, len(lengths)))])

    return _named(vary, "vary_length")


def _lengths(shortest: int, whole: int) -> list[int]:
    """Return at most `N_LENGTHS` different lengths, increasing, from `shortest` to `whole`."""
    if whole <= shortest:
        return [whole]
    n = min(N_LENGTHS, whole - shortest + 1)
    return [shortest + (whole - shortest) * i // (n - 1) for i in range(n)]


def _length(batch: Batch, *, of: str) -> int:
    """Return the samples in each sequence of `batch`."""
    found = {key: x.shape[1] for key, x in batch.items() if _has_time(key, x)}
    if len(set(found.values())) != 1:
        shown = ", ".join(f"{key} {n}" for key, n in found.items()) or "none"
        raise ConfigError(
            f"{of} cuts sequences of one length, and the lengths in the batch are: {shown}. Let it "
            "act before whatever changes them.",
            key="transform",
        )
    return next(iter(found.values()))


def _cut(batch: Batch, n: int) -> Mapping[str, Any]:
    return {key: x[:, :n] if _has_time(key, x) else x for key, x in batch.items()}


def _has_time(key: str, x: Any) -> bool:
    return x.ndim == 3 or key == "position"


def _named(transform: Any, name: str) -> BatchTransform:
    transform.__name__ = transform.__qualname__ = name
    transform.changes_shape = True
    named: BatchTransform = transform
    return named
