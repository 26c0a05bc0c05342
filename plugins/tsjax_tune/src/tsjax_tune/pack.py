"""A pack: several trials of one process, trained as one program where their shapes agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsjax_core import fit_population_iter, shape_groups
from tsjax_core.errors import DivergenceError, TsjaxError
from tsjax_core.training.learner import Learner
from tsjax_core.training.schedules import Schedule
from tsjax_tune.reporter import Reporter
from tsjax_tune.training import TrialTraining
from tsjax_tune.trial import TrialError, TrialPlan

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline

DIVERGED = "DivergenceError: training diverged in epoch {}; train with a lower lr."


def train_pack(
    members: Mapping[str, Mapping[str, Any]],
    plan: TrialPlan,
    pipeline: GrainPipeline | None,
    reporter: Reporter,
) -> None:
    """Train the learners of all `members`, those of one shape and one length of fit together.

    After an interruption those that had begun go on one by one. One that fails leaves the others
    alone.

    Raises:
        TrialError: Something failed that may work when it is tried again.
    """
    trainings: list[TrialTraining] = []
    try:
        for key, config in members.items():
            try:
                learner = plan.create_learner(pipeline, config)
                trainings.append(TrialTraining(key, config, learner, plan))
            except TsjaxError as error:
                reporter.ended[key] = f"{type(error).__name__}: {error}"
        reporter.trainings = trainings
        begun = [each for each in trainings if (reporter.folder / each.key).exists()]
        for each in begun:
            _train_alone(each, reporter, reporter.folder / each.key)
        for group in group_trainings([each for each in trainings if each not in begun]):
            if len(group) == 1:
                _train_alone(group[0], reporter, None)
            else:
                _train_together(group, reporter)
        reporter.send()
    except Exception as error:
        if any(each.unsaved for each in trainings):
            reporter.send([each for each in trainings if each.unsaved])
        raise TrialError(f"{type(error).__name__}: {error}") from error


def group_trainings(trainings: Sequence[TrialTraining]) -> list[list[TrialTraining]]:
    """Return the trainings that one program can make, group by group."""
    groups: list[list[TrialTraining]] = []
    for shaped in shape_groups([each.learner for each in trainings]):
        by_length: dict[Any, list[TrialTraining]] = {}
        for place in shaped:
            each = trainings[place]
            key = (each.n_epochs, _identity(each.schedule))
            by_length.setdefault(key, []).append(each)
        groups += by_length.values()
    return groups


def _identity(schedule: Schedule | None) -> Any:
    """Return what equal schedules have in common: they are made anew for every configuration."""
    code = getattr(schedule, "__code__", None)
    values = tuple(
        repr(cell.cell_contents) for cell in getattr(schedule, "__closure__", None) or ()
    )
    return schedule if code is None else (code, values)


def _train_alone(training: TrialTraining, reporter: Reporter, saved: Path | None) -> None:
    try:
        for _ in training.begin(saved):
            reporter.send_epoch([training])
    except TsjaxError as error:
        reporter.end(training, f"{type(error).__name__}: {error}")
    else:
        reporter.end(training)


def _train_together(group: Sequence[TrialTraining], reporter: Reporter) -> None:
    first = group[0]
    learners: list[Learner] = [each.learner for each in group]
    rates: list[Any] = [each.lr for each in group]
    running = dict(enumerate(group))
    epochs = fit_population_iter(learners, first.n_epochs, rates, first.schedule, keep="last")
    try:
        for epoch, results in enumerate(epochs):
            for place, training in list(running.items()):
                if place not in results:
                    reporter.end(running.pop(place), DIVERGED.format(epoch + 1))
                    continue
                training.see(results[place])
                if training.stopped:
                    reporter.end(running.pop(place))
            if not running:
                return
            reporter.send_epoch(list(running.values()))
    except DivergenceError as error:
        for training in running.values():
            reporter.end(training, f"DivergenceError: {error}")
        return
    for training in running.values():
        reporter.end(training)
