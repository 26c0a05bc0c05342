"""What the losses of intermediate values share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from tsjax_core.errors import ConfigError
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array


class Values:
    """Intermediate values of a model, cut to the samples of the batch.

    Args:
        owner: The loss that looks at them.
        aux: The values by name.
        batch: The batch.
    """

    def __init__(self, owner: str, aux: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        self.owner, self.aux, self.batch = owner, aux, batch
        self.time = batch["u"].shape[1]

    def __getitem__(self, name: str) -> Array:
        """Return a value, without samples at its end that the batch does not have.

        Raises:
            ConfigError: The model does not give it.
        """
        if name not in self.aux:
            raise ConfigError(
                f"{self.owner}: the model gives no intermediate value {name!r}; it gives "
                f"{', '.join(map(repr, self.aux)) or 'none'}. The losses of 'ar' are for "
                "'ar/fransys', and for models that give the same values.",
                key="loss",
            )
        value = jnp.asarray(self.aux[name])
        return value[:, : self.time] if value.ndim > 1 else value

    @property
    def counts(self) -> Array:
        """Whether a sample is one of the sequence and not filled up, (batch, time, 1)."""
        shape = self.batch["u"].shape[:2]
        position = self.batch.get("position")
        return jnp.ones((*shape, 1), bool) if position is None else (position >= 0)[..., None]


def make_term(name: str, cost: Callable[[Values], Array]) -> LossTerm:
    """Return the loss `name`, the cost of the intermediate values."""

    def term(
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        *,
        aux: Mapping[str, Any],
        batch: Mapping[str, Any],
    ) -> Array:
        return cost(Values(name, aux, batch))

    term.__name__ = name
    return term


def masked_mean(x: Array, mask: Array) -> Array:
    """Return the mean of `x` where `mask`, which broadcasts to it, is true; 0 where it never is."""
    wide = jnp.broadcast_to(mask, x.shape)
    return jnp.sum(jnp.where(wide, x, 0.0)) / jnp.maximum(jnp.sum(wide), 1)


def length(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    """Return the Euclidean norm over `axes`, which are kept; above 0, so that it has a gradient."""
    return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True) + 1e-12)
