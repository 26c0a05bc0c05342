"""Outputs and states that are not measured, with their scale and unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsjax_core.checks import is_number, positive
from tsjax_core.errors import ConfigError
from tsjax_core.types import FrozenMapping, NormStats, Signals
from tsjax_pinn.units import check_unit


@dataclass(frozen=True)
class Auxiliary:
    """An output or a state that is not measured, and that only the equations shape.

    Args:
        mean: About its mean, in its unit.
        std: About its standard deviation, in its unit; it scales what a network gives.
        unit: Physical unit, such as "m/s".
    """

    mean: float = 0.0
    std: float = 1.0
    unit: str = ""

    def __post_init__(self) -> None:
        if not is_number(self.mean) or not abs(float(self.mean)) < float("inf"):
            raise ConfigError(f"Auxiliary got mean = {self.mean!r}; give a finite number.")
        positive("std", self.std, of="Auxiliary")
        check_unit("unit", self.unit, of="Auxiliary")


def stats_of(auxiliary: FrozenMapping[Auxiliary], signals: Signals, *, of: str) -> NormStats:
    """Return mean and standard deviation of the auxiliary outputs in their order.

    Raises:
        ConfigError: The data measure one of them.
    """
    if twice := sorted({*signals.outputs, *signals.inputs} & auxiliary.keys()):
        raise ConfigError(
            f"{of} got the auxiliary output {twice[0]!r}, which the data measure; give it "
            "another name.",
            key="auxiliary",
        )
    each = auxiliary.values()
    return NormStats(np.array([a.mean for a in each]), np.array([a.std for a in each]))
