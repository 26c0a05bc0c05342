"""Calling a model the way training and simulation do, for the clauses of its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.types import Array, HostArray


def run(model: Any, inputs: Sequence[Any], method: str = "__call__") -> Any:
    """Return what the compiled model gives in evaluation mode."""
    graphdef, state = nnx.split(model)
    return _run(graphdef, state, tuple(inputs), method)


# One compiled program for all clauses that call models of equal structure with equal shapes.
@partial(jax.jit, static_argnames=("graphdef", "method"))
def _run(graphdef: Any, state: Any, inputs: Sequence[Any], method: str) -> Any:
    model: Any = nnx.merge(graphdef, state)
    model.eval()
    return getattr(model, method)(*inputs)


def training_shape(model: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return the shape of the output in training mode; nothing is computed."""
    graphdef, state = nnx.split(model)

    def call(state: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        merged: Any = nnx.merge(graphdef, state, copy=True)
        merged.train()
        return merged(*inputs, **options)

    return jax.eval_shape(call, state, tuple(inputs), options).shape


def gradients(
    model: Any, inputs: Sequence[Any], options: Mapping[str, Any], scale: HostArray
) -> dict[str, HostArray]:
    """Return the gradient of the mean of (output / scale)^2 in training mode, by parameter."""
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return named(_gradients(graphdef, params, tuple(rest), tuple(inputs), options, scale))


@partial(jax.jit, static_argnames="graphdef")
def _gradients(
    graphdef: Any,
    params: Any,
    rest: Sequence[Any],
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    scale: HostArray,
) -> Any:
    def loss(params: Any) -> Array:
        model: Any = nnx.merge(graphdef, params, *rest, copy=True)
        model.train()
        mean: Array = jnp.mean(jnp.square(model(*inputs, **options) / scale))
        return mean

    return jax.grad(loss)(params)


def disturb(model: nnx.Module) -> None:
    """Add a little noise to every parameter."""
    # Drawn on the host, where a new shape does not wait for a compilation.
    rng = np.random.default_rng(7)
    params = nnx.state(model, nnx.Param)
    noisy = jax.tree.map(
        lambda x: jnp.asarray(x + 0.05 * rng.standard_normal(np.shape(x)), jnp.result_type(x)),
        params,
    )
    nnx.update(model, noisy)


def params_of(model: nnx.Module) -> dict[str, HostArray]:
    """Return the parameters by name."""
    return named(nnx.state(model, nnx.Param))


def named(state: Any) -> dict[str, HostArray]:
    """Return the arrays of a state by name, such as `layers.0.w_in`."""
    leaves, _ = jax.tree.flatten_with_path(nnx.to_pure_dict(state))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in leaves
    }


def jacobian_paths(call: Any, x: Array) -> HostArray:
    """Return whether output t of `call` depends on input s, (t, s), by its Jacobian.

    `call` maps (time, n_u) to (time, n_y).
    """
    jacobian = np.asarray(jax.jacrev(call)(x))
    bad = np.argwhere(~np.isfinite(jacobian))
    assert not len(bad), (
        f"the derivative of the output at t = {bad[0][0]} for the input at t = {bad[0][2]} is NaN "
        "or infinite, so that it does not show on what the output depends; roots and divisions "
        "want a safe argument"
    )
    # Less than rounding is no path: a convolution by FFT has such derivatives everywhere.
    size = np.abs(jacobian)
    return np.asarray((size > 1e-6 * size.max(initial=0.0)).any(axis=(1, 3)))
