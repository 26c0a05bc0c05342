"""One trial: a learner that trains, reports every epoch, and goes on from a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tsjax_core.checks import choice
from tsjax_core.data.pipeline import GrainPipeline
from tsjax_core.errors import ConfigError, TrainingError
from tsjax_core.training.learner import Learner
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.schedules import SCHEDULES, Schedule

CreateLearner = Callable[[GrainPipeline | None, Mapping[str, Any]], Learner]
"""Returns the learner of a configuration, on the pipeline."""

FitOptions = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns `lr` and `schedule` of the fit of a configuration, each where it has one."""


class TrialError(TrainingError):
    """A trial failed. The text says with what, and the cause has the traceback."""


def fit_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `lr` and `schedule` of `config`, each where it is there.

    Raises:
        ConfigError: The schedule is neither a function nor the name of one.
    """
    options = {key: config[key] for key in ("lr", "schedule") if config.get(key) is not None}
    if isinstance(options.get("schedule"), str):
        choice("schedule", options["schedule"], list(SCHEDULES))
        schedule: Schedule = SCHEDULES[options["schedule"]]()
        options["schedule"] = schedule
    return options


def train_trial(
    config: Mapping[str, Any],
    *,
    create_learner: CreateLearner,
    pipeline: GrainPipeline | None,
    fit_options: FitOptions,
    n_epochs: int,
    metric: str,
) -> None:
    """Train the learner of `config`; a function that Ray Tune runs in a worker.

    Every epoch is reported with a checkpoint. A trial that begins with a checkpoint, its own after
    an interruption or that of another in population-based training, goes on from there with the
    learning rate of `config`.

    Raises:
        TrialError: The learner cannot be created or trained.
    """
    from ray import tune

    try:
        learner = create_learner(pipeline, config)
        for result in _epochs(learner, n_epochs, fit_options(config)):
            values = report_of(result)
            if metric not in values:
                raise ConfigError(  # noqa: TRY301 - handled as any other failure of the trial
                    f"metric = {metric!r} is not reported; give one of {', '.join(values)}.",
                    key="metric",
                )
            with tempfile.TemporaryDirectory() as folder:
                learner.save_checkpoint(folder)
                tune.report(values, checkpoint=tune.Checkpoint.from_directory(folder))
    except Exception as error:
        # Errors with further arguments do not survive the way between processes; their text does.
        raise TrialError(f"{type(error).__name__}: {error}") from error


def _epochs(learner: Learner, n_epochs: int, options: Mapping[str, Any]) -> Iterator[EpochResult]:
    from ray import tune

    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        yield from learner.fit_iter(n_epochs, **options)
        return
    with checkpoint.as_directory() as folder:
        results = learner.resume(folder, n_epochs=n_epochs, **options)
    yield from results


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
