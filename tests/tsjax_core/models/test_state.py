"""States as one array and back: the forms that a state can have, and what is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core.errors import ModelError
from tsjax_core.models.state import flatten_state, unflatten_state

SHAPES = st.lists(
    st.tuples(st.lists(st.integers(1, 3), max_size=2), st.sampled_from(["float32", "complex64"])),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(shapes=SHAPES, batch=st.integers(1, 4), seed=st.integers(0, 9))
def test_a_state_comes_back_as_it_was(shapes, batch, seed):
    """Leaves of any shape, complex ones too, in nested structures; one row per sequence."""
    rng = np.random.default_rng(seed)

    def leaf(shape, dtype):
        real, imaginary = rng.standard_normal((2, batch, *shape)).astype(np.float32)
        return jnp.asarray(real + 1j * imaginary if dtype == "complex64" else real, dtype)

    leaves = [leaf(shape, dtype) for shape, dtype in shapes]
    state = {"first": leaves[0], "rest": tuple(leaves[1:])}
    flat = flatten_state(state)
    assert flat.shape[0] == batch
    assert flat.dtype == jnp.float32
    like = jax.tree.map(lambda x: jnp.zeros_like(x[:1]), state)
    again = unflatten_state(flat, like)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_real_parts_stand_before_imaginary_ones():
    flat = flatten_state((jnp.array([[1.0 + 2.0j, 3.0 + 4.0j]]), jnp.array([[5.0]])))
    assert flat.tolist() == [[1.0, 3.0, 2.0, 4.0, 5.0]]


def test_what_is_no_state_or_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="has the type int32; only states of floating") as error:
        flatten_state({"count": jnp.zeros((2, 1), jnp.int32)})
    print(error.value)
    with pytest.raises(ModelError, match="has 3 numbers for each sequence, and the state") as error:
        unflatten_state(jnp.zeros((2, 3)), jnp.zeros((1, 2), jnp.complex64))
    print(error.value)
