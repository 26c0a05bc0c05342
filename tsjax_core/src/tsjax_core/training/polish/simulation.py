"""A stateful model as functions of one vector of parameters and one vector of states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.protocols import StatefulAuxModel
from tsjax_core.training.polish.further_terms import FurtherTerms
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
    terms: FurtherTerms | None = None

    def model(self, theta: Array, variables: Variables) -> Any:
        """Return the model with the parameters `theta`, in evaluation mode."""
        _, unravel = ravel_pytree(variables.trained)
        model: Any = nnx.merge(self.graphdef, unravel(theta), variables.fixed)
        model.eval()
        return model

    def start(self, theta: Array, variables: Variables) -> Array:
        """Return the model's own initial state, (S,)."""
        return flatten_state(_begin(self.model(theta, variables), theta.dtype))[0]

    def advance(
        self, theta: Array, variables: Variables, u: Array, scalars: Sequence[Array], state: Array
    ) -> tuple[Array, Array]:
        """Return outputs (batch, time, n_y) and state for `u` (batch, time, n_u)."""
        model = self.model(theta, variables)
        before = unflatten_state(state, _begin(model, theta.dtype))
        y, after = model.advance(u, before, *scalars)
        return y, flatten_state(after)

    def further(
        self, theta: Array, variables: Variables, u: Array, scalars: Sequence[Array], state: Array
    ) -> Array:
        """Return the residuals of the further terms for whole chunks, (batch, m)."""
        if self.terms is None:
            return jnp.zeros((len(u), 0), theta.dtype)
        model = self.model(theta, variables)
        before = unflatten_state(state, _begin(model, theta.dtype))
        aux: Mapping[str, Array] = {}
        if self.terms.wants_aux and isinstance(model, StatefulAuxModel):
            y, _, aux = model.advance_with_aux(u, before, *scalars)
        else:
            y, _ = model.advance(u, before, *scalars)
        return self.terms(model, u, scalars, y, aux)


