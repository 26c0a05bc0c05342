"""Several batch transforms, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import Declared, declare
from tsjax_core.transforms.changes import Transform, changes_shape, check_batch
from tsjax_core.types import Array, Batch


@dataclass(frozen=True)
class TransformPart:
    """One transform of a composition, with what it declares, and its place."""

    transform: Declared
    position: int
    changes_shape: bool
    in_evaluation: bool

    @property
    def name(self) -> str:
        """The name of the transform."""
        return self.transform.name

    def __call__(
        self, batch: Batch, key: Array | None, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the changed batch; `given` holds what it declares but the key."""
        if "key" in self.transform.wants:
            assert key is not None
            given = {**given, "key": jax.random.fold_in(key, self.position)}
        changed: Mapping[str, Any] = self.transform(batch, given=given)
        check_batch(changed, batch, self.name)
        return changed


@dataclass(frozen=True, repr=False)
class ComposedTransform:
    """Transforms in their order, itself a batch transform. Made by `compose_transforms`.

    It declares what its parts declare, and changes shapes if one of them does. A part draws from a
    key of its own, which its position in the whole decides: taken apart by `on_host`, `compiled`
    and `in_evaluation`, the parts draw what they draw together.
    """

    parts: tuple[TransformPart, ...]

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the parts declare together."""
        return frozenset[str]().union(*(part.transform.wants for part in self.parts))

    def __call__(
        self, batch: Batch, *, key: Array | None = None, **given: Any
    ) -> Mapping[str, Any]:
        """Return the batch after all parts; `given` has what they declare."""
        for part in self.parts:
            batch = part(batch, key, given)
        return batch

    @property
    def __name__(self) -> str:
        return f"compose_transforms({', '.join(self.names)})"

    def __repr__(self) -> str:
        return self.__name__

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(part.name for part in self.parts)

    @property
    def changes_shape(self) -> bool:
        """Whether a part changes shapes."""
        return any(part.changes_shape for part in self.parts)

    @property
    def on_host(self) -> ComposedTransform | None:
        """The parts up to the last one that changes shapes, which run before the compiled step."""
        return _composed(self.parts[: self._n_on_host])

    @property
    def compiled(self) -> ComposedTransform | None:
        """The parts after the last one that changes shapes."""
        return _composed(self.parts[self._n_on_host :])

    @property
    def in_evaluation(self) -> ComposedTransform | None:
        """The parts that act on validation and test batches too."""
        return _composed(part for part in self.parts if part.in_evaluation)

    @property
    def _n_on_host(self) -> int:
        return max((n for n, part in enumerate(self.parts, 1) if part.changes_shape), default=0)


def compose_transforms(*transforms: Transform) -> ComposedTransform:
    """Return the transform that applies `transforms` in their order, each with its own key.

    A composition among them is taken over part by part, so that
    `compose_transforms(a, compose_transforms(b, c))` is `compose_transforms(a, b, c)`.

    Raises:
        ConfigError: There is no transform.
        SignatureError: A transform is no function, or declares an argument that tsjax does not
            give.
    """
    if not transforms:
        raise ConfigError(
            "compose_transforms got no transform; give at least one, such as "
            "compose_transforms(add_noise(0.1), add_bias(0.1)).",
            key="transform",
        )
    flat: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, ComposedTransform):
            flat.extend(part.transform.component for part in transform.parts)
        else:
            flat.append(transform)
    return ComposedTransform(tuple(_part(t, position) for position, t in enumerate(flat)))


def _part(transform: Transform, position: int) -> TransformPart:
    return TransformPart(
        declare("transform", transform),
        position,
        changes_shape(transform),
        bool(getattr(transform, "in_evaluation", False)),
    )


def _composed(parts: Iterable[TransformPart]) -> ComposedTransform | None:
    chosen = tuple(parts)
    return ComposedTransform(chosen) if chosen else None
