"""Physical parameters with bounds and units, as options of a specification and as variables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import is_number
from tsjax_core.errors import ConfigError
from tsjax_core.types import Array


@dataclass(frozen=True)
class Bounded:
    """A trainable physical parameter: where it begins, between which bounds it stays, its unit.

    In an experiment it is a table, such as
    `[model.parameters.damping] start = 0.5, low = 0.0, high = 10.0, unit = "N s/m"`; a field of a
    specification that holds several has the type `FrozenMapping[Bounded]`.

    Args:
        start: Value before training, between the bounds and equal to none of them.
        low: Value that it stays above.
        high: Value that it stays below.
        unit: Physical unit, such as "N s/m".
    """

    start: float
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""

    def __post_init__(self) -> None:
        for key in ("start", "low", "high"):
            if not is_number(getattr(self, key)):
                raise ConfigError(f"{key} = {getattr(self, key)!r}; give a number.", key=key)
        if not (math.isfinite(self.start) and self.low < self.start < self.high):
            raise ConfigError(
                f"start = {self.start}, low = {self.low} and high = {self.high}; give a finite "
                "start that lies between the bounds.",
                key="start",
            )


class BoundedParameter(nnx.Module):
    """The variable of a `Bounded`: trained without bounds, and read within them.

    One bound is kept by the exponential function and two by the logistic one; the slope at the
    start is that of a parameter in units of its start, or of its range.
    """

    def __init__(self, bounded: Bounded) -> None:
        self.bounded = bounded
        self.raw = nnx.Param(jax.device_put(np.zeros((), np.float32)))

    @property
    def value(self) -> Array:
        """The value in its physical unit, a scalar."""
        raw, b = self.raw[...], self.bounded
        if math.isinf(b.low) and math.isinf(b.high):
            return b.start + raw * (abs(b.start) or 1.0)
        if math.isinf(b.high):
            return b.low + (b.start - b.low) * jnp.exp(raw)
        if math.isinf(b.low):
            return b.high - (b.high - b.start) * jnp.exp(raw)
        share = (b.start - b.low) / (b.high - b.low)
        middle = math.log(share / (1.0 - share))
        return b.low + (b.high - b.low) * jax.nn.sigmoid(middle + raw)

    @property
    def quantity(self) -> tuple[Array, str]:
        """The value and its unit, as `MeasuringModel.quantities` returns them."""
        return self.value, self.bounded.unit
