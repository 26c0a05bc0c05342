"""The average of the weights over the steps of a training."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tsjax_core.checks import share
from tsjax_core.errors import ConfigError
from tsjax_core.training.optimizer.wrap import Optimizer, wrap_optimizer
from tsjax_core.types import Array


class AverageState(NamedTuple):
    """Updates so far, a scalar int32, the average of the weights after them, and what is within."""

    n_updates: Array
    average: Any
    inner_state: Any


def average_weights(optimizer: Optimizer, decay: float = 0.999) -> Optimizer:
    """Keep an exponential moving average of the weights, beside the training of the raw weights.

    After n updates the weights of the k-th count in proportion to `decay` ** (n - k): the average
    has no bias towards the initial weights, which do not count. It reaches back over about
    1 / (1 - `decay`) updates. Averages of iterates: Polyak and Juditsky, Acceleration of stochastic
    approximation by averaging (1992); the bias correction is that of Kingma and Ba, Adam (2015).

    Raises:
        ConfigError: `decay` is not between 0 and 1, or `optimizer` is no optimizer.
    """
    log_decay = math.log(share("decay", decay, "a number", ends="()", more=", such as 0.999"))

    def wrap(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
        def init(params: Any) -> AverageState:
            average = jax.tree.map(jnp.copy, params)
            return AverageState(jnp.zeros([], jnp.int32), average, inner.init(params))

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
            updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
            n_updates = state.n_updates + 1
            # (1 - d) / (1 - d**n), without the cancellation of 1 - d**n for decays near 1: the
            # share of the newest weights in the sum of the powers of d.
            share = (1.0 - decay) / -jnp.expm1(n_updates * log_decay)
            average = optax.incremental_update(
                optax.apply_updates(params, updates), state.average, share
            )
            return updates, AverageState(n_updates, average, inner_state)

        return optax.GradientTransformationExtraArgs(init, update)

    return wrap_optimizer(optimizer, wrap, "average_weights", decay)


def averaged_params(opt_state: Any) -> Any:
    """Return the averaged parameters in the optimizer's state, or None where it keeps none."""
    for node in jax.tree.leaves(opt_state, is_leaf=_is_average_state):
        if _is_average_state(node):
            return node.average
    return None


def refuse_average(opt_state: Any, helper: str) -> None:
    """Raise ConfigError where `helper` is around an average, which would miss what it does."""
    if averaged_params(opt_state) is not None:
        raise ConfigError(
            f"average_weights is within {helper}, where it would average other weights than the "
            f"model's. Put it outside: average_weights({helper}(...)).",
            key="optimizer",
        )


def _is_average_state(node: Any) -> bool:
    return isinstance(node, AverageState)
