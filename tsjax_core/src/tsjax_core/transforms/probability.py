"""Transforms that change some of the batches and leave the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tsjax_core.checks import share as checked_share
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchTransform
from tsjax_core.signatures import declare, name_of, wants_of
from tsjax_core.transforms.changes import Transform, changes_shape, check_batch
from tsjax_core.transforms.compose import ComposedTransform
from tsjax_core.types import Array, Batch


def check_probability(p: Any, *, of: str) -> float:
    """Return `p`; ConfigError that names the transform `of` unless it is a number from 0 to 1."""
    return checked_share("p", p, "a probability", of=of, more=", the share of changed batches")


@dataclass(frozen=True)
class ProbableTransform:
    """The transform `inner`, which changes a batch with the probability `p`."""

    inner: Transform
    p: float

    @property
    def __name__(self) -> str:
        return name_of(self.inner)

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the transform declares, and a key for the decision."""
        return wants_of(self.inner) | {"key"}

    @property
    def changes_shape(self) -> bool:
        """Whether the transform changes shapes, so that the host decides."""
        return changes_shape(self.inner)

    @property
    def in_evaluation(self) -> bool:
        """Whether the transform acts in evaluation too."""
        return _acts_in_evaluation(self.inner)

    def __call__(self, batch: Batch, *, key: Array, **given: Any) -> Mapping[str, Any]:
        """Return the changed batch, or the batch itself."""
        for_decision, for_transform = jax.random.split(key)
        inner = declare("transform", self.inner)
        given = {**given, "key": for_transform}
        is_changed = jax.random.bernoulli(for_decision, self.p)
        if self.changes_shape:
            return inner(batch, given=given) if is_changed else batch
        changed = inner(batch, given=given)
        check_batch(changed, batch, inner.name)
        _check_alike(batch, changed, inner.name)
        # Not a branch, which outside of a compiled step would be compiled for every batch anew.
        return {
            name: same if changed[name] is same else jnp.where(is_changed, changed[name], same)
            for name, same in batch.items()
        }


def with_probability(transform: BatchTransform, p: float) -> BatchTransform:
    """A transform that changes a batch, as a whole, with the probability p.

    The decision is drawn apart from what `transform` draws. It has the name of `transform`, and
    acts in evaluation if that does.

    Args:
        transform: The transform.
        p: Probability that a batch is changed.

    Raises:
        ConfigError: `p` is no probability, or `transform` is a composition of which a part alone
            acts in evaluation; at the first batch, if it changes keys, shapes or dtypes without
            `changes_shape = True`.
        SignatureError: `transform` declares an argument that tsjax does not give.
    """
    p = check_probability(p, of="with_probability")
    declare("transform", transform)
    _acts_in_evaluation(transform)
    return transform if p == 1.0 else ProbableTransform(transform, p)


def _acts_in_evaluation(transform: Transform) -> bool:
    if not isinstance(transform, ComposedTransform):
        return bool(getattr(transform, "in_evaluation", False))
    marked = [part.in_evaluation for part in transform.parts]
    if any(marked) and not all(marked):
        raise ConfigError(
            f"with_probability got {transform!r}, of which a part alone acts in evaluation; give "
            "each part its own probability, or mark all of them or none.",
            key="transform",
        )
    return all(marked)


def _check_alike(before: Batch, after: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError where a changed batch cannot stand in place of the unchanged one."""
    changes = [f"adds {key!r}" for key in after if key not in before]
    for key in before:
        was, becomes = jax.typeof(before[key]), jax.typeof(after[key])
        if (was.shape, was.dtype) != (becomes.shape, becomes.dtype):
            changes.append(
                f"makes {key} {was.dtype}{list(was.shape)} into "
                f"{becomes.dtype}{list(becomes.shape)}"
            )
    if changes:
        raise ConfigError(
            f"with_probability: the transform {name!r} {', '.join(changes)}, so that changed and "
            "unchanged batches differ in form; keep keys, shapes and dtypes, or set "
            "changes_shape = True on it where the length may change.",
            key="transform",
        )
