"""What an optimizer is, and how one is built around another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import optax

from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of

Optimizer: TypeAlias = optax.GradientTransformation | Callable[..., optax.GradientTransformation]
"""An optax transformation, or a function such as `optax.adam` that takes `learning_rate`."""


def with_extra_arguments(
    transform: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Return `transform` so that its update takes any keyword arguments."""
    return optax.with_extra_args_support(transform)


def check_optimizer(optimizer: Any) -> None:
    """Raise ConfigError unless `optimizer` is a transformation, or takes `learning_rate` alone."""
    if isinstance(optimizer, optax.GradientTransformation):
        return
    reason = f"it is of type {type(optimizer).__name__}"
    if callable(optimizer):
        try:
            inspect.signature(optimizer).bind(learning_rate=0.0)
        except (TypeError, ValueError) as error:
            reason = f"it does not take learning_rate alone: {error}"
        else:
            return
    raise ConfigError(
        f"optimizer {_shown(optimizer)} cannot be used; {reason}. Give a function of learning_rate "
        "such as optax.adam, or a ready optax transformation such as "
        "optax.chain(optax.clip(1.0), optax.adam(1e-3)).",
        key="optimizer",
    )


def wrapped(
    optimizer: Optimizer,
    wrap: Callable[[optax.GradientTransformationExtraArgs], optax.GradientTransformation],
    name: str,
) -> Optimizer:
    """Return `wrap` of the optimizer; of a function of the learning rate, such a function.

    `name` is that of the helper which is shown in errors.

    Raises:
        ConfigError: `optimizer` is no optimizer.
    """
    check_optimizer(optimizer)
    if isinstance(optimizer, optax.GradientTransformation):
        return wrap(with_extra_arguments(optimizer))

    def build(learning_rate: Any) -> optax.GradientTransformation:
        return wrap(with_extra_arguments(optimizer(learning_rate=learning_rate)))

    build.__name__ = build.__qualname__ = f"{name}({name_of(optimizer)})"
    return build


def _shown(optimizer: Any) -> str:
    return repr(name_of(optimizer)) if callable(optimizer) else repr(optimizer)
