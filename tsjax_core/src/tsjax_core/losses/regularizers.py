"""Losses of a model's intermediate values, which it gives to losses that declare `aux`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp

from tsjax_core.errors import ConfigError
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array


def activation_regularizer(name: str = "hidden") -> LossTerm:
    """Mean of the squares of an intermediate value of the model.

    It keeps activations small; its weight is that of the term in the composition. Source: Merity,
    McCann and Socher, Revisiting activation regularization for language RNNs (2017).

    Args:
        name: The value, among those that the model's `call_with_aux` gives.

    Raises:
        ConfigError: When the loss is computed: the model does not give the value.
    """

    def cost(value: Array) -> Array:
        return jnp.mean(jnp.square(value))

    return _term(cost, name, "activation_regularizer")


def temporal_activation_regularizer(name: str = "hidden") -> LossTerm:
    """Mean of the squared differences along time of an intermediate value of the model.

    It keeps activations slow; its weight is that of the term in the composition. Source: Merity,
    McCann and Socher, Revisiting activation regularization for language RNNs (2017).

    Args:
        name: The value, (batch, time, ...), among those that the model's `call_with_aux` gives.

    Raises:
        ConfigError: When the loss is computed: the model does not give the value, or gives it
            without two samples along time.
    """

    def cost(value: Array) -> Array:
        if value.ndim < 3 or value.shape[1] < 2:
            raise ConfigError(
                f"temporal_activation_regularizer: {name!r} has shape {value.shape}; it needs a "
                "value (batch, time, ...) of 2 samples or more.",
                key="loss",
            )
        return jnp.mean(jnp.square(jnp.diff(value, axis=1)))

    return _term(cost, name, "temporal_activation_regularizer")


def _term(cost: Callable[[Array], Array], name: str, own_name: str) -> LossTerm:
    """Return the loss `own_name` that is the cost of the intermediate value `name`."""

    def term(
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        *,
        aux: Mapping[str, Array],
    ) -> Array:
        if name not in aux:
            raise ConfigError(
                f"{own_name}: the model gives no intermediate value {name!r}; it gives "
                f"{', '.join(map(repr, aux)) or 'none'}.",
                key="loss",
            )
        return cost(aux[name])

    term.__name__ = own_name
    return term
