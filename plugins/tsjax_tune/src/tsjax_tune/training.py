"""A learner within a trial: its epochs, the best of them, and its checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsjax_core.checks import not_negative, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.training.checkpoints.checkpoints import stored_epochs
from tsjax_core.training.learner import Learner
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.snapshot import TrainingSnapshot
from tsjax_tune.trial import TrialPlan, report_of

LAST = "last"
BEST = "best"


class TrialTraining:
    """Trains the learner of one configuration, and keeps what a report needs.

    A checkpoint of it is a directory with `last`, from which the training goes on, and `best`, the
    moment after the best epoch, which is left out where that is the last one.

    Args:
        key: Its key in reports and in checkpoints.
        config: The configuration.
        learner: The learner that was created for it.
        plan: What it has in common with other trials.
    """

    def __init__(
        self, key: str, config: Mapping[str, Any], learner: Learner, plan: TrialPlan
    ) -> None:
        self.key = key
        self.learner = learner
        options = dict(plan.fit_options(config))
        self.n_epochs = int(options.get("n_epochs", plan.n_epochs))
        self.lr, self.schedule = options.get("lr"), options.get("schedule")
        self.patience = math.inf
        """Epochs without improvement after which it ends."""
        if options.get("patience") is not None:
            self.patience = whole_number("patience", options["patience"], "epochs", least=1)
        self.min_delta = not_negative("min_delta", options.get("min_delta", 0.0))
        self.rows: list[dict[str, float]] = []
        """Epochs that were not reported yet."""
        self.restarted = False
        """Whether `rows` take the place of all that was reported."""
        self.unsaved = False
        """Whether an epoch is newer than the last checkpoint."""
        self.value = math.nan
        """The metric of the last epoch."""
        self.cost = math.inf
        """The best value, so that less is better."""
        self._plan = plan
        self._best: TrainingSnapshot | None = None
        self._best_epoch = 0
        self._passed = math.inf
        self._waited = 0

    def begin(self, checkpoint: Path | None) -> Iterator[EpochResult]:
        """Yield the epochs, all of them or those that are left after `checkpoint`."""
        self.restarted = True
        if checkpoint is None:
            results = self.learner.fit_iter(self.n_epochs, self.lr, self.schedule)
        else:
            results = self._go_on(checkpoint)
        for result in () if self.stopped else results:
            self.see(result)
            yield result
            if self.stopped:
                break

    def see(self, result: EpochResult) -> None:
        """Take in the epoch that the learner has just ended."""
        row = self._row(result)
        if self._judge(row):
            self._best, self._best_epoch = self.learner.snapshot(), result.epoch
        self.rows.append(row)
        self.unsaved = True

    @property
    def stopped(self) -> bool:
        """Whether it ends for want of improvement, as `tsjax_core.EarlyStopping` says."""
        return self._waited >= self.patience

    @property
    def objective(self) -> float:
        """What Ray compares: the value of the last epoch, or the best so far."""
        sign = 1.0 if self._plan.mode == "min" else -1.0
        if not self._plan.current:
            return sign * self.cost
        return self.value if math.isfinite(self.value) else sign * math.inf

    def take_rows(self) -> list[dict[str, float]]:
        """Return the epochs that were not reported yet, which then count as reported."""
        rows, self.rows, self.restarted = self.rows, [], False
        return rows

    def save(self, folder: Path) -> None:
        """Write the checkpoint to `folder`, in the place of an earlier one there."""
        learner = self.learner
        learner.save_checkpoint(folder / LAST)
        now = learner.snapshot()
        last = now.fit is not None and now.fit.done == self._best_epoch + 1
        best = folder / BEST
        if self._best is None or last:
            shutil.rmtree(best, ignore_errors=True)
        elif stored_epochs(best) != (self._best_epoch + 1,):
            shutil.rmtree(best, ignore_errors=True)
            learner.restore(self._best)
            try:
                learner.save_checkpoint(best)
            finally:
                learner.restore(now)
        self.unsaved = False

    def _go_on(self, checkpoint: Path) -> Iterator[EpochResult]:
        learner = self.learner
        options: dict[str, Any] = {
            "lr": self.lr,
            "schedule": self.schedule,
            "n_epochs": self.n_epochs,
        }
        results = learner.resume(checkpoint / LAST, **options)
        now = learner.snapshot()
        self.rows = [self._row(result) for result in learner.history]
        for row, result in zip(self.rows, learner.history, strict=True):
            if self._judge(row):
                self._best, self._best_epoch = now, result.epoch
        if self._best is not None and self._best_epoch + 1 in stored_epochs(checkpoint / BEST):
            learner.resume(checkpoint / BEST, self._best_epoch + 1)
            self._best = learner.snapshot()
            learner.restore(now)
        return results

    def _judge(self, row: Mapping[str, float]) -> bool:
        """Count an epoch in, and return whether it is the best so far."""
        self.value = row[self._plan.metric]
        cost = math.inf
        if math.isfinite(self.value):
            cost = self.value if self._plan.mode == "min" else -self.value
        if cost < self._passed - self.min_delta:
            self._passed, self._waited = cost, 0
        else:
            self._waited += 1
        better = cost < self.cost
        self.cost = min(self.cost, cost)
        return better

    def _row(self, result: EpochResult) -> dict[str, float]:
        row, metric = report_of(result), self._plan.metric
        if metric not in row and metric in result.terms:
            row[metric] = float(result.terms[metric])
        if metric not in row:
            raise ConfigError(
                f"metric = {metric!r} is not reported; give one of {', '.join(row)}.",
                key="metric",
            )
        return row


def best_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """Return the checkpoint of the best epoch in what `TrialTraining.save` wrote, and that epoch.

    The epoch counts from 1. None where there is no checkpoint.
    """
    for name in (BEST, LAST):
        if epochs := stored_epochs(folder / name):
            return folder / name, epochs[-1]
    return None
