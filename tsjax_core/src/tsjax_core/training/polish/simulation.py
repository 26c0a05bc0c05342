"""A stateful model as functions of one vector of parameters and one vector of states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.types import Array


class Variables(NamedTuple):
    """The variables of a model: those that are trained, and the rest, in one precision."""

    trained: Any
    fixed: Any


@dataclass(frozen=True)
class Structure:
    """What models have in common that share compiled programs.

    Its methods are called while a program is traced. `theta` is (P,), a state is (batch, S).
    """

    graphdef: Any

    def model(self, theta: Array, variables: Variables) -> Any:
        """Return the model with the parameters `theta`, in evaluation mode."""
        _, unravel = ravel_pytree(variables.trained)
        model: Any = nnx.merge(self.graphdef, unravel(theta), variables.fixed)
        model.eval()
        return model

    def start(self, theta: Array, variables: Variables) -> Array:
        """Return the model's own initial state, (S,)."""
        return flatten_state(self.model(theta, variables).initial_state(1))[0]

    def advance(
        self, theta: Array, variables: Variables, u: Array, scalars: Sequence[Array], state: Array
    ) -> tuple[Array, Array]:
        """Return outputs (batch, time, n_y) and state for `u` (batch, time, n_u)."""
        model = self.model(theta, variables)
        like = model.initial_state(1)
        y, after = model.advance(u, unflatten_state(state, like), *scalars)
        return y, flatten_state(after)


