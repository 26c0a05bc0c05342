"""Learning rates and optimizers for groups of parameters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import optax

from tsjax_core.checks import is_number
from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of
from tsjax_core.training.optimizer.averaging import refuse_average
from tsjax_core.training.optimizer.parameter_names import (
    check_patterns,
    first_match,
    parameter_name,
)
from tsjax_core.training.optimizer.wrap import Optimizer, WrappedOptimizer, check_optimizer
from tsjax_core.types import Array

_SHARED, _FROZEN = "shared", "frozen"


def parameter_groups(optimizer: Optimizer, groups: Mapping[str, float | Optimizer]) -> Optimizer:
    """Give parameters a learning rate or an optimizer of their own, by patterns of their names.

    Names are dotted, such as `stack.layers.0.w_in`, and `*` matches any part of one. The first
    pattern that matches a parameter decides; without one, `optimizer` trains it.

    - A number is a factor on the learning rate: what `optimizer` adds to the parameter is
      multiplied by it. `optimizer` goes over all these parameters at once, so that a clipping
      within it sees the norm of all their gradients.
    - 0 freezes: the parameters keep their bits, also under weight decay, and `optimizer` does not
      see their gradients.
    - An optimizer trains the parameters of its pattern alone. A function of the learning rate gets
      the one that the fit has.

    Args:
        optimizer: Trains the parameters that have no optimizer of their own.
        groups: Factors or optimizers by pattern.

    Raises:
        ConfigError: A factor is negative, a value is neither factor nor optimizer, or a function of
            the learning rate stands beside a transformation that has its own. When the optimizer
            meets the parameters: a pattern decides for none, or `average_weights` is within.
    """
    check_optimizer(optimizer)
    groups = {pattern: _check_value(pattern, value, optimizer) for pattern, value in groups.items()}
    if isinstance(optimizer, optax.GradientTransformation):
        return _partition(optimizer, groups)

    def build(learning_rate: Any) -> optax.GradientTransformation:
        return _partition(
            optimizer(learning_rate=learning_rate),
            {pattern: _at_rate(value, learning_rate) for pattern, value in groups.items()},
        )

    return WrappedOptimizer(optimizer, "parameter_groups", tuple(groups.items()), build)


def _check_value(pattern: str, value: Any, optimizer: Optimizer) -> Any:
    if is_number(value):
        if 0.0 <= float(value) < math.inf:
            return float(value)
        raise ConfigError(
            f"the factor of {pattern!r} is {value!r}; give 0 to freeze the parameters, or a "
            "positive number.",
            key="groups",
        )
    try:
        check_optimizer(value)
    except ConfigError as error:
        raise ConfigError(
            f"the group {pattern!r} has {value!r}; give a factor on the learning rate or an "
            "optimizer.",
            key="groups",
        ) from error
    own = isinstance(optimizer, optax.GradientTransformation)
    if own and not isinstance(value, optax.GradientTransformation):
        raise ConfigError(
            f"the group {pattern!r} has {name_of(value)!r}, a function of the learning rate, and "
            "the optimizer beside it is a transformation with a rate of its own. Give a "
            "transformation such as optax.sgd(1e-3) for the group, or a function such as "
            "optax.adam for the rest.",
            key="groups",
        )
    return value


def _at_rate(value: Any, learning_rate: Any) -> Any:
    ready = isinstance(value, float | optax.GradientTransformation)
    return value if ready else value(learning_rate=learning_rate)


def _partition(
    shared: optax.GradientTransformation, groups: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Return the transformation that gives each group its part; `groups` holds no functions."""
    patterns = list(groups)

    def group_of(path: tuple[Any, ...]) -> tuple[str, float]:
        """Return the label of the transformation for a parameter, and the factor on its updates."""
        position = first_match(parameter_name(path), patterns)
        value = 1.0 if position is None else groups[patterns[position]]
        if not isinstance(value, float):
            return f"own {position}", 1.0
        return (_SHARED, value) if value else (_FROZEN, 0.0)

    def labels(params: Any) -> Any:
        return jax.tree.map_with_path(lambda path, _: group_of(path)[0], params)

    def scale(path: tuple[Any, ...], update: Array) -> Array:
        _, factor = group_of(path)
        return update if factor == 1.0 else factor * update

    transforms: dict[Hashable, optax.GradientTransformation] = {
        _SHARED: optax.chain(
            shared, optax.stateless(lambda updates, _: jax.tree.map_with_path(scale, updates))
        ),
        _FROZEN: optax.set_to_zero(),
    }
    for position, value in enumerate(groups.values()):
        if not isinstance(value, float):
            transforms[f"own {position}"] = value
    parts = optax.partition(transforms, labels)

    def init(params: Any) -> Any:
        check_patterns(patterns, params, key="groups")
        state = parts.init(params)
        refuse_average(state, "parameter_groups")
        return state

    return optax.GradientTransformationExtraArgs(init, parts.update)
