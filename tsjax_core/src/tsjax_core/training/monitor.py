"""The value of an epoch that decides which epoch is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jax
from flax import nnx

from tsjax_core.checks import choice
from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of
from tsjax_core.training.progress import EpochResult

Mode = Literal["min", "max"]

Keep = Literal["best", "last"]
"""The epoch whose weights a fit leaves in the model."""


def check_keep(keep: Keep) -> None:
    """Raise ConfigError where `keep` is neither best nor last."""
    choice("keep", keep, ("best", "last"))


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
        choice("mode", self.mode, ("min", "max"))

    def check(self, metrics: Iterable[Callable[..., Any]], term_names: Iterable[str]) -> None:
        """Raise ConfigError where an epoch has no such value, or more of it is better.

        That is known of metrics that carry `higher_is_better = True`.
        """
        by_name = {name_of(metric): metric for metric in metrics}
        known = {"train_loss", "valid_loss", *term_names, *by_name}
        if self.name not in known:
            raise ConfigError(
                f"monitor = {self.name!r}, and an epoch has {', '.join(sorted(known))}. "
                "Give one of these.",
                key="monitor",
            )
        if self.mode == "min" and getattr(by_name.get(self.name), "higher_is_better", False):
            raise ConfigError(
                f"monitor = {self.name!r} is better the higher it is, and mode is 'min'; give "
                "mode = 'max'.",
                key="mode",
            )

    def cost(self, result: EpochResult) -> float:
        """Return the value of `result` so that less is better; infinite where it is not finite."""
        losses = {"valid_loss": result.valid_loss, "train_loss": result.train_loss}
        value = {**result.terms, **result.metrics, **losses}[self.name]
        if not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value


class BestWeights:
    """The weights of the best epoch that was seen.

    Args:
        monitor: What makes an epoch the best.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._weights: Any = None
        self.best: EpochResult | None = None
        """The best epoch, None before one had a finite value."""

    def see(self, result: EpochResult) -> bool:
        """Return whether `result` is the best so far."""
        best = math.inf if self.best is None else self._monitor.cost(self.best)
        better = self._monitor.cost(result) < best
        if better:
            self.best = result
        return better

    def keep(self, weights: Any) -> None:
        """Keep the variables of a model, or none with None."""
        self._weights = jax.tree.map(lambda x: x, weights)

    def restore(self, model: nnx.Module) -> None:
        """Give `model` the weights that are kept, if any are."""
        if self._weights is not None:
            nnx.update(model, self._weights)


def keep_best(
    results: Iterable[EpochResult], model: nnx.Module, monitor: Monitor
) -> Generator[EpochResult, None, None]:
    """Yield `results` unchanged; in the end `model` has the weights of the best epoch of them."""
    best = BestWeights(monitor)
    try:
        for result in results:
            if best.see(result):
                best.keep(nnx.state(model))
            yield result
    finally:
        best.restore(model)
