"""What a worker sends: epochs, how trials ended, and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsjax_tune.training import TrialTraining
from tsjax_tune.trial import TrialPlan

GATHER = 0.25
"""Seconds for which epochs are gathered, because a report takes longer than a small epoch."""

SAVING_SHARE = 0.1
LEAST_PAUSE = 1.0


class Reporter:
    """Sends what the trainings of one process gave.

    Schedulers get every epoch with a checkpoint. Else epochs are gathered, and checkpoints take a
    tenth of the time.

    Args:
        plan: What the trials have in common.
        folder: Directory of the checkpoints, a directory for each training.
    """

    def __init__(self, plan: TrialPlan, folder: Path) -> None:
        self.folder = folder
        self.trainings: list[TrialTraining] = []
        self.ended: dict[str, str] = {}
        """How trials ended that were not reported yet: an error, or nothing."""
        self._plan = plan
        self._sent = time.monotonic()
        self._saved, self._pause = self._sent, LEAST_PAUSE

    def end(self, training: TrialTraining, error: str = "") -> None:
        """Say that a training ended, with an error or without."""
        self.ended[training.key] = error
        if training.unsaved:
            training.save(self.folder / training.key)

    def send_epoch(self, running: Sequence[TrialTraining]) -> None:
        """Send the epochs of the trainings that are `running`, if it is time for it."""
        now = time.monotonic()
        if self._plan.every_epoch or now - self._sent >= GATHER:
            self.send(running, save=self._plan.every_epoch or now - self._saved >= self._pause)

    def send(self, running: Sequence[TrialTraining] = (), *, save: bool = True) -> None:
        """Send all that was not sent, with a checkpoint or without."""
        from ray import tune

        begin = time.monotonic()
        rows = {each.key: (each.restarted, each.take_rows()) for each in self.trainings}
        values: dict[str, Any] = {
            "rows": {key: sent for key, (_, sent) in rows.items() if sent},
            "restarted": [key for key, (restarted, _) in rows.items() if restarted],
            "ended": self.ended,
            # Ray wants them in every report, and a learner that was not created has neither.
            self._plan.metric: math.inf if self._plan.mode == "min" else -math.inf,
            "epoch": 0,
        }
        self.ended = {}
        if self.trainings:
            objectives = [each.objective for each in self.trainings]
            best = (min if self._plan.mode == "min" else max)(objectives)
            epochs = [len(each.learner.history) for each in running or self.trainings]
            values |= {self._plan.metric: best, "epoch": max(epochs)}
        checkpoint = None
        if save:
            for each in running:
                if each.unsaved:
                    each.save(self.folder / each.key)
            if any(self.folder.iterdir()):
                checkpoint = tune.Checkpoint.from_directory(self.folder)
        tune.report(values, checkpoint=checkpoint)
        self._sent = time.monotonic()
        if save:
            self._saved = self._sent
            self._pause = max(LEAST_PAUSE, (self._sent - begin) / SAVING_SHARE)
