"""The parts of block-oriented models: linear dynamics, and a static nonlinearity."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.models.subspace import StateSpaceMatrices
from tsjax_core.types import Array, Buffer
from tsjax_ss.features import ACTIVATIONS, Features, compute_monomials, list_monomials


class LinearBlock(nnx.Module):
    """x+ = a x + b z, w = c x + d z, stable and random at first.

    Args:
        order: Number of states n.
        inputs: Channels of z.
        outputs: Channels of w.
        direct: Whether d is trained; it is zero otherwise.
        rngs: Draws the parameters.
    """

    def __init__(
        self, order: int, inputs: int, outputs: int, *, direct: bool, rngs: nnx.Rngs
    ) -> None:
        keys = jax.random.split(rngs.params(), 4)
        # Time constants of 2 to 20 samples.
        decay = jnp.exp(-1.0 / jnp.exp(jax.random.uniform(keys[0], (order,), minval=0.7, maxval=3)))
        self.a = nnx.Param(jnp.diag(decay))
        self.b = nnx.Param(jax.random.normal(keys[1], (order, inputs)) * (1.0 - decay)[:, None])
        self.c = nnx.Param(jax.random.normal(keys[2], (outputs, order)) / math.sqrt(order))
        d = 0.1 * jax.random.normal(keys[3], (outputs, inputs))
        self.d: nnx.Param[Array] | Buffer = nnx.Param(d) if direct else Buffer(jnp.zeros_like(d))

    @property
    def order(self) -> int:
        """Number of states."""
        return int(self.a.shape[0])

    def __call__(self, z: Array, state: Array) -> tuple[Array, Array]:
        """Return w (batch, time, outputs) and the state after `z` (batch, time, inputs).

        `state` is (batch, order).
        """
        a = self.a[...].T

        def step(x: Array, force: Array) -> tuple[Array, Array]:
            return x @ a + force, x

        after, states = jax.lax.scan(step, state, jnp.moveaxis(z @ self.b[...].T, 1, 0))
        return jnp.moveaxis(states, 0, 1) @ self.c[...].T + z @ self.d[...].T, after

    def set_matrices(self, matrices: StateSpaceMatrices) -> None:
        """Take over a, b, c and d; an offset is not part of a block."""
        for name in ("a", "b", "c", "d"):
            variable, value = getattr(self, name), getattr(matrices, name)
            assert variable.shape == value.shape, (name, variable.shape, value.shape)
            variable[...] = jnp.asarray(value, variable.dtype)


class StaticMap(nnx.Module):
    """f(z) = z + to_output (features of z), with f(0) = 0; the identity at first.

    That f goes through zero keeps the zero state of linear blocks an equilibrium.

    Args:
        channels: Channels of z and f(z).
        hidden_size: Units of the hidden layer; without meaning for monomials.
        features: Activation of the hidden layer, or monomials.
        degree: Highest degree of the monomials.
        rngs: Draws the hidden layer.
    """

    def __init__(
        self, channels: int, hidden_size: int, features: Features, degree: int, *, rngs: nnx.Rngs
    ) -> None:
        self.features, self.degree = features, degree
        if features == "monomials":
            width = len(list_monomials(channels, degree))
        else:
            width = hidden_size
            key, bias_key = jax.random.split(rngs.params())
            weights = jax.random.normal(key, (width, channels)) / math.sqrt(channels)
            self.hidden = nnx.Param(weights)
            self.hidden_bias = nnx.Param(jax.random.uniform(bias_key, (width,), minval=-1.0))
        self.to_output = nnx.Param(jnp.zeros((channels, width)))

    def __call__(self, z: Array) -> Array:
        """Return f(z) of `z` (..., channels)."""
        if self.features == "monomials":
            found = compute_monomials(z, self.degree)
        else:
            activate, bias = ACTIVATIONS[self.features], self.hidden_bias[...]
            found = activate(z @ self.hidden[...].T + bias) - activate(bias)
        return z + found @ self.to_output[...].T
