"""One epoch of a learner: what its steps begin from, its runs, and what they leave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx

from tsjax_core.protocols import ResidentSource
from tsjax_core.training.divergence import check_converging
from tsjax_core.training.evaluation import PendingEvaluation
from tsjax_core.training.fit import Fit
from tsjax_core.training.optimizer.rate import averaged_params
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.quantities import measure
from tsjax_core.training.step.context import StepContext
from tsjax_core.training.step.engine import Run, StepReport, TrainState, split_model
from tsjax_core.training.step.reports import join_reports
from tsjax_core.training.step.runs import runs_of_batches, runs_of_places

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner


def state_before(learner: Learner, fit: Fit) -> TrainState:
    """Return what the next epoch's steps begin from, in arrays that they may overwrite."""
    _, params, _, mutable = split_model(learner.model)
    begun = TrainState(params if fit.raw is None else fit.raw, mutable, fit.opt_state)
    state: TrainState = learner.engine.copy(begun)
    return state


def train_epoch(learner: Learner, fit: Fit, epoch: int) -> tuple[TrainState, EpochResult]:
    """Make the steps of an epoch, and return what they end with and report."""
    _, _, buffers, _ = split_model(learner.model)
    state: TrainState = learner.placement.everywhere(state_before(learner, fit))
    buffers = learner.placement.everywhere(buffers)
    reports: list[StepReport] = []
    begin = learner.steps
    try:
        for run in runs_of_epoch(learner, fit, epoch):
            state, report = learner.engine.make_run(
                run._replace(feed=learner.placement.spread(run.feed)),
                state,
                buffers,
                learner.signals_on_device,
                learner.weights,
            )
            if reports:
                # One run is made while the next is prepared; more would outrun the progress.
                reports[-1].skipped.block_until_ready()
            reports.append(report)
            learner.steps += int(run.count)
            share = (learner.steps - begin) / fit.steps_per_epoch
            learner.progress = (epoch + share) / fit.n_epochs
    except KeyboardInterrupt:
        # The process may end next, and must not while the device computes.
        for report in reports:
            report.skipped.block_until_ready()
        raise
    fetched: list[StepReport] = jax.device_get(learner.placement.local(reports))
    record = join_reports(fetched, learner.steps - begin, learner.engine.term_names)
    return learner.placement.local(state), record.result(epoch)


def end_epoch(
    learner: Learner, fit: Fit, state: TrainState, result: EpochResult, begin: float
) -> PendingEpoch:
    """Take over what an epoch's steps changed, and begin to validate.

    `begin` is the time at which the epoch began. Raises DivergenceError, before anything is
    changed, where it diverged.
    """
    *_, mutable = split_model(learner.model)
    rates = fit.rates_of(result.epoch)
    check_converging(result, state.params, (mutable, state.mutable), rates, learner.pipeline.blamed)
    learner.epochs_done += 1
    average = averaged_params(state.opt_state)
    fit.opt_state, fit.raw = state.opt_state, None if average is None else state.params
    nnx.update(learner.model, state.params if average is None else average, state.mutable)
    result = replace(result, quantities=measure(learner.model))
    validation = learner.evaluator.begin("valid", learner.model)
    return PendingEpoch(learner, fit, result, validation, begin)


def context_of(learner: Learner, fit: Fit, epoch: int) -> StepContext:
    """Return the context of the next epoch of the learner, which is `epoch` of the fit."""
    steps = learner.steps + np.arange(fit.steps_per_epoch, dtype=np.int32)
    progress, rates = fit.progress_of(epoch), fit.rates_of(epoch)
    return StepContext(learner.key, steps, np.int32(epoch), progress, rates)


def load_signals(learner: Learner) -> None:
    """Put the training signals on the device, where the pipeline keeps them there."""
    source = learner.pipeline.train
    if not learner.pipeline.resident or learner.signals_on_device is not None:
        return
    assert isinstance(source, ResidentSource)
    signals = jax.device_put(source.read_resident())
    learner.signals_on_device = learner.placement.everywhere(signals)


def runs_of_epoch(learner: Learner, fit: Fit, epoch: int) -> Iterator[Run]:
    """Yield the runs of the next epoch of the learner, which is `epoch` of the fit."""
    pipeline, context = learner.pipeline, context_of(learner, fit, epoch)
    load_signals(learner)
    if pipeline.resident and not learner.engine.transform.runs_on_host:
        return runs_of_places(pipeline, learner.engine, learner.epochs_done, context)
    return runs_of_batches(
        pipeline, learner.engine, learner.signals_on_device, learner.epochs_done, context
    )


@dataclass(frozen=True)
class PendingEpoch:
    """An epoch whose steps are made and whose validation is begun."""

    learner: Learner
    fit: Fit
    trained: EpochResult
    validation: PendingEvaluation
    begin: float

    def result(self) -> EpochResult:
        """Wait for the validation, and return what the epoch gave."""
        learner, fit, valid = self.learner, self.fit, self.validation.result()
        whole = replace(
            self.trained,
            valid_loss=valid.loss,
            metrics=valid.metrics,
            seconds=time.perf_counter() - self.begin,
        )
        fit.done = whole.epoch + 1
        learner.progress = fit.done / fit.n_epochs
        learner.history.append(whole)
        return whole
