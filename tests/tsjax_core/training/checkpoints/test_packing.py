"""Trees of arrays as one block of bytes, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.training.checkpoints.packing import layout_of, pack, unpack


def test_packing_keeps_every_dtype_shape_and_key():
    """Trees of several dtypes, empty and scalar arrays, and random keys come back as they were."""
    tree = {
        "a": jnp.arange(6.0).reshape(2, 3),
        "b": [jnp.int32(7), jnp.zeros((0, 4)), jnp.bfloat16([1.5, -0.0])],
        "key": jax.random.key(3),
        "flags": jnp.array([True, False]),
        "z": jnp.array([-0.0, jnp.nan, 1e-42]),
    }
    packed = pack(tree)
    assert packed.layout == layout_of(tree)
    assert [name for name, *_ in packed.layout] == ["a", "b.0", "b.1", "b.2", "flags", "key", "z"]
    back = unpack(packed.data, tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    assert jax.random.uniform(tree["key"]) == jax.random.uniform(back["key"])


def test_a_packed_copy_outlives_what_it_was_made_from():
    """A donated buffer is used again by the next step; the copy must not see that."""
    x = jnp.arange(5.0)
    packed = pack({"x": x})
    x = jax.jit(lambda v: v + 100.0, donate_argnums=0)(x)
    np.testing.assert_array_equal(packed.data.view(np.float32), np.arange(5.0))
