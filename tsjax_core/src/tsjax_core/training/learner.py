"""The learner: a model, its data and its loss, trained epoch by epoch."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.inference.chunks import is_long, simulate
from tsjax_core.inference.predict import predict
from tsjax_core.losses.compose import named_terms
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.protocols import BatchedSource, ModelSpec, ResidentSource, StatefulModel
from tsjax_core.signatures import name_of
from tsjax_core.training.compatibility import (
    check_aux,
    check_data,
    check_metrics,
    check_n_skip,
    check_output,
    samples_to_skip,
)
from tsjax_core.training.divergence import check_converging
from tsjax_core.training.evaluation import (
    Evaluation,
    Pairs,
    Scores,
    compute_loss,
    compute_scores,
    count_measured,
    cut_pairs,
    split_batches,
)
from tsjax_core.training.fit import Fit, plan_fit
from tsjax_core.training.monitor import Keep, check_keep
from tsjax_core.training.optimizer.rate import Optimizer, RateControlled, averaged_params
from tsjax_core.training.progress import EpochResult, follow
from tsjax_core.training.schedules import Schedule, flat_cos
from tsjax_core.training.step.devices import Placement
from tsjax_core.training.step.engine import Engine, Run, StepReport, TrainState, split_model
from tsjax_core.training.step.placed_transform import Clock
from tsjax_core.training.step.reports import joined
from tsjax_core.training.step.runs import runs_of_batches, runs_of_places
from tsjax_core.types import AnyArray, Array, Batch, HostArray, Sample

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline
    from tsjax_core.data.store import Split


@dataclass(frozen=True)
class Snapshot:
    """What training changes in a learner, as it was at one moment."""

    model: Any
    steps: int
    epochs_done: int
    history: tuple[EpochResult, ...]
    fit: Fit | None


class Learner:
    """Trains a model on a pipeline.

    After every epoch `model` holds the trained parameters, or their average where the optimizer
    keeps one; an interrupted epoch leaves those of the epoch before it. The seed and the data
    decide every number.

    Args:
        model: A specification, which the learner builds for the pipeline's signals, or a model.
        pipeline: The data.
        loss: A loss term, or several of them through `compose_losses`.
        metrics: Computed on the whole validation split after every epoch.
        optimizer: An optax transformation, or a function of `learning_rate` such as
            `optax.adam`, whose rate then comes from the fit. By default Adam with b2 = 0.99,
            which skips updates whose loss or gradient is not finite (`skip_nonfinite`).
        batch_transform: Changes each training batch. Validation and test batches are left alone,
            except by transforms that are marked by `also_in_evaluation`.
        n_skip: Samples at the start of every sequence that count in no loss and no metric, while
            the model's state settles. By default the receptive field of a specification or model
            that is a `FiniteMemory`, and 0 for every other.
        seed: Decides the initial parameters and all random draws of the training.
        devices: Devices that share the windows of each batch, the first of `jax.devices()`. The
            numbers are those of one device to rounding.
        reads: Batch keys that `model` takes, where it is a model and not a specification.

    Raises:
        SignatureError: A loss, metric, transform or model asks for what tsjax does not give.
        ModelError: The model's output does not have the shape of the targets.
        ConfigError: `n_skip` leaves nothing to learn from, or `devices` cannot share a batch.
    """

    def __init__(
        self,
        model: ModelSpec | nnx.Module,
        pipeline: GrainPipeline,
        loss: Callable[..., Array] = normalized_mae,
        metrics: Sequence[Callable[..., Array]] = (),
        optimizer: Optimizer | None = None,
        batch_transform: Callable[..., Mapping[str, Array]] | None = None,
        n_skip: int | None = None,
        seed: int = 0,
        *,
        devices: int = 1,
        reads: Sequence[str] = ("u",),
    ) -> None:
        self.pipeline = pipeline
        self.signals = pipeline.signals
        self.seed = seed
        if callable(metrics):
            raise ConfigError(
                f"metrics is {name_of(metrics)!r}; give a list, such as metrics=[rmse].",
                key="metrics",
            )
        self.metrics = tuple(metrics)
        self.history: list[EpochResult] = []
        self.progress = 0.0
        """Share of the current fit that is done, 0 to 1."""
        self.fit_in_progress: Fit | None = None
        """The fit that was begun or resumed last."""
        self.description = ""
        """What else decides the numbers, as a text: a checkpoint of another text is refused."""
        self.resumed_from: Path | None = None
        """Directory of the checkpoints from which that fit was resumed."""

        self.spec: ModelSpec | None
        if isinstance(model, nnx.Module):
            self.spec, self.model, self.reads = None, model, tuple(reads)
        else:
            self.spec, self.reads = model, tuple(model.reads)
            built = model.build(self.signals, rngs=nnx.Rngs(seed))
            if not isinstance(built, nnx.Module):
                raise ModelError(
                    f"{name_of(model)}.build returned {type(built).__name__}; "
                    "a model is a flax.nnx.Module."
                )
            self.model = built
        self._terms = named_terms(loss)
        check_metrics(self.metrics)
        check_aux(self.model, self._terms)
        owner = self.spec or self.model
        check_data(owner, self.reads, pipeline)
        check_n_skip(n_skip, owner, pipeline)
        self.n_skip = samples_to_skip(n_skip, owner)

        stats = self.signals.stats[self.signals.target]
        self._y_stats = (stats.mean, stats.std)
        self.optimizer = RateControlled(optimizer)
        self.ingredients = {
            "optimizer": name_of(optimizer) if optimizer is not None else "default",
            "transform": name_of(batch_transform) if batch_transform is not None else "none",
            "devices": str(devices),
        }
        """Names of what is given beside model, data and loss, to compare trainings by."""
        self.placement = Placement(devices, pipeline.windows_per_batch)
        self.engine = Engine(
            self.model,
            reads=self.reads,
            target=self.signals.target,
            terms=self._terms,
            transform=batch_transform,
            n_skip=self.n_skip,
            y_mean=stats.mean,
            y_std=stats.std,
            optimizer=self.optimizer,
            placement=self.placement,
            win_sz=pipeline.win_sz,
        )
        self.weights = np.array([term.weight for term in self._terms], np.float32)
        parts = split_model(self.model)
        check_output(owner, self.engine, parts, self.reads, pipeline, self.weights)
        # Patterns that match no parameter are told here, and not after data have been read.
        jax.eval_shape(self.optimizer.init, nnx.state(self.model, nnx.Param))
        # Apart from the key that drew the parameters, so that no draw of the training repeats it.
        key = jax.random.fold_in(jax.random.key(seed), 1 << 30)
        self._key = self.placement.everywhere(key)
        self._evaluation_key = jax.random.fold_in(jax.random.key(seed), (1 << 30) + 1)
        self.steps = 0
        """Training steps over the life of the learner; they decide the random draws."""
        self.epochs_done = 0
        """Epochs over the life of the learner; they decide the order of the data."""
        self.signals_on_device: Batch | None = None
        """The training signals, once an epoch has put them there."""

    def fit_iter(
        self, n_epochs: int, lr: float | None = None, schedule: Schedule | None = None
    ) -> Iterator[EpochResult]:
        """Train for `n_epochs`, yielding after each; stop early by leaving the loop.

        The optimizer starts afresh with every fit. `lr` is 5e-3 unless given, times the factor of
        `schedule`: `warmup_cosine()` unless given, because a rate that does not fall leaves the
        model at the noise of its last steps.

        Raises:
            ConfigError: `n_epochs` or `lr` is not positive, or the optimizer has its own rate.
            DivergenceError: While the epochs run: no loss of one is finite, or its parameters are
                not.
        """
        return self._epochs(self.begin_fit(n_epochs, lr, schedule))

    def resume(self, path: str | Path, epoch: int | None = None) -> Iterator[EpochResult]:
        """Go on with the fit whose checkpoints are in `path`, yielding as `fit_iter`.

        The learner is built as it was for that fit, on the same data. It takes over parameters,
        optimizer, counters and history from the last checkpoint, or that of `epoch` (counted from
        1), and trains the epochs that are left: to the same bits as without the interruption.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged, another version of tsjax
                wrote it, or it belongs to another training; the learner is as before.
        """
        from tsjax_core.training.checkpoints.checkpoints import read_training

        fit = read_training(Path(path), epoch, self)
        self.fit_in_progress, self.resumed_from = fit, Path(path)
        self.progress = fit.done / fit.n_epochs
        return self._epochs(fit)

    def fit(
        self,
        n_epochs: int,
        lr: float | None = None,
        schedule: Schedule | None = None,
        *,
        keep: Keep = "best",
        show_progress: bool = True,
    ) -> list[EpochResult]:
        """Train for `n_epochs` as `fit_iter`, and return what each epoch gave.

        In the end the model has the weights of the epoch with the lowest validation loss (best),
        or those of the last.

        Raises:
            ConfigError: `keep` is neither, or as in `fit_iter`.
            DivergenceError: As in `fit_iter`.
        """
        from tsjax_core.training.stopping import EarlyStopping

        check_keep(keep)
        results = self.fit_iter(n_epochs, lr, schedule)
        if keep == "best":
            # With so much patience it ends no fit early.
            results = EarlyStopping(n_epochs).follow(results, self)
        return list(follow(results, n_epochs, lambda: self.progress) if show_progress else results)

    def fit_flat_cos(
        self,
        n_epochs: int,
        lr: float | None = None,
        pct_start: float = 0.75,
        *,
        keep: Keep = "best",
        show_progress: bool = True,
    ) -> list[EpochResult]:
        """Train by `fit` with `lr` for the share `pct_start` of the fit, then anneal it to 0."""
        schedule = flat_cos(pct_start)
        return self.fit(n_epochs, lr, schedule, keep=keep, show_progress=show_progress)

    def evaluate(self, split: Split = "valid") -> Evaluation:
        """Return loss and metrics on the whole of `split`: train, valid or test.

        Sequences start from the model's initial state and their first `n_skip` samples do not
        count. For splits of whole files with output sequences the result has each file's too.
        """
        pairs, paths = self.simulate_split(split)
        outputs = self.signals.names[self.signals.target]
        total = compute_scores(self.metrics, pairs, self._y_stats, outputs)
        # One scalar per file has no spread that a metric could relate its error to.
        single = paths if self.signals.target == "y" else ()
        files: dict[str, Scores] = {
            path: compute_scores(self.metrics, [pair], self._y_stats, outputs)
            for path, pair in zip(single, pairs, strict=False)
        }
        return Evaluation(total.metrics, total.channels, split, self._loss_of(split, pairs), files)

    def simulate_split(self, split: Split) -> tuple[Pairs, tuple[str, ...]]:
        """Return simulated and measured outputs of `split`, and the names of its files.

        Each pair is (batch, time, n_y) in raw units without the first `n_skip` samples: one pair
        per file for splits of whole files, else one per batch of windows and no names.
        """
        return self._simulation(split)(), self.pipeline.file_names(split)

    def predict(self, u: Any, *further: Any) -> HostArray:
        """Return the model's outputs for `u`, in raw units; see `tsjax_core.predict`."""
        return predict(self.model, u, *further)

    def save(self, path: str | Path) -> Path:
        """Save the model in the directory `path`, for `load_model`, and return the path.

        An earlier model there is replaced as a whole.

        Raises:
            SavedModelError: The model was given ready-made or its specification belongs to no
                installed plugin, or `path` holds something other than a saved model.
        """
        from tsjax_core.inference.saved_model import save_model

        return save_model(self.model, self.spec, self.signals, Path(path))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each term of the loss by its name."""
        return {term.name: term.weight for term in self._terms}

    @cached_property
    def first_windows(self) -> int:
        """A checksum of the windows in the first batches, which tells orders of the data apart."""
        first = np.concatenate(list(islice(self.pipeline.batch_indices(0), 8)))
        return zlib.crc32(first.astype(np.int64).tobytes())

    def new_optimizer_state(self) -> Any:
        """Return the optimizer's state before the first step."""
        return self.engine.init(self.model).opt_state

    def snapshot(self) -> Snapshot:
        """Return what training changes, for `restore`."""
        return Snapshot(
            jax.tree.map(jnp.copy, nnx.state(self.model)),
            self.steps,
            self.epochs_done,
            tuple(self.history),
            self.fit_in_progress,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to the moment of `snapshot`: parameters, counters, history.

        A fit that begins then has the numbers that it would have had at that moment.
        """
        nnx.update(self.model, jax.tree.map(jnp.copy, snapshot.model))
        self.steps, self.epochs_done = snapshot.steps, snapshot.epochs_done
        self.history = list(snapshot.history)
        self.fit_in_progress = fit = snapshot.fit
        self.progress = fit.done / fit.n_epochs if fit is not None else 0.0

    def begin_fit(self, n_epochs: int, lr: float | None, schedule: Schedule | None) -> Fit:
        """Begin the fit that `fit_iter` would train, and return it; raises what `fit_iter` does."""
        rate = self.optimizer.check_rate(lr)
        fit = plan_fit(n_epochs, rate, schedule, self.pipeline.steps_per_epoch)
        self.fit_in_progress, self.resumed_from = fit, None
        return fit

    def _epochs(self, fit: Fit) -> Iterator[EpochResult]:
        self.fit_in_progress = fit
        self.progress = fit.done / fit.n_epochs
        for epoch in range(fit.done, fit.n_epochs):
            begin = time.perf_counter()
            with self.whole_epoch(fit):
                state, result = self._train_epoch(fit, epoch)
                result = self.end_epoch(fit, state, result, begin)()
            yield result

    @contextmanager
    def whole_epoch(self, fit: Fit) -> Iterator[None]:
        """Leave the learner as it is before the block where the block does not end."""
        if fit.opt_state is None:
            fit.opt_state = self.new_optimizer_state()
        model = jax.tree.map(lambda x: x, nnx.state(self.model))
        counters = self.steps, self.epochs_done, fit.opt_state, fit.raw, fit.done
        done = len(self.history)
        try:
            yield
        except BaseException:
            # Of an epoch that does not end nothing stays, neither weights nor counters.
            nnx.update(self.model, model)
            self.steps, self.epochs_done, fit.opt_state, fit.raw, fit.done = counters
            del self.history[done:]
            raise

    def end_epoch(
        self, fit: Fit, state: TrainState, result: EpochResult, begin: float
    ) -> Callable[[], EpochResult]:
        """Take over what an epoch's steps changed, and begin to validate.

        Returns a function that waits for the validation and gives the epoch's result. `begin` is
        the time at which the epoch began. Raises DivergenceError, before anything is changed,
        where it diverged.
        """
        *_, mutable = split_model(self.model)
        rates = fit.rates_of(result.epoch)
        check_converging(result, state.params, (mutable, state.mutable), rates)
        self.epochs_done += 1
        average = averaged_params(state.opt_state)
        fit.opt_state, fit.raw = state.opt_state, None if average is None else state.params
        nnx.update(self.model, state.params if average is None else average, state.mutable)
        simulated = self._simulation("valid")

        def validated() -> EpochResult:
            pairs = simulated()
            outputs = self.signals.names[self.signals.target]
            whole = replace(
                result,
                valid_loss=self._loss_of("valid", pairs),
                metrics=compute_scores(self.metrics, pairs, self._y_stats, outputs).metrics,
                seconds=time.perf_counter() - begin,
            )
            fit.done = whole.epoch + 1
            self.progress = fit.done / fit.n_epochs
            self.history.append(whole)
            return whole

        return validated

    def state_before(self, fit: Fit) -> TrainState:
        """Return what the next epoch's steps begin from, in arrays that they may overwrite."""
        _, params, _, mutable = split_model(self.model)
        begun = TrainState(params if fit.raw is None else fit.raw, mutable, fit.opt_state)
        state: TrainState = self.engine.copy(begun)
        return state

    def _train_epoch(self, fit: Fit, epoch: int) -> tuple[TrainState, EpochResult]:
        _, _, buffers, _ = split_model(self.model)
        state: TrainState = self.placement.everywhere(self.state_before(fit))
        buffers = self.placement.everywhere(buffers)
        reports: list[StepReport] = []
        begin = self.steps
        for run in self.runs_of_epoch(fit, epoch):
            state, report = self.engine.run(
                run._replace(feed=self.placement.spread(run.feed)),
                state,
                buffers,
                self.signals_on_device,
                self.weights,
            )
            if reports:
                # One run is made while the next is prepared; more would outrun the progress.
                reports[-1].skipped.block_until_ready()
            reports.append(report)
            self.steps += int(run.count)
            self.progress = (epoch + (self.steps - begin) / fit.steps_per_epoch) / fit.n_epochs
        fetched: list[StepReport] = jax.device_get(self.placement.local(reports))
        record = joined(fetched, self.steps - begin, self.engine.term_names)
        return self.placement.local(state), record.result(epoch)

    def clock_of(self, fit: Fit, epoch: int) -> Clock:
        """Return the clock of the next epoch of the learner, which is `epoch` of the fit."""
        steps = self.steps + np.arange(fit.steps_per_epoch, dtype=np.int32)
        return Clock(self._key, steps, np.int32(epoch), fit.progress_of(epoch), fit.rates_of(epoch))

    def load_signals(self) -> None:
        """Put the training signals on the device, where the pipeline keeps them there."""
        source = self.pipeline.train
        if not self.pipeline.resident or self.signals_on_device is not None:
            return
        assert isinstance(source, ResidentSource)
        signals = jax.device_put(source.read_resident())
        self.signals_on_device = self.placement.everywhere(signals)

    def runs_of_epoch(self, fit: Fit, epoch: int) -> Iterator[Run]:
        """Yield the runs of the next epoch of the learner, which is `epoch` of the fit."""
        pipeline, clock = self.pipeline, self.clock_of(fit, epoch)
        self.load_signals()
        if pipeline.resident and not self.engine.transform.runs_on_host:
            return runs_of_places(pipeline, self.engine, self.epochs_done, clock)
        return runs_of_batches(
            pipeline, self.engine, self.signals_on_device, self.epochs_done, clock
        )

    def _simulation(self, split: Split) -> Callable[[], Pairs]:
        """Begin to simulate `split` by the model as it is now.

        Returns a function that waits for the device and gives the pairs of `simulate_split`.
        """
        _, params, buffers, mutable = split_model(self.model)
        source = self.pipeline.split(split)
        pending: list[tuple[list[int], AnyArray, HostArray]] = []
        batches = split_batches(source, bs=self.pipeline.bs, pad=self._is_padded(), fill=True)
        for lengths, batch in self._evaluated(batches):
            inputs = [batch[name] for name in self.reads]
            pred: AnyArray
            if self._is_padded() and is_long(inputs):
                pred = simulate(self.model, inputs)
            else:
                pred = self.engine.predict(params, buffers, mutable, inputs)
            pending.append((lengths, pred, np.asarray(batch[self.signals.target])))

        def pairs() -> Pairs:
            cut = cut_pairs(pending, records=not isinstance(source, BatchedSource))
            return [(self.engine.scored(pred), self.engine.scored(y)) for pred, y in cut]

        return pairs

    def _loss_of(self, split: Split, pairs: Pairs) -> float:
        plain = [term for term in self._terms if not term.wants]
        if plain:
            return compute_loss(plain, pairs, self._y_stats)
        _, params, buffers, mutable = split_model(self.model)
        total = weight = 0.0
        batches = split_batches(
            self.pipeline.split(split), bs=self.pipeline.bs, pad=False, fill=False
        )
        for _, batch in self._evaluated(batches):
            counted = count_measured(self.engine.scored(np.asarray(batch[self.signals.target])))
            if not counted:
                continue
            terms = self.engine.batch_loss(params, buffers, mutable, batch, self.weights)
            total += counted * float(sum(terms.values()))
            weight += counted
        return total / weight if weight else float("nan")

    def _evaluated(
        self, batches: Iterable[tuple[list[int], Sample]]
    ) -> Iterator[tuple[list[int], Batch]]:
        """Yield the batches of a split after the transforms that act in evaluation too."""
        for number, (lengths, batch) in enumerate(batches):
            key = jax.random.fold_in(self._evaluation_key, number)
            yield lengths, self.engine.transform.in_evaluation(batch, key)

    def _is_padded(self) -> bool:
        """Tell whether whole records may be continued: the model must not look ahead."""
        return isinstance(self.model, StatefulModel) and self.signals.target == "y"