def _begin(model: Any, dtype: Any) -> Any:
    """Return the initial state of one sequence, in the precision of the parameters."""
    return cast(model.initial_state(1), dtype)


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

    Returns the sums of squared residuals (K,), those of further terms among them, the states before
    each chunk (K, chunks, records, S), and the residuals (K, chunks, records, length, n_y).
    """
    u, target, weight, scalars = records

    def simulate(theta: Array, start: Array) -> tuple[Array, Array, Array]:
        state = structure.start(theta, variables) + start

        def step(state: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, Any]:
            u, target, weight = chunk
            y, after = structure.advance(theta, variables, u, scalars, state)
            further = structure.further(theta, variables, u, scalars, state)
            return after, (state, weight * (target - y), jnp.sum(jnp.square(further)))

        _, (states, residuals, further) = jax.lax.scan(step, state, (u, target, weight))
        return jnp.sum(jnp.square(residuals)) + jnp.sum(further), states, residuals

    return jax.vmap(simulate)(thetas, starts)


CONTINUES, BEGINS_RECORD, BEGINS_AT_ZERO = range(3)
"""How the sensitivity before a chunk is found: from the chunk before it, or anew."""


class ChunkJacobians(NamedTuple):
    """What forward sensitivities give for C chunks, each as if it were begun by itself.

    `of_params` are the rows of the Jacobian of the weighted outputs with fixed initial states,
    (length, C, n_y, P), and `residual` (length, C, n_y) belongs to them; the rows of further terms
    are `further_of_params` (C, m, P) and `further` (C, m). The products of the rows of the initial
    state with these, with themselves and with the residual are `mixed` (C, S, P),
    `state` (C, S, S) and `state_gradient` (C, S). The state behind a chunk has the sensitivities
    `end_of_params` (C, S, P) and `end_of_state` (C, S, S).
    """

    of_params: Array
    residual: Array
    further_of_params: Array
    further: Array
    mixed: Array
    state: Array
    state_gradient: Array
    end_of_params: Array
    end_of_state: Array


@partial(jax.jit, static_argnums=0)
def linearize_chunks(
    structure: Structure,
    theta: Array,
    variables: Variables,
    chunks: tuple[Array, Array, Array, Array, tuple[Array, ...]],
    counts: Array,
) -> ChunkJacobians:
    """Return the Jacobians of chunks by forward sensitivities, one sample at a time.

    Of each chunk there are (state, u, residual, weight, scalars), the chunk as the first axis;
    `counts` (C,) is 0 for those whose further terms do not count, else 1.
    Sensitivities begin at zero for the parameters and at one for the state before the chunk;
    `JoinedChunks` puts the chunks together, which is exact.
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

    def carry(before: Any, now: tuple[Array, Array, Array]) -> tuple[Any, Array]:
        # One sample at a time: the derivatives of all samples together would not fit the caches.
        x, of_params, of_state, (mixed, square, gradient) = before
        u, weight, residual = now
        values, (by_params, by_state) = jax.vmap(derivatives)(x, u, scalars)
        x_by_state, y_by_state = by_state[:, :n_states], by_state[:, n_states:] * weight[..., None]
        y_by_params = by_params[:, n_states:] * weight[..., None]
        row = y_by_state @ of_params + y_by_params
        state_row = y_by_state @ of_state
        turned = jnp.swapaxes(state_row, 1, 2)
        sums = (
            mixed + turned @ row,
            square + turned @ state_row,
            gradient + (turned @ residual[..., None])[..., 0],
        )
        after = (
            values[:, :n_states],
            x_by_state @ of_params + by_params[:, :n_states],
            x_by_state @ of_state,
            sums,
        )
        return after, row

    def zeros(*shape: int) -> Array:
        return jnp.zeros((n_chunks, n_states, *shape), theta.dtype)

    identity = jnp.broadcast_to(jnp.eye(n_states, dtype=theta.dtype), zeros(n_states).shape)
    begin: Any = (state, zeros(n_params), identity, (zeros(n_params), zeros(n_states), zeros()))
    inputs, weights, errors = (jnp.swapaxes(x, 0, 1) for x in (u, weight, residual))
    after, rows = jax.lax.scan(carry, begin, (inputs, weights, errors))
    _, end_of_params, end_of_state, (mixed, square, gradient) = after

    def further(
        theta: Array, x: Array, u: Array, scalars: Sequence[Array], counts: Array
    ) -> tuple[Array, Array]:
        found = structure.further(theta, variables, u[None], [s[None] for s in scalars], x[None])
        found = counts * found[0]
        return found, found

    # Their errors are what is to be 0 with the opposite sign.
    (by_params, by_state), values = jax.vmap(
        lambda *chunk: jax.jacfwd(further, (0, 1), has_aux=True)(theta, *chunk)
    )(state, u, scalars, counts)
    turned = jnp.swapaxes(by_state, 1, 2)
    return ChunkJacobians(
        rows,
        errors,
        by_params,
        -values,
        mixed + turned @ by_params,
        square + turned @ by_state,
        gradient - (turned @ values[..., None])[..., 0],
        end_of_params,
        end_of_state,
    )


@partial(jax.jit, static_argnums=0)
def differentiate_start(structure: Structure, theta: Array, variables: Variables) -> Array:
    """Return the derivative of the model's own initial state, (S, P)."""
    own: Array = jax.jacfwd(lambda theta: structure.start(theta, variables))(theta)
    return own


def flatten_parameters(model: nnx.Module, is_trained: Callable[..., bool], dtype: Any) -> Any:
    """Return the structure of a model, its variables, and the trained ones as a vector (P,)."""
    split: Any = nnx.split(model, is_trained, ...)
    graphdef, trained, fixed = split
    variables = Variables(cast(trained, dtype), cast(fixed, dtype))
    return Structure(graphdef), variables, np.asarray(ravel_pytree(variables.trained)[0])
