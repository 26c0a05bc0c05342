"""Exact derivatives in time, for models that are functions of time or of a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.types import AnyArray, Array


def time_derivatives(
    function: Callable[[Array], Array], t: AnyArray, order: int = 1
) -> tuple[Array, ...]:
    """Return `function(t)` and its derivatives in time up to `order`, by forward mode.

    Args:
        function: Maps times to values (..., n) or (...); every value depends on its own time alone.
        t: Times, an array of floating-point numbers of any shape.
        order: Highest derivative.

    Raises:
        ConfigError: `order` is no whole number of at least 1.
    """
    order = whole_number("order", order, least=1, of="time_derivatives")
    times = jnp.asarray(t)

    def begin(t: Array) -> tuple[Array, ...]:
        return (function(t),)

    def deepen(known: Callable[[Array], tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
        # Each level keeps the values of the one below, so that nothing is computed twice.
        def next_order(t: Array) -> tuple[Array, ...]:
            values, slopes = jax.jvp(known, (t,), (jnp.ones_like(t),))
            return (*values, slopes[-1])

        return next_order

    derived: Callable[[Array], tuple[Array, ...]] = begin
    for _ in range(order):
        derived = deepen(derived)
    return derived(times)


def state_derivatives(
    field: Callable[[Array], Array], x: AnyArray, order: int = 1
) -> tuple[Array, ...]:
    """Return the derivatives in time, from the first to `order`, of the state of x' = field(x).

    The second one is the derivative of the field along itself, and so on; an input that is held is
    a constant of the field.

    Args:
        field: The vector field, from (..., n) to (..., n).
        x: States, (..., n).
        order: Highest derivative.

    Raises:
        ConfigError: `order` is no whole number of at least 1.
    """
    order = whole_number("order", order, least=1, of="state_derivatives")
    state = jnp.asarray(x)

    def along(known: Callable[[Array], Array]) -> Callable[[Array], Array]:
        def next_order(x: Array) -> Array:
            slope: Array = jax.jvp(known, (x,), (field(x),))[1]
            return slope

        return next_order

    derived, found = field, [field(state)]
    for _ in range(order - 1):
        derived = along(derived)
        found.append(derived(state))
    return tuple(found)


class ExactDerivatives:
    """Exact derivatives of channels, as a residual takes them.

    Args:
        channels: Returns the channels (batch, time) by name for an order, 0 for their values.
    """

    def __init__(self, channels: Callable[[int], Mapping[str, Array]]) -> None:
        self._channels = channels
        self.values = dict(channels(0))

    def first(self, signal: AnyArray) -> Array:
        """Return the first derivative of a channel, in its unit per second."""
        return self._derivative(signal, 1)

    def second(self, signal: AnyArray) -> Array:
        """Return the second derivative."""
        return self._derivative(signal, 2)

    def third(self, signal: AnyArray) -> Array:
        """Return the third derivative."""
        return self._derivative(signal, 3)

    def _derivative(self, signal: AnyArray, order: int) -> Array:
        for name, value in self.values.items():
            if value is signal:
                return self._channels(order)[name]
        raise ConfigError(
            "the residual differentiates something that is no channel of y, of which alone an "
            "exact derivative is known; give a channel, such as derivatives.first(y["
            f"{next(iter(self.values), '')!r}]), and write out the derivative of products and "
            f"powers. There are: {', '.join(self.values)}.",
            key="residual",
        )
