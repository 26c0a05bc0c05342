"""What the learner needs of an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from tsjax_core.checks import is_number
from tsjax_core.errors import ConfigError
from tsjax_core.training.optimizer.averaging import averaged_params
from tsjax_core.training.optimizer.updates import apply_updates, skip_nonfinite, skipped_steps
from tsjax_core.training.optimizer.wrap import Optimizer, check_optimizer, with_extra_arguments
from tsjax_core.types import Array

__all__ = [
    "DEFAULT_LR",
    "Optimizer",
    "RateControlled",
    "adam",
    "averaged_params",
    "skipped_steps",
]

DEFAULT_LR = 5e-3


def adam(learning_rate: Any) -> optax.GradientTransformation:
    """Return Adam whose second moment reaches back over some 100 steps instead of 1000.

    Gradients of a simulation shrink by orders of magnitude as the model gets better, and updates
    that are divided by what the gradients were long ago are too small. Source: Kingma and Ba,
    Adam (2015), with b2 = 0.99.
    """
    return optax.adam(learning_rate, b2=0.99)


class RateControlled:
    """An optimizer whose learning rate is an argument of each update.

    The rate is data and not part of the compiled step, so that fits with other rates and
    schedules reuse the step. A ready-made `optax.GradientTransformation` has its own rate. None is
    Adam that skips updates which are not finite.
    """

    def __init__(self, optimizer: Optimizer | None) -> None:
        self.given = optimizer
        optimizer = skip_nonfinite(adam) if optimizer is None else optimizer
        check_optimizer(optimizer)
        self.fixed = isinstance(optimizer, optax.GradientTransformation)
        self._transform = with_extra_arguments(
            optimizer
            if isinstance(optimizer, optax.GradientTransformation)
            else _with_rate_in_state(optimizer)
        )

    def check_rate(self, lr: float | None) -> float:
        """Return the learning rate to use.

        Raises:
            ConfigError: The rate is not positive, or is given beside an optimizer that has one.
        """
        if self.fixed and lr is not None:
            raise ConfigError(
                f"lr = {lr} was given, and the learner's optimizer is an optax transformation "
                "with a rate of its own. Leave lr out, or give the learner a function of the "
                "rate, such as optimizer=lambda learning_rate: optax.adamw(learning_rate).",
                key="lr",
            )
        rate: Any = DEFAULT_LR if lr is None else lr
        with np.errstate(over="ignore"):
            usable = is_number(rate) and 0.0 < np.float32(float(rate)) < np.inf
        if not usable:
            raise ConfigError(
                f"lr = {rate!r} is not a positive number that a float of 32 bits can hold.",
                key="lr",
            )
        return float(rate)

    def init(self, params: Any) -> Any:
        """Return the optimizer's state before the first update."""
        return self._transform.init(params)

    def update(
        self, gradients: Any, state: Any, params: Any, lr: Array, loss: Array
    ) -> tuple[Any, Any]:
        """Return the updated parameters and state.

        `loss` is given to optax as `value`, for the transformations that look at it.
        """
        if not self.fixed:
            rate = jnp.asarray(lr, state.hyperparams["learning_rate"].dtype)
            state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        updates, state = self._transform.update(gradients, state, params, value=loss)
        return apply_updates(params, updates), state


def _with_rate_in_state(
    optimizer: Callable[..., optax.GradientTransformation],
) -> optax.GradientTransformation:
    # Given the function itself, optax would make arrays of all its options, and 1 - 0.999 in single
    # precision is wrong in the fifth digit.
    def at_rate(learning_rate: Any) -> optax.GradientTransformation:
        return optimizer(learning_rate=learning_rate)

    return optax.inject_hyperparams(at_rate)(learning_rate=DEFAULT_LR)
