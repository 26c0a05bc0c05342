"""Samples that do not count, by a further signal such as "the sensor moves"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from tsjax_core.errors import ConfigError
from tsjax_core.transforms.evaluation import also_in_evaluation
from tsjax_core.types import Batch


def score_where(mask: str = "mask", threshold: float = 0.5) -> Callable[..., Mapping[str, Any]]:
    """Count the samples at which a mask is set, and no others, in training and in evaluation.

    The targets of the others become NaN, which losses and metrics leave out, so that the scores of
    validation and test are those of the masked samples too.

    Args:
        mask: The key of `[data.further]` whose signals say which samples count.
        threshold: A sample counts where all signals of the mask are above it.
    """

    def score_masked(batch: Batch) -> Mapping[str, Any]:
        if mask not in batch:
            raise ConfigError(
                f"quat/score_where looks for the key {mask!r} of the batch, which has "
                f"{', '.join(batch)}; name its signals in the data, as [data.further] "
                f'{mask} = ["movement"].',
                key="mask",
            )
        counts = jnp.all(jnp.asarray(batch[mask]) > threshold, axis=-1, keepdims=True)
        return {**batch, "y": jnp.where(counts, batch["y"], jnp.nan)}

    return also_in_evaluation(score_masked)
