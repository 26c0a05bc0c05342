"""Transforms that act outside of training too."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import TRANSFORM_ARGUMENTS, declared, name_of
from tsjax_core.transforms.changes import Transform, changes_shape
from tsjax_core.transforms.compose import ComposedTransform, compose_transforms
from tsjax_core.types import Batch


def also_in_evaluation(transform: Transform) -> Transform:
    """Return `transform` marked to act on validation and test batches too.

    There it is given `progress` 1, `epoch` 0, and a key that the seed and the number of the batch
    decide, so that evaluating again gives the same numbers. Unmarked transforms act in training
    alone.

    Raises:
        ConfigError: It changes shapes: a figure over a split counts every sample of it.
        SignatureError: It is no function, or declares an argument that tsjax does not give.
    """
    declared(transform, kind="transform", offered=TRANSFORM_ARGUMENTS, positional=("batch",))
    if changes_shape(transform):
        raise ConfigError(
            f"the transform {name_of(transform)!r} changes shapes and cannot act in evaluation, "
            "where every sample of a split counts; let it act in training alone.",
            key="evaluation",
        )
    if isinstance(transform, ComposedTransform):
        return compose_transforms(*(also_in_evaluation(part.transform) for part in transform.parts))

    @functools.wraps(transform)
    def marked(batch: Batch, **given: Any) -> Mapping[str, Any]:
        return transform(batch, **given)

    # An object has no name of its own for `wraps` to take over.
    marked.__name__ = name_of(transform)
    vars(marked)["in_evaluation"] = True
    return marked
