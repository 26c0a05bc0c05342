"""Updates that are skipped, clipped, or kept within limits.

Each helper takes an optimizer, a ready optax transformation or a function of `learning_rate`, and
returns one of the same kind. The outer one acts first on the gradient: in
`skip_large(clip_gradients(optax.adam, 1.0), 10.0)` the norm is measured before it is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from tsjax_core.checks import positive
from tsjax_core.training.optimizer.averaging import refuse_average
from tsjax_core.training.optimizer.parameter_names import check_patterns, mask_of
from tsjax_core.training.optimizer.wrap import Optimizer, wrap_optimizer
from tsjax_core.types import Array

_Condition: TypeAlias = Callable[[Any, Mapping[str, Any]], Array]


class SkipState(NamedTuple):
    """How many updates were skipped, a scalar int32, and the state of the optimizer within."""

    skipped: Array
    inner_state: Any


class WithinState(NamedTuple):
    """The state of an optimizer whose weights are kept within limits."""

    inner_state: Any


def skip_nonfinite(optimizer: Optimizer) -> Optimizer:
    """Skip every update whose loss or gradient is not finite, or that would spoil the optimizer.

    A gradient spoils it that is finite and whose square, in the state of `optimizer`, is not: no
    later update would change that parameter again. A skipped update leaves the parameters and the
    state of `optimizer` as they are, to the bit; a schedule of optax within it waits too. The loss
    is the argument `value` of the update, as for other optax transformations that need it; without
    it the gradient alone decides.

    Raises:
        ConfigError: `optimizer` is no optimizer.
    """

    def is_bad(gradients: Any, extra: Mapping[str, Any]) -> Array:
        value = extra.get("value")
        seen = jax.tree.leaves(gradients) + ([] if value is None else [value])
        return ~jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in seen]))

    def wrap(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
        return _skipping(inner, is_bad, keep_finite=True)

    return wrap_optimizer(optimizer, wrap, "skip_nonfinite")


def skip_large(optimizer: Optimizer, max_norm: float) -> Optimizer:
    """Skip every update whose gradient has a global L2 norm above `max_norm`, or none.

    The norm is that of all gradients together, as they come in: what `optimizer` clips is measured
    before that. A skipped update leaves the parameters and the state of `optimizer` as they are,
    to the bit; any other update is that of `optimizer`.

    Raises:
        ConfigError: `max_norm` is not positive, or `optimizer` is no optimizer.
    """
    limit = positive("max_norm", max_norm)

    def is_bad(gradients: Any, extra: Mapping[str, Any]) -> Array:
        del extra
        # Written so that a norm that is NaN is skipped.
        return ~(optax.tree.norm(gradients) <= limit)

    return wrap_optimizer(optimizer, lambda inner: _skipping(inner, is_bad), "skip_large", limit)


def clip_gradients(optimizer: Optimizer, max_norm: float) -> Optimizer:
    """Scale gradients whose global L2 norm exceeds `max_norm` down to that norm.

    Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks (2013).

    Raises:
        ConfigError: `max_norm` is not positive, or `optimizer` is no optimizer.
    """
    clip = optax.clip_by_global_norm(positive("max_norm", max_norm))
    return wrap_optimizer(
        optimizer, lambda inner: optax.chain(clip, inner), "clip_gradients", float(max_norm)
    )


def clip_weights(optimizer: Optimizer, limit: float, pattern: str = "*") -> Optimizer:
    """Keep the parameters whose names match `pattern` within ±`limit` after every update.

    Names are dotted, such as `stack.layers.0.w_in`, and `*` matches any part of one.

    Raises:
        ConfigError: `limit` is not positive, or `optimizer` is no optimizer. When the optimizer
            meets the parameters: none matches, or `average_weights` is within `optimizer`, where it
            would average weights that are not clipped.
    """
    bound = positive("limit", limit)

    def wrap(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
        def init(params: Any) -> WithinState:
            check_patterns([pattern], params, key="pattern")
            state = inner.init(params)
            refuse_average(state, "clip_weights")
            return WithinState(state)

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
            updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
            updates = jax.tree.map(
                lambda chosen, p, u: _within(p, u, bound) if chosen else u,
                mask_of(pattern, params),
                params,
                updates,
            )
            return updates, WithinState(inner_state)

        return optax.GradientTransformationExtraArgs(init, update)

    return wrap_optimizer(optimizer, wrap, "clip_weights", bound, pattern)


def skipped_steps(opt_state: Any) -> Array:
    """Return how many updates were skipped so far, summed over the optimizer's parts, as int32."""
    total = jnp.zeros([], jnp.int32)
    for node in jax.tree.leaves(opt_state, is_leaf=_is_skip_state):
        if _is_skip_state(node):
            total += node.skipped + skipped_steps(node.inner_state)
    return total


def apply_updates(params: Any, updates: Any) -> Any:
    """Return the sums of parameters and updates; where the update is 0, the parameter's own bits.

    A sum would turn -0.0 into 0.0, and flush subnormal numbers to 0 on some devices.
    """
    sums = optax.apply_updates(params, updates)
    return jax.tree.map(lambda p, u, s: jnp.where(u == 0, p, s), params, updates, sums)


def _skipping(
    inner: optax.GradientTransformationExtraArgs, is_bad: _Condition, *, keep_finite: bool = False
) -> optax.GradientTransformation:
    def init(params: Any) -> SkipState:
        return SkipState(jnp.zeros([], jnp.int32), inner.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        bad = is_bad(updates, extra)
        new, inner_state = inner.update(updates, state.inner_state, params, **extra)
        if keep_finite:
            bad |= _spoils(state.inner_state, inner_state)
        new, inner_state = jax.tree.map(
            lambda kept, changed: jnp.where(bad, kept, changed),
            (optax.tree.zeros_like(new), state.inner_state),
            (new, inner_state),
        )
        return new, SkipState(state.skipped + bad.astype(jnp.int32), inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _spoils(before: Any, after: Any) -> Array:
    """Return whether a value of an optimizer's state stops being finite."""
    lost = [
        jnp.any(jnp.isfinite(old) & ~jnp.isfinite(new))
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if jnp.issubdtype(jnp.result_type(new), jnp.inexact)
    ]
    return jnp.any(jnp.array([False, *lost]))


def _within(p: Array, u: Array, bound: float) -> Array:
    above, below = p + u > bound, p + u < -bound
    to_edge = jnp.where(above, bound - p, -bound - p)
    # The sum with a rounded difference may lie beyond the edge by one unit in the last place.
    beyond = jnp.abs(p + to_edge) > bound
    inward = jnp.nextafter(to_edge, jnp.where(above, -jnp.inf, jnp.inf).astype(to_edge.dtype))
    return jnp.where(above | below, jnp.where(beyond, inward, to_edge), u)


def _is_skip_state(node: Any) -> bool:
    return isinstance(node, SkipState)