def cast(tree: Any, dtype: Any) -> Any:
    """Return the floating-point arrays of `tree` in the precision `dtype`; others as they are."""

    def cast_leaf(x: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            return x
        if jnp.iscomplexobj(x):
            return jnp.asarray(x, jnp.result_type(dtype, jnp.complex64))
        return jnp.asarray(x, dtype)

    return jax.tree.map(cast_leaf, tree)


@partial(jax.jit, static_argnums=0)
def simulate_candidates(
    structure: Structure,
    thetas: Array,
    variables: Variables,
    starts: Array,
    records: tuple[Array, Array, Array, tuple[Array, ...]],
) -> tuple[Array, Array, Array]:
    """Simulate records with several vectors of parameters.

    `thetas` is (K, P) and `starts` (K, records, S), the deviation of each record's initial state
    from the model's own. `records` are `u` (chunks, records, length, n_u), the target and the
    factor of each residual (chunks, records, length, n_y), and scalars (records, n).

    Returns the sums of squared
    residuals (K,), the states before each chunk
    (K, chunks, records, S), and the residuals (K, chunks, records, length, n_y).
    """
    u, target, weight, scalars = records

    def simulate(theta: Array, start: Array) -> tuple[Array, Array, Array]:
        state = structure.start(theta, variables) + start

        def step(state: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, Any]:
            u, target, weight = chunk
            y, after = structure.advance(theta, variables, u, scalars, state)
            return after, (state, weight * (target - y))

        _, (states, residuals) = jax.lax.scan(step, state, (u, target, weight))
        return jnp.sum(jnp.square(residuals)), states, residuals

    return jax.vmap(simulate)(thetas, starts)


class Gram(NamedTuple):
    """Normal equations of chunks: products of the Jacobian of the outputs with itself.

    `theta` is (P, P) and `gradient` (P,), summed over the chunks; of each chunk are the products
    with the initial state of its record, `mixed` (chunks, S, P) and `state` (chunks, S, S), and
    `state_gradient` (chunks, S).
    """

    theta: Array
    gradient: Array
    mixed: Array
    state: Array
    state_gradient: Array


CONTINUES, BEGINS_RECORD, BEGINS_AT_ZERO = range(3)
"""How the sensitivity before a chunk is found: from the chunk before it, or anew."""


@partial(jax.jit, static_argnums=0)
def linearize_chunks(
    structure: Structure,
    theta: Array,
    variables: Variables,
    before: Array,
    begins: Array,
    chunks: tuple[Array, Array, Array, Array, tuple[Array, ...]],
) -> tuple[Gram, Array]:
    """Return the normal equations of chunks by forward sensitivities, and the last sensitivity.

    Of each chunk there are (state, u, residual, weight, scalars), the chunk as the first axis.
    Within a chunk, sensitivities begin at zero and are carried for the parameters and for the state
    at its beginning; the sensitivity of that state, (S, P + S), joins the chunks afterwards, which
    is exact. `before` is that of the first chunk, and `begins` says of each where it comes from:
    of a chunk that `BEGINS_AT_ZERO`, what lies before it is left out.
    """
    state, u, residual, weight, scalars = chunks
    n_chunks, n_states = state.shape
    n_params = theta.size

    def step(theta: Array, x: Array, u: Array, scalars: Sequence[Array]) -> Array:
        y, after = structure.advance(
            theta, variables, u[None, None], [s[None] for s in scalars], x[None]
        )
        return jnp.concatenate([after[0], y[0, 0]])

    def derivatives(
        x: Array, u: Array, scalars: Sequence[Array]
    ) -> tuple[Array, tuple[Array, Array]]:
        return step(theta, x, u, scalars), jax.jacrev(step, (0, 1))(theta, x, u, scalars)

    def carry(before: tuple[Array, Array], u: Array) -> tuple[tuple[Array, Array], Array]:
        # One sample at a time: the derivatives of all samples together would not fit the caches.
        x, sensitivity = before
        now, (of_theta, of_x) = jax.vmap(derivatives)(x, u, scalars)
        both = (of_x @ sensitivity).at[:, :, :n_params].add(of_theta)
        return (now[:, :n_states], both[:, :n_states]), both[:, n_states:]

    identity = jnp.concatenate(
        [jnp.zeros((n_states, n_params), theta.dtype), jnp.eye(n_states, dtype=theta.dtype)], 1
    )
    begin = jnp.broadcast_to(identity, (n_chunks, *identity.shape))
    (_, ends), jacobian = jax.lax.scan(carry, (state, begin), jnp.swapaxes(u, 0, 1))
    jacobian = jnp.moveaxis(jacobian, 0, 1) * weight[..., None]

    own = jax.jacfwd(lambda theta: structure.start(theta, variables))(theta)
    own = jnp.concatenate([own, identity[:, n_params:]], 1)

    def join(sensitivity: Array, chunk: tuple[Array, Array]) -> tuple[Array, Array]:
        begin, end = chunk
        sensitivity = jnp.where(begin == BEGINS_RECORD, own, sensitivity)
        sensitivity = jnp.where(begin == BEGINS_AT_ZERO, 0.0, sensitivity)
        after = end[:, n_params:] @ sensitivity
        return after.at[:, :n_params].add(end[:, :n_params]), sensitivity

    before, joined = jax.lax.scan(join, before, (begins, ends))
    of_start = jacobian[..., n_params:] @ joined[:, None]
    jacobian = of_start.at[..., :n_params].add(jacobian[..., :n_params])
    rows = jacobian.reshape(n_chunks, -1, n_params + n_states)
    error = residual.reshape(n_chunks, -1)
    of_params, of_states = rows[..., :n_params], rows[..., n_params:]
    flat = of_params.reshape(-1, n_params)
    gram = Gram(
        flat.T @ flat,
        flat.T @ error.reshape(-1),
        jnp.swapaxes(of_states, 1, 2) @ of_params,
        jnp.swapaxes(of_states, 1, 2) @ of_states,
        (jnp.swapaxes(of_states, 1, 2) @ error[..., None])[..., 0],
    )
    return gram, before


def flatten_parameters(model: nnx.Module, is_trained: Callable[..., bool], dtype: Any) -> Any:
    """Return the structure of a model, its variables, and the trained ones as a vector (P,)."""
    split: Any = nnx.split(model, is_trained, ...)
    graphdef, trained, fixed = split
    variables = Variables(cast(trained, dtype), cast(fixed, dtype))
    return Structure(graphdef), variables, np.asarray(ravel_pytree(variables.trained)[0])
