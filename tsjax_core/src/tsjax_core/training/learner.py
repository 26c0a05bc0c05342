"""The learner: a model, its data and its loss, trained epoch by epoch."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from tsjax_core.errors import CheckpointError, ConfigError
from tsjax_core.inference.initial_state import InitialState
from tsjax_core.inference.predict import predict
from tsjax_core.judging import shows
from tsjax_core.losses.compose import NamedTerm, named_terms
from tsjax_core.losses.regression import normalized_mae
from tsjax_core.models.building import build_model
from tsjax_core.protocols import (
    CarryingModel,
    IdentifiedSpec,
    ModelSpec,
)
from tsjax_core.signatures import declare, name_of
from tsjax_core.training.compatibility import (
    check_aux,
    check_data,
    check_metrics,
    check_n_skip,
    check_output,
    samples_to_skip,
    window_of,
)
from tsjax_core.training.epoch import end_epoch, train_epoch
from tsjax_core.training.evaluation import Evaluation, SplitEvaluator
from tsjax_core.training.fit import Fit, plan_fit
from tsjax_core.training.monitor import Keep, Monitor, check_keep, keep_best
from tsjax_core.training.optimizer.rate import Optimizer, RateControlled
from tsjax_core.training.polish.options import PolishFit, PolishOptions
from tsjax_core.training.polish.polish import begin_polish, make_task, run_polish
from tsjax_core.training.progress import EpochResult, follow
from tsjax_core.training.records import TrainingRecord, identify_from, read_records
from tsjax_core.training.schedules import Schedule, flat_cos
from tsjax_core.training.snapshot import TrainingSnapshot
from tsjax_core.training.step.devices import Placement
from tsjax_core.training.step.engine import Engine
from tsjax_core.types import Array, Batch, HostArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsjax_core.data.pipeline import GrainPipeline
    from tsjax_core.data.store import Split


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
            the model's state settles. By default the largest of the receptive field and the initial
            window of a model that has one, and of the samples that `initial_state` uses.
        seed: Decides the initial parameters and all random draws of the training.
        devices: Devices that share the windows of each batch, the first of `jax.devices()`. The
            numbers are those of one device to rounding.
        reads: Batch keys that `model` takes, where it is a model and not a specification.
        initial_state: Where simulations of validation and test begin: `zero`, `washout`, `window`
            or `encoder`, see `tsjax_core.InitialState`. Training windows begin at zero.
        init_samples: Samples at the start of a sequence that `initial_state` uses.
        identify: Whether an `IdentifiedSpec` such as `core/linear` begins with the model that it
            computes from the records, or with a random one.

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
        initial_state: str = "zero",
        init_samples: int = 0,
        identify: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self.signals = pipeline.signals
        self.seed = seed
        if callable(metrics):
            raise ConfigError(
                f"metrics is {name_of(metrics)!r}; give a list, such as metrics=[rmse].",
                key="metrics",
            )
        given: Any = initial_state
        self.initial_state = InitialState(given, init_samples)
        """Where simulations of validation and test begin."""
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
        elif identify and isinstance(model, IdentifiedSpec) and self.signals.target == "y":
            self.spec, self.model = identify_from(model, pipeline, seed=seed)
            self.reads = tuple(self.spec.reads)
        else:
            self.spec, self.reads = model, tuple(model.reads)
            self.model = build_model(model, self.signals, seed=seed)
        if isinstance(self.model, CarryingModel):
            self.model.begin_training(pipeline.windows_per_batch)
        self.terms: tuple[NamedTerm, ...] = tuple(
            term.bind(signals=self.signals) for term in named_terms(loss)
        )
        """The terms of the loss, with their weights."""
        self.metrics = tuple(metrics)
        check_metrics(self.metrics)
        check_aux(self.model, self.terms)
        owner = self.spec or self.model
        check_data(owner, self.reads, pipeline)
        self.initial_state.check(self.model)
        used = self.initial_state.samples
        check_n_skip(n_skip, owner, pipeline, used=used)
        self.n_skip = samples_to_skip(n_skip, owner, used=used)

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
            signals=self.signals,
            terms=self.terms,
            transform=batch_transform,
            n_skip=self.n_skip,
            init_window=window_of(owner),
            optimizer=self.optimizer,
            placement=self.placement,
            win_sz=pipeline.win_sz,
        )
        check_output(owner, self.model, self.engine, pipeline)
        # Patterns that match no parameter are reported here, and not after data have been read.
        jax.eval_shape(self.optimizer.init, nnx.state(self.model, nnx.Param))
        # Apart from the key that drew the parameters, so that no draw of the training repeats it.
        key = jax.random.fold_in(jax.random.key(seed), 1 << 30)
        self.key = self.placement.everywhere(key)
        self.evaluator = SplitEvaluator(
            pipeline,
            self.engine,
            self.terms,
            [declare("metric", metric).bind(signals=self.signals) for metric in self.metrics],
            reads=self.reads,
            n_skip=self.n_skip,
            init_window=window_of(owner),
            initial=self.initial_state,
            key=jax.random.fold_in(jax.random.key(seed), (1 << 30) + 1),
        )
        """Simulates the splits of the pipeline."""
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

    def resume(
        self,
        path: str | Path,
        epoch: int | None = None,
        *,
        lr: float | None = None,
        schedule: Schedule | None = None,
        n_epochs: int | None = None,
    ) -> Iterator[EpochResult]:
        """Go on with the fit whose checkpoints are in `path`, yielding as `fit_iter`.

        The learner is built as it was for that fit, on the same data. It takes over parameters,
        optimizer, counters and history from the last checkpoint, or that of `epoch` (counted from
        1), and trains the epochs that are left: to the same bits as without the interruption.

        With `lr`, `schedule` or `n_epochs` the fit is changed from there on: the epochs that are
        left have the rates of a fit of `n_epochs` in all at `lr` (those of the interrupted fit
        unless given), as `fit_iter` would plan it with `schedule`. A larger `n_epochs` prolongs
        the fit.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged, another version of tsjax
                wrote it, or it belongs to another training; the learner is as before.
            ConfigError: As of `fit_iter`, or fewer `n_epochs` than are done.
        """
        from tsjax_core.training.checkpoints.checkpoints import read_training

        given = (lr, schedule, n_epochs)
        snapshot = read_training(Path(path), epoch, self)
        fit = snapshot.fit
        assert fit is not None
        if given != (None, None, None) and isinstance(fit, PolishFit):
            raise ConfigError(
                f"the checkpoints in {path} are of a polish, which has no learning rate and no "
                "epochs; resume it with the path alone.",
                key="lr",
            )
        if given != (None, None, None):
            total = fit.n_epochs if n_epochs is None else n_epochs
            rate = fit.lr if lr is None else self.optimizer.check_rate(lr)
            plan = plan_fit(total, rate, schedule, self.pipeline.steps_per_epoch)
            if plan.n_epochs < fit.done:
                raise ConfigError(
                    f"n_epochs = {total}, and {fit.done} epochs are done; give as many or more.",
                    key="n_epochs",
                )
            fit = replace(fit, n_epochs=plan.n_epochs, rates=plan.rates)
        self.restore(replace(snapshot, fit=fit, running=fit, resumed_from=Path(path)))
        return run_polish(self, fit) if isinstance(fit, PolishFit) else self._epochs(fit)

    def save_checkpoint(self, path: str | Path) -> Path:
        """Write a checkpoint of the fit in progress to the directory `path`, and return the path.

        It is whole when the call returns, and `resume(path)` goes on from it. The directory may be
        new, empty, or hold checkpoints of the same fit; earlier ones there are dropped.

        Raises:
            CheckpointError: No epoch of a fit is done, or the directory cannot be written.
        """
        from tsjax_core.training.checkpoints.checkpoints import write_checkpoint

        fit = self.fit_in_progress
        if fit is None or not fit.done:
            raise CheckpointError(
                f"no epoch of a fit is done that {path} could hold; save a checkpoint between the "
                "epochs of fit_iter, or after the last one.",
                path=Path(path),
            )
        return write_checkpoint(Path(path), self)

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
        check_keep(keep)
        results = self.fit_iter(n_epochs, lr, schedule)
        if keep == "best":
            results = keep_best(results, self.model, Monitor())
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

    def polish_iter(
        self, seconds: float | None = None, iterations: int | None = None, **options: Any
    ) -> Iterator[EpochResult]:
        """Improve the model by Gauss-Newton steps on whole training records, yielding after each.

        The squared error of the simulation is minimised by Levenberg-Marquardt, in standard
        deviations of each output, whatever the loss of the learner is: `train_loss` is its mean.
        The first result is that of the model as it was, and no iteration is worse on the training
        records than the one before. It ends after `seconds` or `iterations`, or when no step gains
        any more; `learner.fit_in_progress.ended` says which. `options` are those of
        `PolishOptions`: method, initial_states, frozen, penalty, channel_weights, patience.

        Raises:
            ModelError: The model is no `StatefulModel`, or reads measured outputs.
            ConfigError: An option is wrong, or the method needs more memory than there is.
            TrainingError: The simulations of the model as it is are not finite.
        """
        fit = begin_polish(PolishOptions(seconds, iterations, **options))
        task = make_task(self, fit.options)
        self.fit_in_progress, self.resumed_from = fit, None
        return run_polish(self, fit, task)

    def polish(
        self,
        seconds: float | None = None,
        iterations: int | None = None,
        *,
        keep: Keep = "best",
        show_progress: bool = True,
        **options: Any,
    ) -> list[EpochResult]:
        """Improve the model as `polish_iter`, and return what each iteration gave.

        In the end the model is that of the iteration with the lowest validation loss (best), the
        model as it was among them, or that of the last. Ctrl-C ends it in the same way.
        """
        check_keep(keep)
        results = self.polish_iter(seconds, iterations, **options)
        if keep == "best":
            results = keep_best(results, self.model, Monitor())
        if show_progress:
            results = follow(results, None, lambda: self.progress)
        return list(results)

    def evaluate(self, split: Split = "valid") -> Evaluation:
        """Return loss and metrics on the whole of `split`: train, valid or test.

        Sequences begin as `initial_state` says, and their first `n_skip` samples do not count.
        Transforms that are marked by `also_in_evaluation` act on them. For splits of whole files
        with output sequences the result has each file's scores too.
        """
        return self.evaluator.begin(split, self.model).result(files=True)

    def predict(
        self,
        u: Any,
        *further: Any,
        initial_state: str = "zero",
        init_samples: int = 0,
        y: Any = None,
        dt: float | None = None,
    ) -> HostArray:
        """Return the model's outputs for `u`, in raw units; see `tsjax_core.predict`.

        No batch transform acts on `u`. With `dt`, the sampling time of `u` in seconds, data of
        another rate than the model's are refused.
        """
        return predict(
            self.model,
            u,
            *further,
            initial_state=initial_state,
            init_samples=init_samples,
            y=y,
            dt=dt,
        )

    def show_batch(self) -> Figure:
        """Plot the first windows of the first training batch."""
        return shows.show_batch(self)

    def show_results(
        self, split: Split = "valid", plot_fn: str | Callable[..., Any] = "core/results"
    ) -> list[Figure]:
        """Return a figure for each of the first four files of a split, simulated by the model.

        `plot_fn` is a plot or its name. Raises ModelError where the split has no whole files.
        """
        return shows.show_results(self, split, plot_fn)

    def show_worst(self, split: Split = "valid", *, n: int = 4) -> Figure:
        """Plot the `n` windows of a split that the model simulates worst.

        Raises ModelError where the split has no whole files.
        """
        return shows.show_worst(self, split, n=n)

    def show_gradients(self) -> Figure:
        """Plot the magnitude of the loss's gradient for each parameter array."""
        return shows.show_gradients(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save the model in the directory `path`, for `load_model`, and return the path.

        With `overwrite`, an earlier model there is replaced as a whole.

        Raises:
            SavedModelError: The model was given ready-made or its specification belongs to no
                installed plugin, or `path` holds a saved model or something else.
        """
        from tsjax_core.inference.saved_model import save_model

        return save_model(self.model, self.spec, self.signals, Path(path), overwrite=overwrite)

    def training_records(self) -> Iterator[TrainingRecord]:
        """Yield each training file whole, for methods that train on whole records.

        No transform acts on it, and it is not cut into windows.
        """
        return read_records(self.pipeline, "train", self.reads, self.n_skip)

    @property
    def init_window(self) -> int:
        """Measured outputs that the model reads at the start of a sequence."""
        return window_of(self.spec or self.model)

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of each term of the loss by its name."""
        return {term.name: term.weight for term in self.terms}

    @property
    def weights(self) -> HostArray:
        """Weights of the terms of the loss in their order, (terms,)."""
        return np.array([term.weight for term in self.terms], np.float32)

    @cached_property
    def first_windows(self) -> int:
        """A checksum of the windows in the first batches, which another order changes."""
        first = np.concatenate(list(islice(self.pipeline.batch_indices(0), 8)))
        return zlib.crc32(first.astype(np.int64).tobytes())

    def new_optimizer_state(self) -> Any:
        """Return the optimizer's state before the first step."""
        return self.engine.init(self.model).opt_state

    def snapshot(self) -> TrainingSnapshot:
        """Return what training changes, for `restore`."""
        running = self.fit_in_progress
        return TrainingSnapshot(
            # The arrays themselves are never changed, only exchanged for others.
            jax.tree.map(lambda x: x, nnx.state(self.model)),
            self.steps,
            self.epochs_done,
            tuple(self.history),
            None if running is None else replace(running),
            running,
            self.resumed_from,
        )

    def restore(self, snapshot: TrainingSnapshot) -> None:
        """Go back to the moment of `snapshot`: parameters, counters, history, fit.

        A fit that begins then has the numbers that it would have had at that moment, and the fit
        that was in progress then goes on as it would have.
        """
        nnx.update(self.model, jax.tree.map(lambda x: x, snapshot.model))
        self.steps, self.epochs_done = snapshot.steps, snapshot.epochs_done
        self.history[:] = snapshot.history
        self.resumed_from = snapshot.resumed_from
        fit = self.fit_in_progress = snapshot.running
        if fit is not None and snapshot.fit is not None:
            fit.take_over(snapshot.fit)
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
        while fit.done < fit.n_epochs:
            begin = time.perf_counter()
            with self.whole_epoch(fit):
                state, result = train_epoch(self, fit, fit.done)
                result = end_epoch(self, fit, state, result, begin).result()
            yield result

    @contextmanager
    def whole_epoch(self, fit: Fit) -> Iterator[None]:
        """Roll the learner back if the block raises."""
        self.fit_in_progress = fit
        if fit.opt_state is None:
            fit.opt_state = self.new_optimizer_state()
        before = self.snapshot()
        try:
            yield
        except BaseException:
            self.restore(before)
            raise
