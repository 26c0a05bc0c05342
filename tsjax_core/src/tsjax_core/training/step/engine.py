"""The compiled steps of training and evaluation.

A step is a pure function of arrays: the model is split once, its parameters, optimizer state and
other mutable variables travel as a `TrainState` whose buffers are donated, and the model is merged
again inside, in the mode of flax's `train()` or `eval()`. Many steps are one call to the device,
which keeps its working memory from step to step. Losses stay on the device; nothing here waits for
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.losses.compose import NamedTerm, term_key
from tsjax_core.signatures import declare, name_of
from tsjax_core.training.optimizer.rate import RateControlled, skipped_steps
from tsjax_core.training.step.context import StepContext
from tsjax_core.training.step.devices import Placement
from tsjax_core.training.step.placed_transform import PlacedTransform
from tsjax_core.types import (
    AnyArray,
    Array,
    Batch,
    Buffer,
    Carry,
    HostArray,
    Signals,
    is_sequence,
)

# One member alone leaves a core waiting between small operations; many do not fit its cache.
_MEMBERS_AT_ONCE = 4


class TrainState(NamedTuple):
    """What a training step changes."""

    params: Any
    mutable: Any
    opt_state: Any


class StepReport(NamedTuple):
    """What a training step reports: its weighted loss terms, and whether its update was skipped."""

    terms: dict[str, Array]
    skipped: Array


class Run(NamedTuple):
    """Consecutive training steps, made by one call to the device.

    Every array has a first axis of steps, the run's capacity, and only the first `count` of them
    are made: runs of any length up to the capacity share one compiled program. `feed` is the
    batches, or the `Places` of their windows in signals that are kept on the device. Of `context`,
    step, progress and lr are (capacity,).
    """

    feed: Any
    context: StepContext
    count: Any


class Places(NamedTuple):
    """Where windows begin in joined signals, and to which file each belongs, (..., batch)."""

    starts: Any
    files: Any


class SharedByMembers(NamedTuple):
    """What all models of a run together have in common.

    `feed` is None where each has its own.
    """

    feed: Any
    count: Any
    signals: Batch | None


class PerMember(NamedTuple):
    """What each model of a run together has for itself, in arrays with a first axis of members."""

    feed: Any
    context: StepContext
    buffers: Any
    weights: AnyArray


class Engine:
    """Compiled training and evaluation of one model structure.

    Args:
        model: The model; only its structure is kept.
        reads: Batch keys of the model's arguments.
        signals: The channels; the statistics of the targets are given to the loss.
        terms: The loss; its weights are data of every call.
        transform: The batch transform, or None.
        n_skip: Samples at the start of each sequence that do not count.
        init_window: Samples of measured output that the model may use in evaluation.
        optimizer: The optimizer.
        placement: The devices that share the work.
        win_sz: Samples in a training window.
    """

    def __init__(
        self,
        model: nnx.Module,
        *,
        reads: Sequence[str],
        signals: Signals,
        terms: Sequence[NamedTerm],
        transform: Callable[..., Mapping[str, Array]] | None,
        n_skip: int,
        init_window: int,
        optimizer: RateControlled,
        placement: Placement,
        win_sz: int,
    ) -> None:
        self._name = name_of(type(model))
        self._graphdef, *_ = split_model(model)
        self._reads = tuple(reads)
        self._target = signals.target
        self.terms = tuple(terms)
        self._n_skip = n_skip
        self._init_window = init_window
        stats = signals.stats[signals.target]
        self._y_stats: tuple[Array, Array] = jax.device_put((stats.mean, stats.std))
        self._optimizer = optimizer
        declared = declare("model", cast("Callable[..., Any]", model), self._reads)
        self._model_wants = declared.wants
        self._wants_aux = any("aux" in term.wants for term in self.terms)
        self.transform = PlacedTransform(transform, signals)
        self._steps_in_loops = True

        self._win_sz = win_sz
        self.gather = jax.jit(partial(_gather, win_sz=win_sz))
        self._make_compiled = jax.jit(
            partial(self._trace_run, share=placement.constrain),
            donate_argnames="state",
            out_shardings=placement.replicated,
        )
        self._make_of_members = jax.jit(
            placement.by_members(self._trace_members, (False, True, True)),
            donate_argnums=2,
        )
        self.copy = jax.jit(_copy)
        self._begin = jax.jit(self._begin_training)
        self._batch_loss = jax.jit(self._trace_batch_loss)

    def init(self, model: nnx.Module) -> TrainState:
        """Return a state of its own for `model`, with a fresh optimizer."""
        _, params, _, mutable = split_model(model)
        state: TrainState = self._begin(params, mutable)
        return state

    def _begin_training(self, params: Any, mutable: Any) -> TrainState:
        params, mutable = _copy((params, mutable))
        return TrainState(params, mutable, self._optimizer.init(params))

    @property
    def term_names(self) -> list[str]:
        """Names of the loss terms, in their order."""
        return [term.name for term in self.terms]

    @property
    def structure(self) -> Any:
        """What is equal in two engines whose models have equal structure."""
        return self._graphdef, self._reads, self._target, self._n_skip, self._win_sz

    @property
    def steps_in_loops(self) -> bool:
        """Whether runs of many steps are faster than single ones."""
        return self._steps_in_loops

    def output_shape(self, model: nnx.Module, batch: Batch) -> tuple[int, ...]:
        """Return the shape of the output for `batch` in evaluation; nothing is computed."""
        parts = split_model(model)[1:]
        inputs = [batch[key] for key in self._reads]
        got = jax.eval_shape(self._trace_predict, *parts, inputs)
        shape: tuple[int, ...] = got.shape
        return shape

    def term_shapes(
        self, model: nnx.Module, batch: Batch, *, training: bool
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of each loss term for `batch`; nothing is computed.

        For training it is also decided whether steps are made in loops.
        """
        weights = jnp.ones(len(self.terms))
        if not training:
            arguments = *split_model(model)[1:], batch, weights
            shapes = jax.eval_shape(self._trace_batch_loss, *arguments)
            return {name: jnp.shape(value) for name, value in shapes.items()}
        state = jax.eval_shape(lambda: TrainState(*split_model(model)[1::2], None))
        begin = jnp.zeros((), jnp.int32), jnp.zeros(())
        context = StepContext(jax.random.key(0), begin[0], begin[0], begin[1], begin[1])

        def terms(state: TrainState, buffers: Any, batch: Batch) -> dict[str, Array]:
            changed = self.transform.compiled(batch, context)
            _, (values, _) = self._trace_loss(
                state.params, state.mutable, changed, buffers, weights, context
            )
            return values

        buffers = split_model(model)[2]
        traced, shapes = jax.make_jaxpr(terms, return_shape=True)(state, buffers, batch)
        # Within a loop on a processor, XLA leaves the gradient of a convolution to its slowest
        # form.
        on_processor = jax.default_backend() == "cpu"
        self._steps_in_loops = not on_processor or not _has_convolution(traced.jaxpr)
        return {name: jnp.shape(value) for name, value in shapes.items()}

    def make_run(
        self, run: Run, state: TrainState, buffers: Any, signals: Batch | None, weights: HostArray
    ) -> tuple[TrainState, StepReport]:
        """Make the steps of `run`. Returns the new state and the reports, still on the device.

        The values of the reports are (capacity,). Places are those of windows in `signals`, joined
        over the files as `ResidentSource.read_resident` gives them. `weights` are those of the
        loss terms, (terms,).
        """
        signals = signals if isinstance(run.feed, Places) else None
        new, reports = self._make_compiled(run, state, buffers, signals, weights)
        return new, reports

    def make_run_of_members(
        self, shared: SharedByMembers, own: PerMember, state: TrainState
    ) -> tuple[TrainState, StepReport]:
        """Make the steps of a run of several models, as `make_run` does for one."""
        new, reports = self._make_of_members(shared, own, state)
        return new, reports

    def _trace_run(
        self,
        run: Run,
        state: TrainState,
        buffers: Any,
        signals: Batch | None,
        weights: AnyArray,
        *,
        share: Callable[[Batch], Batch],
    ) -> tuple[TrainState, StepReport]:
        """Trace the steps of `run`; `share` says where the windows of a batch are."""

        def trace_step(
            state: TrainState, feed: Any, context: StepContext
        ) -> tuple[TrainState, StepReport]:
            batch: Batch = feed
            if signals is not None:
                batch = _gather(signals, feed, win_sz=self._win_sz)
            return self._trace_step(share(batch), state, buffers, weights, context)

        if run.context.step.shape[0] == 1:
            feed = jax.tree.map(lambda x: x[0], run.feed)
            state, report = trace_step(state, feed, run.context.at(0))
            return state, jax.tree.map(lambda x: x[None], report)

        def step(k: Any, before: tuple[TrainState, StepReport]) -> tuple[TrainState, StepReport]:
            state, reports = before
            feed = jax.tree.map(lambda x: x[k], run.feed)
            state, report = trace_step(state, feed, run.context.at(k))
            reports = jax.tree.map(lambda all_, one: all_.at[k].set(one), reports, report)
            return state, reports

        blank = jnp.zeros(run.context.step.shape)
        reports = StepReport({t.name: blank for t in self.terms}, blank.astype(bool))
        # As a loop whose end is data, so that a run that is not full needs no program of its own.
        done: tuple[TrainState, StepReport] = lax.fori_loop(0, run.count, step, (state, reports))
        return done

    def _trace_members(
        self, shared: SharedByMembers, own: PerMember, state: TrainState
    ) -> tuple[TrainState, StepReport]:
        """Trace the steps of a run of several models."""

        def trace_one(member: tuple[PerMember, TrainState]) -> tuple[TrainState, StepReport]:
            own, state = member
            run = Run(own.feed if shared.feed is None else shared.feed, own.context, shared.count)
            return self._trace_run(
                run, state, own.buffers, shared.signals, own.weights, share=lambda batch: batch
            )

        done: tuple[TrainState, StepReport] = (
            lax.map(trace_one, (own, state), batch_size=_MEMBERS_AT_ONCE)
            if self._steps_in_loops
            else jax.vmap(trace_one)((own, state))
        )
        return done

    def _trace_step(
        self,
        batch: Batch,
        state: TrainState,
        buffers: Any,
        weights: AnyArray,
        context: StepContext,
    ) -> tuple[TrainState, StepReport]:
        batch = self.transform.compiled(batch, context)
        loss = partial(
            self._trace_loss,
            mutable=state.mutable,
            batch=batch,
            buffers=buffers,
            weights=weights,
            context=context,
        )
        (value, (terms, mutable)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        params, opt_state = self._optimizer.update(
            gradients, state.opt_state, state.params, context.lr, value
        )
        skipped = skipped_steps(opt_state) > skipped_steps(state.opt_state)
        # A batch that must not touch the parameters must not touch running statistics either.
        mutable = _keep_where(skipped, state.mutable, mutable)
        return TrainState(params, mutable, opt_state), StepReport(terms, skipped)

    def _trace_loss(
        self,
        params: Any,
        mutable: Any,
        batch: Batch,
        buffers: Any,
        weights: AnyArray,
        context: StepContext,
    ) -> tuple[Array, tuple[dict[str, Array], Any]]:
        """Return the loss in training, its terms, and the mutable variables after the model ran."""
        self._check_batch(batch, mutable)
        # A copy, because variables made outside the gradient cannot be changed inside it.
        model = nnx.merge(self._graphdef, params, buffers, mutable, copy=True)
        model.train()
        for_model, for_loss = jax.random.split(context.key_for(1))
        offered = {"key": for_model, "batch": batch, "progress": context.progress}
        options = {name: offered[name] for name in self._model_wants}
        values, mutable = self._trace_terms(
            model, batch, batch, weights, options, for_loss, context.progress
        )
        total = sum(values.values(), start=jnp.zeros(()))
        return total, (values, lax.stop_gradient(mutable))

    def _trace_terms(
        self,
        model: Any,
        batch: Batch,
        inputs_of: Batch,
        weights: AnyArray,
        options: Mapping[str, Any],
        key: Array,
        progress: Any,
    ) -> tuple[dict[str, Array], Any]:
        """Return the weighted terms of `batch`, and the mutable variables after the model ran.

        `inputs_of` is the batch as the model sees it.
        """
        inputs = [inputs_of[name] for name in self._reads]
        aux: Mapping[str, Array] = {}
        if self._wants_aux:
            pred, aux = model.call_with_aux(*inputs, **options)
        else:
            pred = model(*inputs, **options)
        # Taken before the losses: what they run the model for must not change it.
        *_, mutable = split_model(model)
        mutable = jax.tree.map(lambda x: x, mutable)
        given = {"batch": batch, "model": model, "aux": aux, "progress": progress}
        pred, target = drop_skipped_samples(pred, batch[self._target], batch, self._n_skip)
        values = {}
        for number, term in enumerate(self.terms):
            own = {**given, "key": term_key(key, number)}
            values[term.name] = weights[number] * term.loss(pred, target, *self._y_stats, given=own)
        return values, mutable

    def _check_batch(self, batch: Batch, mutable: Any) -> None:
        """Raise an error for a batch whose length or number of rows does not fit.

        Transforms and sources set both, which are first known when a step is traced.
        """
        target = batch[self._target]
        for carry in _carries(mutable):
            if carry.shape[:1] != target.shape[:1]:
                raise ModelError(
                    f"{self._name} carries the states of {carry.shape[0]} rows from batch to "
                    f"batch, and a training batch has {target.shape[0]}; give batches of one size, "
                    "and let begin_training make a row for each."
                )
        # The mean over no samples would be NaN.
        if "position" in batch or target.ndim != 3 or target.shape[1] > self._n_skip:
            return
        what, cure = "a training batch", "choose longer windows"
        if self.transform.name is not None:
            what = f"a training batch after the transform {self.transform.name!r}"
            cure = "let the transform keep more samples"
        raise ConfigError(
            f"n_skip = {self._n_skip} leaves nothing of {what}, which has {target.shape[1]} "
            f"samples; {cure}, or give an n_skip below that (unless given, it is the receptive "
            "field or the initial window of a model that has one).",
            key="n_skip",
        )

    def _trace_predict(
        self, params: Any, buffers: Any, mutable: Any, inputs: Sequence[Array]
    ) -> Array:
        model = nnx.merge(self._graphdef, params, buffers, mutable)
        model.eval()
        y: Array = model(*inputs)
        return y

    def batch_loss(self, model: nnx.Module, batch: Batch, weights: AnyArray) -> dict[str, Array]:
        """Return the weighted loss terms of `batch` in evaluation."""
        values: dict[str, Array] = self._batch_loss(*split_model(model)[1:], batch, weights)
        return values

    def batch_gradients(self, model: nnx.Module, batch: Batch, weights: AnyArray) -> Any:
        """Return the gradient of the loss of `batch` in evaluation, a tree like the parameters."""
        _, params, buffers, mutable = split_model(model)

        def loss(values: Any) -> Array:
            terms = self._trace_batch_loss(values, buffers, mutable, batch, weights)
            total: Array = sum(terms.values(), jnp.zeros(()))
            return total

        return jax.jit(jax.grad(loss))(params)

    def _trace_batch_loss(
        self, params: Any, buffers: Any, mutable: Any, batch: Batch, weights: AnyArray
    ) -> dict[str, Array]:
        model = nnx.merge(self._graphdef, params, buffers, mutable)
        model.eval()
        seen = dict(batch)
        if self._init_window and "y" in self._reads:
            early = jnp.arange(batch["y"].shape[1]) < self._init_window
            seen["y"] = jnp.where(early[:, None], batch["y"], 0.0)
        end = jnp.ones(())
        return self._trace_terms(model, batch, seen, weights, {}, jax.random.key(0), end)[0]


def drop_skipped_samples(
    pred: Any, target: Any, batch: Batch, n_skip: int, *, xp: Any = jnp
) -> tuple[Any, Any]:
    """Return prediction and target of the samples that count.

    Where the batch has `position`, the targets of samples before `n_skip` are NaN; else the first
    `n_skip` samples of every sequence (batch, time, n) are cut off. Scalars (batch, n) all count.
    """
    if target.ndim != 3:
        return pred, target
    if "position" in batch:
        counts = xp.asarray(batch["position"]) >= n_skip
        return pred, xp.where(counts[..., None], target, xp.nan)
    return pred[:, n_skip:], target[:, n_skip:]


def split_model(model: nnx.Module) -> tuple[Any, Any, Any, Any]:
    """Return structure, parameters, buffers, and the variables that the model itself changes."""
    graphdef, *states = nnx.split(model, nnx.Param, Buffer, ...)
    params, buffers, mutable = states
    return graphdef, params, buffers, mutable


def _copy(tree: Any) -> Any:
    """Return copies of all arrays, in one call to the device."""
    return jax.tree.map(jnp.copy, tree)


def _carries(mutable: Any) -> list[Any]:
    carried, _ = nnx.split_state(mutable, Carry, ...)
    return jax.tree.leaves(carried)


def _keep_where(skipped: Array, before: Any, after: Any) -> Any:
    """Return `before` where the step was skipped, else `after`.

    Random draws move on either way, and so does a carry, which is the state of the data and not of
    the training, where it is finite.
    """
    draws, carries, others = nnx.split_state(after, nnx.RngState, Carry, ...)
    _, held, kept = nnx.split_state(before, nnx.RngState, Carry, ...)
    carries = jax.tree.map(
        lambda old, new: jnp.where(skipped & ~jnp.isfinite(new), old, new), held, carries
    )
    others = jax.tree.map(lambda old, new: jnp.where(skipped, old, new), kept, others)
    return nnx.merge_state(draws, carries, others)


def _gather(signals: Batch, places: Places, *, win_sz: int) -> dict[str, Array]:
    """Cut the windows of `win_sz` samples out, and look up their files' scalars."""

    def cut(x: AnyArray) -> Array:
        slices: Callable[[Any], Array] = jax.vmap(
            lambda start: lax.dynamic_slice_in_dim(x, start, win_sz)
        )
        return slices(places.starts)

    return {
        name: cut(x) if is_sequence(name) else jnp.take(x, places.files, axis=0)
        for name, x in signals.items()
    }


def _has_convolution(jaxpr: Any) -> bool:
    """Return whether a program has a convolution, in itself or in one that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        within = jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns"))
        inner = (getattr(each, "jaxpr", each) for each in within)
        if any(_has_convolution(each) for each in inner if hasattr(each, "eqns")):
            return True
    return False
