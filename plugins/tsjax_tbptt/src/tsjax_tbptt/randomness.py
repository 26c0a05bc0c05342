"""Whether what a model does in training reaches its chunks too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.protocols import InitialWindow
from tsjax_core.signatures import name_of, wants_of


def check_randomness(model: Any, channels: Sequence[tuple[int, bool]]) -> None:
    """Raise ModelError where `model` uses `key` or `progress` for sequences and not for chunks.

    A model whose `__call__` declares one that `advance` does not take would be trained without it.
    It is run on made-up inputs with two values each, so that a model that declares `key` and drops
    nothing passes. `channels` has for each array that it reads the number of its channels, and
    whether it is a sequence.
    """
    lacking = sorted((wants_of(model) - wants_of(model.advance)) & {"key", "progress"})
    if not lacking:
        return
    window = model.init_window if isinstance(model, InitialWindow) else 0
    rng = np.random.default_rng(0)
    shapes = ((2, window + 6, n) if in_time else (2, n) for n, in_time in channels)
    inputs = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]
    graphdef, variables = nnx.split(model)

    @jax.jit
    def run(variables: Any, key: Any, progress: Any) -> Any:
        merged: Any = nnx.merge(graphdef, variables, copy=True)
        merged.train()
        offered = {"key": key, "progress": progress, "batch": dict(enumerate(inputs))}
        return merged(*inputs, **{name: offered[name] for name in wants_of(merged)})

    first, second = (run(variables, jax.random.key(seed), jnp.float32(seed)) for seed in (0, 1))
    if np.array_equal(first, second, equal_nan=True):
        return
    listed = " and ".join(lacking)
    raise ModelError(
        f"{name_of(type(model))} uses {listed} in training, such as for dropout, and its advance "
        f"takes no {listed}, so that chunks would be trained without. Switch it off (dropout 0), "
        f"or give advance the keyword-only argument {listed}."
    )
