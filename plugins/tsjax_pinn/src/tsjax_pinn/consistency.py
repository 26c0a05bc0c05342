"""Agreement of the two encoders of PIRNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from tsjax_core.errors import ConfigError
from tsjax_core.types import AnyArray, Array


def consistency(
    pred: AnyArray,
    target: AnyArray,
    y_mean: AnyArray,
    y_std: AnyArray,
    *,
    aux: Mapping[str, Any],
) -> Array:
    """Mean squared difference of the states by both encoders, at the end of the initial window.

    Both are drawn to each other. Sequences that began from the state encoder do not count.

    Raises:
        ConfigError: The model does not give these states, as `pinn/pirnn` does.
    """
    if missing := {"encoded_sequence", "encoded_state", "from_state"} - aux.keys():
        raise ConfigError(
            f"consistency: the model gives no intermediate value {min(missing)!r}; it gives "
            f"{', '.join(map(repr, aux)) or 'none'}. The loss is for 'pinn/pirnn'.",
            key="loss",
        )
    apart = jnp.mean(jnp.square(aux["encoded_sequence"] - aux["encoded_state"]), axis=-1)
    counts = 1.0 - aux["from_state"]
    return jnp.sum(apart * counts) / jnp.maximum(jnp.sum(counts), 1.0)
