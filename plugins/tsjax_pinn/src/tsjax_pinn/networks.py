"""The feed-forward network of the models of this plugin: smooth, so that it has derivatives."""

from __future__ import annotations

from itertools import pairwise

import jax.numpy as jnp
from flax import nnx

from tsjax_core.models.layers import linear
from tsjax_core.types import Array


class SmoothNetwork(nnx.Module):
    """Hidden layers with the hyperbolic tangent, then a linear layer; smooth in its inputs."""

    def __init__(
        self, n_in: int, n_out: int, hidden_size: int, num_layers: int, *, rngs: nnx.Rngs
    ) -> None:
        sizes = [n_in, *[hidden_size] * num_layers]
        self.hidden = nnx.List([linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
        self.out = linear(hidden_size, n_out, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return (..., n_out) for `x` (..., n_in)."""
        for layer in self.hidden:
            x = jnp.tanh(layer(x))
        return self.out(x)
