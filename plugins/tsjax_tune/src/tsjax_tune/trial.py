"""What a trial is: how its learner is created, how long it is fitted, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tsjax_core.checks import choice
from tsjax_core.data.pipeline import GrainPipeline
from tsjax_core.errors import TrainingError
from tsjax_core.training.learner import Learner
from tsjax_core.training.monitor import Mode
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.schedules import SCHEDULES, Schedule

CreateLearner = Callable[[GrainPipeline | None, Mapping[str, Any]], Learner]
"""Returns the learner of a configuration, on the pipeline."""

FitOptions = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns how a configuration is fitted: of lr, schedule, n_epochs, patience and min_delta those
that it has."""

FIT_KEYS = ("lr", "schedule", "n_epochs", "patience", "min_delta")


class TrialError(TrainingError):
    """A trial failed. The text says with what, and the cause has the traceback."""


@dataclass(frozen=True)
class TrialPlan:
    """What all trials of a study have in common.

    Args:
        create_learner: Creates the learner of a configuration.
        fit_options: Returns how it is fitted.
        n_epochs: Epochs, where `fit_options` gives none.
        metric: What is compared.
        mode: Whether less or more of it is better.
        every_epoch: Whether each epoch is reported at once and with a checkpoint, as schedulers
            need it, or several together.
        current: Whether an epoch is judged by its own value, or by the best value so far.
        compiled: Directory in which compiled programs are kept, if any.
    """

    create_learner: CreateLearner
    fit_options: FitOptions
    n_epochs: int
    metric: str
    mode: Mode
    every_epoch: bool
    current: bool
    compiled: str | None


def fit_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `lr`, `schedule`, `n_epochs`, `patience` and `min_delta` in `config`.

    Raises:
        ConfigError: The schedule is neither a function nor the name of one.
    """
    options = {key: config[key] for key in FIT_KEYS if config.get(key) is not None}
    if isinstance(options.get("schedule"), str):
        choice("schedule", options["schedule"], list(SCHEDULES))
        schedule: Schedule = SCHEDULES[options["schedule"]]()
        options["schedule"] = schedule
    return options


def report_of(result: EpochResult) -> dict[str, float]:
    """Return what an epoch reports: its number from 1, losses, metrics, quantities and terms."""
    terms = {f"term_{name}": value for name, value in result.terms.items()}
    return {
        "epoch": result.epoch + 1,
        "train_loss": float(result.train_loss),
        "valid_loss": float(result.valid_loss),
        "seconds": float(result.seconds),
        **{name: float(value) for name, value in result.quantities.items()},
        **{name: float(value) for name, value in result.metrics.items()},
        **(terms if len(terms) > 1 else {}),
    }
