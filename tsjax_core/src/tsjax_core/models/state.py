"""The state of a stateful model as one array, for losses and solvers that treat it as numbers."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from tsjax_core.errors import ModelError
from tsjax_core.types import Array


def flatten_state(state: Any) -> Array:
    """Return a state, a pytree of arrays (batch, ...), as one array (batch, S).

    Of complex numbers there are the real parts, then the imaginary ones.

    Raises:
        ModelError: A part of the state is no array of floating-point or complex numbers.
    """
    columns = []
    for leaf in jax.tree.leaves(state):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ModelError(
                f"a part of the state has the type {jnp.result_type(leaf)}; only states of "
                "floating-point or complex numbers can be one array."
            )
        rows = jnp.reshape(leaf, (len(leaf), -1))
        columns += [rows.real, rows.imag] if jnp.iscomplexobj(rows) else [rows]
    return jnp.concatenate(columns, axis=-1)


def unflatten_state(flat: Array, like: Any) -> Any:
    """Return the state that `flatten_state` made `flat` (batch, S) of, in the form of `like`.

    `like` is a state of any number of sequences, such as `model.initial_state(1)`.

    Raises:
        ModelError: `flat` has another number of columns than such a state.
    """
    leaves, structure = jax.tree.flatten(like)
    sizes = [math.prod(jnp.shape(leaf)[1:]) * (1 + jnp.iscomplexobj(leaf)) for leaf in leaves]
    if sum(sizes) != flat.shape[-1]:
        raise ModelError(
            f"a flat state has {flat.shape[-1]} numbers for each sequence, and the state that it "
            f"is to become has {sum(sizes)}."
        )
    parts, start = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        part = flat[:, start : start + size]
        if jnp.iscomplexobj(leaf):
            part = jax.lax.complex(part[:, : size // 2], part[:, size // 2 :])
        parts.append(part.reshape(len(flat), *jnp.shape(leaf)[1:]).astype(jnp.result_type(leaf)))
        start += size
    return jax.tree.unflatten(structure, parts)
