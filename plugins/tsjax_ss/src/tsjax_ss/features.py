"""Functions of one vector that the nonlinear parts of all models are sums of."""

from __future__ import annotations

import itertools
from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.types import Array

Features: TypeAlias = Literal["tanh", "sigmoid", "softplus", "swish", "monomials"]
"""Activations of a hidden layer, or products of powers in its place."""

StateFeatures: TypeAlias = Literal[
    "tanh", "sigmoid", "softplus", "swish", "monomials", "state_monomials"
]
"""The same, where states and inputs meet; `state_monomials` are those without inputs."""

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sigmoid": nnx.sigmoid,
    "softplus": nnx.softplus,
    "swish": nnx.swish,
}


def list_monomials(variables: int, degree: int) -> list[tuple[int, ...]]:
    """Return the products of 2 to `degree` of `variables`, each as the numbers of its factors."""
    return [
        each
        for size in range(2, degree + 1)
        for each in itertools.combinations_with_replacement(range(variables), size)
    ]


def compute_monomials(x: Array, degree: int) -> Array:
    """Return the products in `list_monomials` of the last axis of `x`, (..., products)."""
    variables = x.shape[-1]
    lower, found = x, []
    before: list[tuple[int, ...]] = [(number,) for number in range(variables)]
    for size in range(2, degree + 1):
        now = list(itertools.combinations_with_replacement(range(variables), size))
        places = {each: place for place, each in enumerate(before)}
        # A product of one factor more: one multiplication for each monomial.
        first = np.array([places[each[:-1]] for each in now])
        last = np.array([each[-1] for each in now])
        lower, before = lower[..., first] * x[..., last], now
        found.append(lower)
    return jnp.concatenate(found, axis=-1)


assert set(get_args(Features)) == {*ACTIVATIONS, "monomials"}
assert set(get_args(StateFeatures)) == {*get_args(Features), "state_monomials"}
