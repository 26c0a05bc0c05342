"""What an optimizer is, and how one is built around another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class WrappedOptimizer:
    """A function of the learning rate that builds an optimizer around another one.

    Two are equal if the optimizers inside, the helper and its options are.
    """

    optimizer: Optimizer
    helper: str
    options: tuple[Any, ...]
    build: Callable[[Any], optax.GradientTransformation] = field(compare=False, repr=False)

    @property
    def __name__(self) -> str:
        return f"{self.helper}({name_of(self.optimizer)})"

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        """Return the transformation at a learning rate."""
        return self.build(learning_rate)


def wrap_optimizer(
    optimizer: Optimizer,
    wrap: Callable[[optax.GradientTransformationExtraArgs], optax.GradientTransformation],
    helper: str,
    *options: Any,
) -> Optimizer:
    """Return `wrap` of the optimizer; of a function of the learning rate, such a function.

    `helper` is the name that is shown in errors, and `options` what decides `wrap`.

    Raises:
        ConfigError: `optimizer` is no optimizer.
    """
    check_optimizer(optimizer)
    if isinstance(optimizer, optax.GradientTransformation):
        return wrap(with_extra_arguments(optimizer))

    def build(learning_rate: Any) -> optax.GradientTransformation:
        return wrap(with_extra_arguments(optimizer(learning_rate=learning_rate)))

    return WrappedOptimizer(optimizer, helper, options, build)


def _shown(optimizer: Any) -> str:
    return repr(name_of(optimizer)) if callable(optimizer) else repr(optimizer)
