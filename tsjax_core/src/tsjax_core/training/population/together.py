"""One fit of several learners of one shape, whose arrays are stacked along an axis of members."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ConfigError, DivergenceError
from tsjax_core.training.checkpoints.packing import is_key
from tsjax_core.training.epoch import (
    PendingEpoch,
    context_of,
    end_epoch,
    load_signals,
    runs_of_epoch,
    state_before,
)
from tsjax_core.training.learner import Learner
from tsjax_core.training.monitor import BestWeights, Keep, Monitor
from tsjax_core.training.progress import EpochResult
from tsjax_core.training.schedules import Schedule
from tsjax_core.training.step.engine import (
    PerMember,
    Places,
    SharedByMembers,
    StepReport,
    split_model,
)
from tsjax_core.training.step.reports import StepRecord, join_reports
from tsjax_core.training.step.runs import context_of_run


class FitTogether:
    """The epochs of `fit_population`.

    Args:
        learners: Learners that passed `check_same_shape`.
        n_epochs: Epochs of each.
        rates: Learning rate of each, None for the default.
        schedule: How the rates change over the fit.
        keep: Which epoch's weights the members have in the end.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        n_epochs: int,
        rates: Sequence[float | None],
        schedule: Schedule | None,
        keep: Keep,
    ) -> None:
        self._best = [BestWeights(Monitor()) for _ in learners] if keep == "best" else []
        self.failures: dict[int, DivergenceError] = {}
        self._learners = learners
        fits = [
            learner.begin_fit(n_epochs, rate, schedule)
            for learner, rate in zip(learners, rates, strict=True)
        ]
        self._fits = fits
        first = learners[0]
        # Their programs are the same, and so are compiled once.
        for learner in learners[1:]:
            learner.engine, learner.signals_on_device = first.engine, first.signals_on_device
        self._engine, self._placement = first.engine, first.placement
        # Devices have equal shares: copies of the last member fill them up.
        share = -(-len(learners) // self._placement.n_devices)
        self._rows = [
            min(row, len(learners) - 1) for row in range(share * self._placement.n_devices)
        ]
        self._same_batches = not self._engine.transform.runs_on_host and all(
            learner.pipeline is first.pipeline and learner.epochs_done == first.epochs_done
            for learner in learners
        )

    def progress(self) -> float:
        """Return the share of the fit that is done, 0 to 1."""
        return max(learner.progress for learner in self._learners)

    def kept(self) -> dict[int, EpochResult]:
        """Return the epoch whose weights each member has, for the members that did not diverge."""
        best = {number: self._best[number].best for number in self._going() if self._best}
        return {n: best.get(n) or self._learners[n].history[-1] for n in self._going()}

    def epochs(self) -> Iterator[Mapping[int, EpochResult]]:
        """Train epoch by epoch, yielding the results of the members that go on, by their place.

        Raises DivergenceError where no member is left.
        """
        self._weights = self._stack_members([learner.weights for learner in self._learners])
        self._buffers = self._stack_members([split_model(x.model)[2] for x in self._learners])
        for learner, fit in zip(self._learners, self._fits, strict=True):
            fit.opt_state = learner.new_optimizer_state()
        state = self._stack_members(
            [state_before(x, fit) for x, fit in zip(self._learners, self._fits, strict=True)]
        )
        try:
            yield from self._each_epoch(state)
        finally:
            for best, learner in zip(self._best, self._learners, strict=False):
                best.restore(learner.model)

    def _each_epoch(self, state: Any) -> Iterator[Mapping[int, EpochResult]]:
        for epoch in range(self._fits[0].n_epochs):
            begin = time.perf_counter()
            with ExitStack() as stack:
                for number in self._going():
                    learner, fit = self._learners[number], self._fits[number]
                    stack.enter_context(learner.whole_epoch(fit))
                state, record = self._train_epoch(state, epoch)
                results = self._end_epoch(state, record, epoch, begin)
            if not results:
                raise self.failures[max(self.failures)]
            for number, best in enumerate(self._best):
                if number in results and best.see(results[number]):
                    best.keep(nnx.state(self._learners[number].model))
            yield results

    def _going(self) -> list[int]:
        return [k for k in range(len(self._learners)) if k not in self.failures]

    def _train_epoch(self, state: Any, epoch: int) -> tuple[Any, StepRecord]:
        first, fit = self._learners[0], self._fits[0]
        reports: list[StepReport] = []
        made = 0
        for feed, own_feed, context, count in self._runs(epoch):
            places = isinstance(feed or own_feed, Places)
            signals = first.signals_on_device if places else None
            state, report = self._engine.make_run_of_members(
                SharedByMembers(feed, count, signals),
                PerMember(own_feed, context, self._buffers, self._weights),
                state,
            )
            if reports:
                # One run is made while the next is prepared, as when a learner trains alone.
                reports[-1].skipped.block_until_ready()
            reports.append(report)
            made += int(count)
            for number in self._going():
                self._learners[number].progress = (
                    epoch + made / fit.steps_per_epoch
                ) / fit.n_epochs
        fetched: list[StepReport] = jax.device_get(reports)
        return state, join_reports(fetched, made, self._engine.term_names)

    def _end_epoch(
        self, state: Any, record: StepRecord, epoch: int, begin: float
    ) -> dict[int, EpochResult]:
        """Let each learner take over its part; return the results of those that go on."""
        states = _rows_of(state, len(self._learners))
        steps = self._fits[0].steps_per_epoch
        results: dict[int, EpochResult] = {}
        begun: list[tuple[int, PendingEpoch]] = []
        for number in self._going():
            learner, fit = self._learners[number], self._fits[number]
            result = record.of_member(number).result(epoch)
            try:
                pending = end_epoch(learner, fit, states[number], result, begin)
            except DivergenceError as failure:
                self.failures[number] = failure
                learner.progress = fit.done / fit.n_epochs
                continue
            learner.steps += steps
            begun.append((number, pending))
            # One is simulated while the next takes over its part. More would fill the memory.
            if len(begun) > 1:
                before, pending = begun.pop(0)
                results[before] = pending.result()
        results.update((number, pending.result()) for number, pending in begun)
        return results

    def _runs(self, epoch: int) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield the feed of all members or of each, their contexts, and the steps of a run."""
        each = list(zip(self._learners, self._fits, strict=True))
        first, fit = each[0]
        load_signals(first)
        for learner in self._learners[1:]:
            learner.signals_on_device = first.signals_on_device
        if not self._same_batches:
            runs_of_all = [runs_of_epoch(learner, fit, epoch) for learner, fit in each]
            for runs in zip(*runs_of_all, strict=True):
                feeds = self._stack_members([run.feed for run in runs])
                yield None, feeds, self._stack_members([run.context for run in runs]), runs[0].count
            return
        contexts = [context_of(learner, fit, epoch) for learner, fit in each]
        made = 0
        for run in runs_of_epoch(first, fit, epoch):
            count, capacity = int(run.count), len(run.context.step)
            own = [context_of_run(context, made, count, capacity) for context in contexts]
            yield self._placement.everywhere(run.feed), None, self._stack_members(own), run.count
            made += count

    def _stack_members(self, trees: Sequence[Any]) -> Any:
        """Return the members' arrays with a first axis of members, spread over the devices."""
        rows = [trees[row] for row in self._rows]
        return self._placement.spread_members(jax.tree.map(_stack, *rows))


def _stack(*leaves: Any) -> Any:
    if is_key(leaves[0]):
        data = jnp.stack([jax.random.key_data(leaf) for leaf in leaves])
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaves[0]))
    if len({np.shape(leaf) for leaf in leaves}) > 1:
        raise ConfigError(
            "fit_population trains on batches of one shape, and the batch transform gave members "
            f"sequences of {', '.join(str(np.shape(leaf)[-2]) for leaf in leaves)} samples in the "
            "same step. Train them one by one, by fit.",
            key="batch_transform",
        )
    return np.stack([np.asarray(leaf) for leaf in leaves])


def _rows_of(tree: Any, n: int) -> list[Any]:
    """Return the trees of the first `n` members, on the device."""
    leaves, structure = jax.tree.flatten(tree)
    # Copies, because the device may write over what it was given.
    hosts: list[Any] = [np.array(jax.random.key_data(x) if is_key(x) else x) for x in leaves]

    def row(number: int) -> Any:
        parts = [
            jax.random.wrap_key_data(jnp.asarray(host[number]), impl=jax.random.key_impl(leaf))
            if is_key(leaf)
            else host[number]
            for host, leaf in zip(hosts, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, parts)

    rows: list[Any] = jax.device_put([row(number) for number in range(n)])
    return rows
