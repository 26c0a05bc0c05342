"""A line on standard error for every trial that ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class TrialLines(Callback):
    """Prints each trial that ends, with its best value, and the best of all so far."""

    def __init__(self, metric: str, mode: str) -> None:
        self.metric = metric
        self.mode = mode

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - Ray passes it by name
        trials: list[Trial],
        trial: Trial,
        **info: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Print the trial and the best value so far."""
        values = [value for each in trials if (value := self._value(each)) is not None]
        best = (min if self.mode == "min" else max)(values, default=float("nan"))
        value = self._value(trial)
        shown = "none" if value is None else f"{value:.4g}"
        epochs = int((trial.last_result or {}).get("epoch", 0))
        self._print(trials, f"{self.metric} {shown}  best {best:.4g}  {epochs} epochs", trial)

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Ray passes it by name
        trials: list[Trial],
        trial: Trial,
        **info: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Print that the trial failed."""
        self._print(trials, "failed", trial)

    def _value(self, trial: Trial) -> float | None:
        seen = trial.metric_analysis.get(self.metric) if trial.metric_analysis else None
        value = None if seen is None else seen.get(self.mode)
        return None if value is None or value != value else float(value)  # noqa: PLR0124 - NaN

    @staticmethod
    def _print(trials: list[Trial], text: str, trial: Trial) -> None:
        ended = sum(each.status in ("TERMINATED", "ERROR") for each in trials)
        config = describe_config(trial.config)
        print(f"trial {ended} of {len(trials)}  {text}  {config}", file=sys.stderr, flush=True)  # noqa: T201


def describe_config(config: Mapping[str, Any]) -> str:
    """Return the values of a configuration as one line."""
    return "  ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in config.items()
    )
