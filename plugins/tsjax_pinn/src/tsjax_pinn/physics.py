"""Known equations as a loss on training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tsjax_core.checks import choice, share, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import LossTerm
from tsjax_core.types import AnyArray, Array, FrozenMapping, Signals
from tsjax_pinn.residual import (
    NOTHING,
    SCHEMES,
    Constant,
    Derivatives,
    Named,
    Residual,
    Scheme,
    channels,
    check_scales,
    load_residual,
    mean_square,
    parameters_of,
    scale_residuals,
)


@dataclass(frozen=True)
class Ramp:
    """A weight that rises from 0 at the share `begin` of the fit to 1 at the share `end`."""

    begin: float
    end: float

    def __post_init__(self) -> None:
        share("ramp_begin", self.begin, "a share of the fit")
        share("ramp_end", self.end, "a share of the fit")
        if self.end < self.begin:
            raise ConfigError(
                f"ramp_begin = {self.begin} and ramp_end = {self.end}; the ramp ends where it "
                "begins or later.",
                key="ramp_end",
            )

    @property
    def is_constant(self) -> bool:
        """Whether the weight is 1 all the time."""
        return self.end == 0.0

    def __call__(self, progress: AnyArray) -> Array:
        """Return the weight at `progress`."""
        now = jnp.asarray(progress)
        if self.end == self.begin:
            return (now >= self.begin).astype(now.dtype)
        return jnp.clip((now - self.begin) / (self.end - self.begin), 0.0, 1.0)


@dataclass(frozen=True)
class Equations:
    """The options that all physics losses share.

    Raises ConfigError where one of them is refused.
    """

    owner: str
    residual: Residual
    difference: Scheme
    constants: FrozenMapping[Constant]
    scales: FrozenMapping[float]
    trim: int
    ramp: Ramp

    def __post_init__(self) -> None:
        choice("difference", self.difference, SCHEMES, of=self.owner)
        whole_number("trim", self.trim, "samples", of=self.owner)
        check_scales(self.scales, of=self.owner)

    def residuals(
        self, u: Mapping[str, Array], y: Mapping[str, Array], model: Any, dt: float, counts: Array
    ) -> tuple[list[Array], Array]:
        """Return the scaled residual (batch, time) of each equation, and which samples count.

        Residuals are 0 at samples that do not count: those outside of `counts` (batch, time), and
        `trim` at both ends.
        """
        time = counts.shape[1]
        if time <= 2 * self.trim:
            raise ConfigError(
                f"{self.owner} got sequences of {time} samples, and trim = {self.trim} leaves "
                "none; give longer windows or a smaller trim.",
                key="trim",
            )
        number = jnp.arange(time)
        inside = (number >= self.trim) & (number < time - self.trim)
        values = self.residual(
            Named("input", u),
            Named("output", y),
            Derivatives(dt, self.difference),
            parameters_of(model, self.constants, of=self.owner),
        )
        counts = counts & inside
        found = scale_residuals(values, self.scales, counts, of=self.owner, what="(batch, time)")
        return found, counts

    def mean_square(
        self, u: Mapping[str, Array], y: Mapping[str, Array], model: Any, dt: float, counts: Array
    ) -> Array:
        """Return the loss of channels (batch, time) at the samples in `counts`."""
        return mean_square(*self.residuals(u, y, model, dt, counts))


@dataclass(frozen=True)
class _PhysicsLoss:
    """The loss that `physics_loss` returns."""

    equations: Equations
    auxiliary: bool

    __name__ = "physics_loss"

    @property
    def wants(self) -> frozenset[str]:
        """What the loss declares."""
        wants = {"batch", "model", "signals"}
        wants |= {"aux"} if self.auxiliary else set()
        return frozenset(wants if self.equations.ramp.is_constant else wants | {"progress"})

    def __call__(
        self,
        pred: AnyArray,
        _target: AnyArray,
        _y_mean: AnyArray,
        _y_std: AnyArray,
        *,
        batch: Mapping[str, Any],
        model: Any,
        signals: Signals,
        aux: Mapping[str, Any] | None = None,
        progress: Any = None,
    ) -> Array:
        """Return the value."""
        found = self._find(pred, batch, model, signals, aux)
        value = mean_square(*found)
        ramp = self.equations.ramp
        return value if ramp.is_constant else ramp(progress) * value

    def residuals(
        self,
        pred: AnyArray,
        _target: AnyArray,
        _y_mean: AnyArray,
        _y_std: AnyArray,
        *,
        batch: Mapping[str, Any],
        model: Any,
        signals: Signals,
        aux: Mapping[str, Any] | None = None,
        progress: Any = None,
    ) -> Array:
        """Return the scaled residuals, (batch, time, equations)."""
        each, _ = self._find(pred, batch, model, signals, aux)
        found = jnp.stack(each, axis=-1) if each else jnp.zeros((*pred.shape[:2], 0))
        ramp = self.equations.ramp
        return found if ramp.is_constant else jnp.sqrt(ramp(progress)) * found

    def _find(
        self,
        pred: AnyArray,
        batch: Mapping[str, Any],
        model: Any,
        signals: Signals,
        aux: Mapping[str, Any] | None,
    ) -> tuple[list[Array], Array]:
        """Return the scaled residual of each equation, and which samples count."""
        n = pred.shape[1]
        u = channels(signals.inputs, batch["u"][:, -n:])
        y = channels(signals.outputs, pred) | auxiliary_channels(model, aux or {}, n)
        counts = jnp.ones(pred.shape[:2], bool)
        if "position" in batch:
            counts = jnp.asarray(batch["position"])[:, -n:] >= 0
            for _ in range(self.equations.trim):
                # A stencil that reaches into what fills up the batch does not count.
                counts = counts & jnp.roll(counts, 1, 1) & jnp.roll(counts, -1, 1)
        dt = sampling_time(signals, of=self.equations.owner)
        return self.equations.residuals(u, y, model, dt, counts)


def physics_loss(
    residual: str | Callable[..., Any],
    difference: Scheme = "central",
    constants: FrozenMapping[Constant] = NOTHING,
    scales: FrozenMapping[float] = NOTHING,
    trim: int = 2,
    ramp_begin: float = 0.0,
    ramp_end: float = 0.0,
    auxiliary: bool = True,
) -> LossTerm:
    """Mean square of the residuals of known equations, on the training data.

    Inputs are the measured ones, outputs those of the model, all in physical units; derivatives are
    differences over the sampling time of the data. Parameters are the trained ones of the model,
    by its `quantities`, and the constants. Several equations add up.

    Args:
        residual: A function of (u, y, derivatives, parameters), such as `lambda u, y, d, p:
            d.first(y["level"]) - p["gain"] * u["flow"]`; in an experiment its place, as
            "module:function" or "file.py:function".
        difference: How derivatives are computed: `forward`, `central` or `central4`.
        constants: Known parameters by name, each with its unit.
        scales: What the residual of each equation is divided by, in its unit; of an array, the
            scale `residual`.
        trim: Samples at both ends of a sequence that do not count, where differences are one-sided.
        ramp_begin: Share of the fit at which the weight begins to rise from 0.
        ramp_end: Share of the fit from which on the weight is full; 0 for a constant weight.
        auxiliary: Whether the residual sees the auxiliary outputs of the model; false for a model
            that has no intermediate values.

    Raises:
        ConfigError: An option is refused, or, when the loss is computed, the residual has another
            shape than (batch, time), asks for a name that is not there, or the data have no
            sampling time.
    """
    owner = "physics_loss"
    function = load_residual(residual, of=owner)
    ramp = Ramp(ramp_begin, ramp_end)
    equations = Equations(owner, function, difference, constants, scales, trim, ramp)
    return _PhysicsLoss(equations, auxiliary)


def auxiliary_channels(model: Any, aux: Mapping[str, Any], n: int) -> dict[str, Array]:
    """Return the last `n` samples of the auxiliary outputs of `model` by name."""
    names = tuple(getattr(model, "auxiliary_outputs", ()))
    return channels(names, aux["auxiliary"][:, -n:]) if names and "auxiliary" in aux else {}


def sampling_time(signals: Signals, *, of: str) -> float:
    """Return the sampling time in seconds; ConfigError where it is not known."""
    if signals.dt is None:
        raise ConfigError(
            f"{of} needs the sampling time, and the data have none; give dt in [data] or in "
            "create_grain_dls.",
            key="dt",
        )
    return float(signals.dt)
