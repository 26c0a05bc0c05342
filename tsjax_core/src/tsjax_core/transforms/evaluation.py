"""Transforms that act outside of training too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import declare, name_of, wants_of
from tsjax_core.transforms.changes import Transform, changes_shape
from tsjax_core.transforms.compose import ComposedTransform, compose_transforms
from tsjax_core.types import Batch


@dataclass(frozen=True)
class MarkedTransform:
    """The transform `inner`, which acts on validation and test batches too."""

    inner: Transform

    in_evaluation: ClassVar[bool] = True

    @property
    def __name__(self) -> str:
        return name_of(self.inner)

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the transform declares."""
        return wants_of(self.inner)

    def __call__(self, batch: Batch, **given: Any) -> Mapping[str, Any]:
        """Return what the transform returns."""
        return self.inner(batch, **given)


def also_in_evaluation(transform: Transform) -> Transform:
    """Return `transform` marked to act on validation and test batches too.

    There it is given `progress` 1, `epoch` 0, and a key that the seed and the number of the batch
    decide, so that evaluating again gives the same numbers. Unmarked transforms act in training
    alone. `predict` and `Simulator` run the model on the inputs as they are: no transform acts
    there, so that their outputs differ from those of an evaluation where a marked transform changes
    the inputs.

    Raises:
        ConfigError: It changes shapes: a figure over a split counts every sample of it.
        SignatureError: It is no function, or declares an argument that tsjax does not give.
    """
    declare("transform", transform)
    if changes_shape(transform):
        raise ConfigError(
            f"the transform {name_of(transform)!r} changes shapes and cannot act in evaluation, "
            "where every sample of a split counts; let it act in training alone.",
            key="evaluation",
        )
    if isinstance(transform, ComposedTransform):
        return compose_transforms(
            *(also_in_evaluation(part.transform.component) for part in transform.parts)
        )

    return MarkedTransform(transform)
