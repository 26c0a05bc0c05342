"""flax: its own cells, RNN and optimizer in a hand-written loop over batches made before."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.cases import TCN_LEVELS
from benchmarks.flax_models import FlaxRecurrent, FlaxTCN
from benchmarks.workers.serving import Measure, rate, serve


def training(cell: str, batch: int, window: int, hidden: int, steps: int, **others: Any) -> Measure:
    rngs = nnx.Rngs(0)
    model = (
        FlaxTCN(TCN_LEVELS, hidden, rngs=rngs)
        if cell == "tcn"
        else FlaxRecurrent(cell, hidden, rngs=rngs)
    )
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    batches = cycle(
        [jnp.asarray(rng.standard_normal((2, batch, window, 1)), jnp.float32) for _ in range(8)]
    )

    @nnx.jit
    def step(model: Any, optimizer: Any, u: Any, y: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda m: jnp.mean(jnp.abs(m(u) - y)))(model)
        optimizer.update(model, gradients)
        return loss

    def epoch() -> int:
        for u, y in islice(batches, steps):
            loss = step(model, optimizer, u, y)
        loss.block_until_ready()
        return steps * batch

    epoch()
    return lambda: rate(epoch, others["seconds"])


if __name__ == "__main__":
    serve({"training": training}, ("flax", "jax", "optax"))
