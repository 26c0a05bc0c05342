"""Transforms that change some of the batches and leave the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tsjax_core.checks import share as checked_share
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchTransform
from tsjax_core.signatures import TRANSFORM_ARGUMENTS, declared, name_of
from tsjax_core.transforms.changes import Transform, changes_shape, check_batch, signature_of
from tsjax_core.transforms.compose import ComposedTransform
from tsjax_core.types import Array, Batch


def check_probability(p: Any, *, of: str) -> float:
    """Return `p`; ConfigError that names the transform `of` unless it is a number from 0 to 1."""
    return checked_share("p", p, "a probability", of=of, more=", the share of changed batches")


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
    share, name = check_probability(p, of="with_probability"), name_of(transform)
    wants = declared(
        transform, kind="transform", offered=TRANSFORM_ARGUMENTS, positional=("batch",)
    )
    in_evaluation = _acts_in_evaluation(transform)
    if share == 1.0:
        return transform
    on_host = changes_shape(transform)

    def apply(batch: Batch, *, key: Array, **further: Any) -> Mapping[str, Any]:
        for_decision, for_transform = jax.random.split(key)
        given = {name: value for name, value in further.items() if name in wants}
        if "key" in wants:
            given["key"] = for_transform
        is_changed = jax.random.bernoulli(for_decision, share)
        if on_host:
            return transform(batch, **given) if is_changed else batch

        changed = transform(batch, **given)
        check_batch(changed, batch, name)
        _check_alike(batch, changed, name)
        # Not a branch, which outside of a compiled step would be compiled for every batch anew.
        return {
            key: same if changed[key] is same else jnp.where(is_changed, changed[key], same)
            for key, same in batch.items()
        }

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = transform.__doc__
    attributes = {"changes_shape": on_host, "in_evaluation": in_evaluation}
    vars(apply).update(attributes, __signature__=signature_of(wants | {"key"}))
    return apply


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
    told = [f"adds {key!r}" for key in after if key not in before]
    for key in before:
        was, becomes = jax.typeof(before[key]), jax.typeof(after[key])
        if (was.shape, was.dtype) != (becomes.shape, becomes.dtype):
            told.append(
                f"makes {key} {was.dtype}{list(was.shape)} into "
                f"{becomes.dtype}{list(becomes.shape)}"
            )
    if told:
        raise ConfigError(
            f"with_probability: the transform {name!r} {', '.join(told)}, so that changed and "
            "unchanged batches differ in form; keep keys, shapes and dtypes, or set "
            "changes_shape = True on it where the length may change.",
            key="transform",
        )
