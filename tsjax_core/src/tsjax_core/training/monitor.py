"""The value of an epoch that decides which epoch is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tsjax_core.errors import ConfigError
from tsjax_core.training.progress import EpochResult

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Monitor:
    """A loss, a loss term, or a metric, and whether less or more of it is better.

    Args:
        name: `valid_loss`, `train_loss`, or the name of a metric or of a loss term.
        mode: min where less is better, max where more is.
    """

    name: str = "valid_loss"
    mode: Mode = "min"

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ConfigError(f"mode = {self.mode!r}; give 'min' or 'max'.", key="mode")

    def cost(self, result: EpochResult) -> float:
        """Return the value of `result` so that less is better; infinite where it is not finite.

        Raises:
            ConfigError: The epoch has no value of that name.
        """
        losses = {"valid_loss": result.valid_loss, "train_loss": result.train_loss}
        values = {**result.terms, **result.metrics, **losses}
        if self.name not in values:
            raise ConfigError(
                f"monitor = {self.name!r}, and an epoch has {', '.join(sorted(values))}. "
                "Give one of these.",
                key="monitor",
            )
        value = values[self.name]
        if not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value
