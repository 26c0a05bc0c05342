"""Known equations as the loss of a surrogate, without any measured signal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tsjax_core.checks import is_number, nearest, not_negative, positive, whole_number
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.protocols import LossTerm
from tsjax_core.signatures import name_of
from tsjax_core.types import AnyArray, Array, FrozenMapping, Signals
from tsjax_pinn.exact import ExactDerivatives
from tsjax_pinn.residual import (
    NOTHING,
    Constant,
    Named,
    Residual,
    channels,
    check_scales,
    load_residual,
    mean_square,
    parameters_of,
    scale_residuals,
)
from tsjax_pinn.surrogate import SurrogateModel

_OWNER = "surrogate_loss"


@dataclass(frozen=True)
class _SurrogateLoss:
    """The loss that `surrogate_loss` returns."""

    residual: Residual
    ranges: FrozenMapping[tuple[float, float]]
    constants: FrozenMapping[Constant]
    scales: FrozenMapping[float]
    begin_weight: float
    spread: float
    starts: int
    times: int

    __name__ = _OWNER

    @property
    def wants(self) -> frozenset[str]:
        """What the loss declares."""
        return frozenset({"model", "signals", "key"})

    def __call__(
        self,
        _pred: AnyArray,
        _target: AnyArray,
        _y_mean: AnyArray,
        _y_std: AnyArray,
        *,
        model: Any,
        signals: Signals,
        key: Array,
    ) -> Array:
        """Return the value."""
        if not isinstance(model, SurrogateModel):
            raise ModelError(
                f"{_OWNER} needs a model that is a function of time within an interval, 'pinn/pinc'"
                f" or 'pinn/ddpinn', and {name_of(type(model))} is none; give 'pinn/physics_loss' "
                "or 'pinn/collocation_loss' for outputs that are samples."
            )
        states, names = model.states, (*model.states.names, *signals.inputs)
        if unknown := sorted(self.ranges.keys() - set(names)):
            raise ConfigError(
                f"{_OWNER} got a range of {unknown[0]!r}, which is no state and no input."
                f"{nearest(unknown[0], names)} There are: {', '.join(names)}.",
                key="ranges",
            )
        for_x, for_u, for_t = jax.random.split(key, 3)
        x = self._draw(for_x, states.names, states.scale)
        u = self._draw(for_u, signals.inputs, states.u_scale)
        # One time in each of equal parts of the interval.
        jitter = jax.random.uniform(for_t, (self.starts, self.times))
        t = model.step_size * (jnp.arange(self.times) + jitter) / self.times

        def of_order(order: int) -> Mapping[str, Array]:
            return channels(states.names, model.trajectory(x, u, t, order)[order])

        derivatives = ExactDerivatives(of_order)
        held = jnp.broadcast_to(u[:, None], (self.starts, self.times, u.shape[-1]))
        values = self.residual(
            Named("input", channels(signals.inputs, held)),
            Named("output", derivatives.values),
            derivatives,
            parameters_of(model, self.constants, of=_OWNER),
        )
        counts = jnp.ones((self.starts, self.times), bool)
        found = scale_residuals(values, self.scales, counts, of=_OWNER, what="(starts, times)")
        value = mean_square(found, counts)
        if self.begin_weight:
            begin = model.trajectory(x, u, jnp.zeros((self.starts, 1)))[0][:, 0]
            # A step at the begin acts like a rate that closes it within the interval.
            apart = (begin - x) / (states.scale.std[...] * model.step_size)
            value = value + self.begin_weight * jnp.mean(jnp.square(apart))
        return value

    def _draw(self, key: Array, names: tuple[str, ...], scale: Any) -> Array:
        """Return values (starts, n) of channels within their ranges."""
        mean, std = scale.mean[...], scale.std[...]
        low, high = mean - self.spread * std, mean + self.spread * std
        for at, name in enumerate(names):
            if name in self.ranges:
                ends = self.ranges[name]
                low, high = low.at[at].set(ends[0]), high.at[at].set(ends[1])
        shares = jax.random.uniform(key, (self.starts, len(names)))
        drawn: Array = low + (high - low) * shares
        return drawn


def surrogate_loss(
    residual: str | Callable[..., Any],
    ranges: FrozenMapping[tuple[float, float]] = NOTHING,
    constants: FrozenMapping[Constant] = NOTHING,
    scales: FrozenMapping[float] = NOTHING,
    begin_weight: float = 1.0,
    spread: float = 2.0,
    starts: int = 128,
    times: int = 8,
) -> LossTerm:
    """Mean square of the residuals of known equations within intervals, without measured signals.

    In every step it draws initial states and inputs from their ranges, and times within the
    interval; derivatives are exact. Of the data, only the sampling time and the scale of the
    channels have a part in it. For `pinn/pinc` and `pinn/ddpinn`.

    Args:
        residual: A function of (u, y, derivatives, parameters), or its place, as in
            `physics_loss`. `y` has all states; `derivatives` takes its channels alone.
        ranges: Range of a state or an input by name, two numbers in its unit.
        constants: Known parameters by name, each with its unit.
        scales: What the residual of each equation is divided by, in its unit; of an array, the
            scale `residual`.
        begin_weight: Weight of the mean squared distance from the initial state at the begin of
            the interval, in units of the scale of each state per interval. It has no effect on
            `pinn/ddpinn`, which has no such distance.
        spread: Half the range of a channel without `ranges`, in its standard deviations around its
            mean.
        starts: Initial states and inputs in each step.
        times: Times within the interval for each of them.

    Raises:
        ConfigError: An option is refused, or, when the loss is computed, the residual has another
            shape than (starts, times), asks for a name that is not there, or differentiates what
            is no channel.
        ModelError: When the loss is computed: the model is no surrogate.
    """
    function = load_residual(residual, of=_OWNER)
    check_scales(scales, of=_OWNER)
    not_negative("begin_weight", begin_weight, of=_OWNER)
    positive("spread", spread, of=_OWNER)
    for key, count in (("starts", starts), ("times", times)):
        whole_number(key, count, least=1, of=_OWNER)
    for name, ends in ranges.items():
        numbers = len(ends) == 2 and all(map(is_number, ends))
        if not numbers or not -float("inf") < ends[0] < ends[1] < float("inf"):
            raise ConfigError(
                f"{_OWNER} got ranges.{name} = {ends!r}; give the ends of its range, two finite "
                "numbers, the lower one first.",
                key="ranges",
            )
    ends_of = FrozenMapping({name: (float(a), float(b)) for name, (a, b) in ranges.items()})
    return _SurrogateLoss(function, ends_of, constants, scales, begin_weight, spread, starts, times)
