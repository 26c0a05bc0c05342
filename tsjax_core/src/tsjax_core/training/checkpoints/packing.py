"""Trees of arrays as one vector of bytes.

A checkpoint writer takes about a millisecond for each array, and a small model with its optimizer
has many of a few hundred numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.training.optimizer.parameter_names import parameter_name
from tsjax_core.types import HostArray

Layout: TypeAlias = list[tuple[str, str, tuple[int, ...]]]
"""Dotted name, dtype and shape of each array, in the order in which they are packed."""


class Packed(NamedTuple):
    """Bytes, (n,), and what they hold."""

    data: HostArray
    layout: Layout


def pack(tree: Any) -> Packed:
    """Return the arrays of `tree` joined, copied to memory of their own."""
    names, leaves, _ = _leaves(tree)
    arrays = [np.asarray(leaf) for leaf in jax.device_get(leaves)]
    data = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    # An empty part, because joining one array alone would not have to copy it.
    return Packed(np.concatenate([*data, np.empty(0, np.uint8)]), _layout(names, arrays))


def layout_of(tree: Any) -> Layout:
    """Return the layout that `pack` gives `tree`."""
    names, leaves, _ = _leaves(tree)
    return _layout(names, leaves)


def unpack(data: HostArray, tree: Any) -> Any:
    """Return the arrays in `data` in the structure of `tree`, whose layout they have."""
    names, leaves, structure = _leaves(tree)
    arrays, start = [], 0
    for (_, _, shape), leaf in zip(_layout(names, leaves), leaves, strict=True):
        size = int(np.prod(shape, dtype=np.int64)) * leaf.dtype.itemsize
        arrays.append(jnp.asarray(data[start : start + size].view(leaf.dtype).reshape(shape)))
        start += size
    return jax.tree.map(_keyed, tree, jax.tree.unflatten(structure, arrays))


def _layout(names: Sequence[str], arrays: Sequence[Any]) -> Layout:
    return [
        (name, str(array.dtype), tuple(np.shape(array)))
        for name, array in zip(names, arrays, strict=True)
    ]


def _leaves(tree: Any) -> tuple[list[str], list[Any], Any]:
    leaves, structure = jax.tree.flatten_with_path(jax.tree.map(_plain, tree))
    return [parameter_name(path) for path, _ in leaves], [leaf for _, leaf in leaves], structure


def is_key(leaf: Any) -> bool:
    """Return whether `leaf` holds random keys, whose numbers must be asked for."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """Return the numbers of a random key, and any other number as an array."""
    if is_key(leaf):
        return jax.random.key_data(leaf)
    # What is a plain number before the first step is an array after it.
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def _keyed(like: Any, plain: Any) -> Any:
    return (
        jax.random.wrap_key_data(plain, impl=jax.random.key_impl(like)) if is_key(like) else plain
    )
