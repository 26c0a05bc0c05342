"""Ending a training that does not get better any more."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from flax import nnx

from tsjax_core.checks import not_negative, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.training.checkpoints.checkpoints import read_model
from tsjax_core.training.monitor import BestWeights, Mode, Monitor
from tsjax_core.training.progress import EpochResult

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner


class EarlyStopping:
    """Ends a fit after `patience` epochs in a row without improvement.

        stopping = EarlyStopping(patience=10)
        for result in stopping.follow(learner.fit_iter(200), learner):
            ...

    An epoch is an improvement if it passes the last improvement by more than `min_delta`; a value
    that is not finite is none. In a fit that is resumed, the epochs before count as if there had
    been no interruption.

    Args:
        patience: Epochs without improvement after which the fit ends, at least 1.
        min_delta: What an improvement is more than, 0 or more, in the unit of the value.
        monitor: `valid_loss`, `train_loss`, or the name of a metric or of a loss term.
        mode: min where less is better, max where more is.
        restore_best: Whether the model has the weights of the best epoch in the end, however the
            loop ends, or those of the last.
    """

    def __init__(
        self,
        patience: int,
        min_delta: float = 0.0,
        monitor: str = "valid_loss",
        mode: Mode = "min",
        *,
        restore_best: bool = True,
    ) -> None:
        self.patience = whole_number("patience", patience, "epochs", least=1)
        self.min_delta = not_negative("min_delta", min_delta)
        self.restore_best = restore_best
        self._monitor = Monitor(monitor, mode)
        self._begin()

    def _begin(self) -> None:
        self._weights = BestWeights(self._monitor)
        self.stopped = False
        """Whether the fit ended for want of improvement."""
        self._passed = math.inf
        self._waited = 0

    @property
    def best(self) -> EpochResult | None:
        """The best epoch, None before one had a finite value."""
        return self._weights.best

    def follow(
        self, results: Iterable[EpochResult], learner: Learner
    ) -> Generator[EpochResult, None, None]:
        """Yield the `results` of a fit of `learner` unchanged, until there are no better ones.

        Raises:
            ConfigError: No epoch will have the value to monitor, or more of it is better.
            CheckpointError: The fit was resumed, and the best epoch before has no checkpoint.
        """
        self._monitor.check(learner.metrics, learner.loss_weights)
        self._begin()
        fit = learner.fit_in_progress
        before = learner.history[len(learner.history) - fit.done :] if fit is not None else []
        for result in before:
            self._see(result)
        if self.best is not None and self.restore_best:
            if learner.resumed_from is None:
                raise ConfigError(
                    "EarlyStopping.follow got a fit whose first epochs it has not seen; give it "
                    "the results of fit_iter from the first one, or those of learner.resume."
                )
            epoch = self.best.epoch + 1
            self._weights.keep(read_model(learner.resumed_from, epoch, learner))
        try:
            for result in () if self.stopped else results:
                if self._see(result) and self.restore_best:
                    self._weights.keep(nnx.state(learner.model))
                yield result
                if self.stopped:
                    break
        finally:
            self._weights.restore(learner.model)

    def _see(self, result: EpochResult) -> bool:
        """Count `result` in, and return whether it is the best so far."""
        cost, better = self._monitor.cost(result), self._weights.see(result)
        if cost < self._passed - self.min_delta:
            self._passed, self._waited = cost, 0
        else:
            self._waited += 1
            self.stopped = self._waited >= self.patience
        return better
