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

from tsjax_core.errors import ConfigError
from tsjax_core.losses.compose import NamedTerm, term_key
from tsjax_core.signatures import MODEL_ARGUMENTS, declared
from tsjax_core.training.optimizer.rate import RateControlled, skipped_steps
from tsjax_core.training.step.devices import Placement
from tsjax_core.training.step.placed_transform import Clock, PlacedTransform
from tsjax_core.types import AnyArray, Array, Batch, Buffer, HostArray

# One member alone leaves a core waiting between small operations; many do not fit its cache.
_MEMBERS_AT_ONCE = 4


class TrainState(NamedTuple):
    """What a training step changes."""

    params: Any
    mutable: Any
    opt_state: Any


class StepReport(NamedTuple):
    """What a training step tells: its weighted loss terms, and whether its update was skipped."""

    terms: dict[str, Array]
    skipped: Array


class Run(NamedTuple):
    """Consecutive training steps, made by one call to the device.

    Every array has a first axis of steps, the run's capacity, and only the first `count` of them
    are made: runs of any length up to the capacity share one compiled program. `feed` is the
    batches, or the `Places` of their windows in signals that are kept on the device. Of `clock`,
    step, progress and lr are (capacity,).
    """

    feed: Any
    clock: Clock
    count: Any


class Places(NamedTuple):
    """Where windows begin in joined signals, and to which file each belongs, (..., batch)."""

    starts: Any
    files: Any


class Engine:
    """Compiled training and evaluation of one model structure.

    Args:
        model: The model; only its structure is kept.
        reads: Batch keys of the model's arguments.
        target: Batch key of the measured output.
        terms: The loss; its weights are data of every call.
        transform: The batch transform, or None.
        n_skip: Samples at the start of each sequence that do not count.
        y_mean: Mean of the training targets, (n_y,).
        y_std: Their standard deviation, (n_y,).
        optimizer: The optimizer.
        placement: The devices that share the work.
        win_sz: Samples in a training window.
    """

    def __init__(
        self,
        model: nnx.Module,
        *,
        reads: Sequence[str],
        target: str,
        terms: Sequence[NamedTerm],
        transform: Callable[..., Mapping[str, Array]] | None,
        n_skip: int,
        y_mean: HostArray,
        y_std: HostArray,
        optimizer: RateControlled,
        placement: Placement,
        win_sz: int,
    ) -> None:
        self._graphdef, *_ = split_model(model)
        self._reads = tuple(reads)
        self._target = target
        self.terms = tuple(terms)
        self._n_skip = n_skip
        self._y_stats: tuple[Array, Array] = jax.device_put((y_mean, y_std))
        self._optimizer = optimizer
        self._model_wants_key = bool(
            declared(
                cast("Callable[..., Any]", model),
                kind="model",
                offered=MODEL_ARGUMENTS,
                positional=self._reads,
            )
        )
        self._wants_aux = any("aux" in term.wants for term in self.terms)
        self.transform = PlacedTransform(transform)
        self.steps_in_loops = True
        """Whether runs of many steps are faster than single ones."""

        self._win_sz = win_sz
        self.gather = jax.jit(partial(_gather, win_sz=win_sz))
        self._run_compiled = jax.jit(
            partial(self.steps, share=placement.constrain),
            donate_argnames="state",
            out_shardings=placement.replicated,
        )
        self.run_members = jax.jit(
            placement.by_members(self.steps_of_members, (False,) * 3 + (True,) * 5),
            donate_argnums=5,
        )
        self.copy = jax.jit(_copy)
        self._begin = jax.jit(self._begin_training)
        self.predict = jax.jit(self._predict)
        self.batch_loss = jax.jit(self._batch_loss)

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
        """What two engines of equal terms, transform and optimizer agree in if their models do."""
        return self._graphdef, self._reads, self._target, self._n_skip, self._win_sz

    def run(
        self, run: Run, state: TrainState, buffers: Any, signals: Batch | None, weights: HostArray
    ) -> tuple[TrainState, StepReport]:
        """Make the steps of `run`. Returns the new state and the reports, still on the device.

        The values of the reports are (capacity,). Places are those of windows in `signals`, joined
        over the files as `ResidentSource.read_resident` gives them. `weights` are those of the
        loss terms, (terms,).
        """
        new, reports = self._run_compiled(
            run, state, buffers, signals if isinstance(run.feed, Places) else None, weights
        )
        return new, reports

    def steps(
        self,
        run: Run,
        state: TrainState,
        buffers: Any,
        signals: Batch | None,
        weights: AnyArray,
        *,
        share: Callable[[Batch], Batch],
    ) -> tuple[TrainState, StepReport]:
        """Do what `run` does, while it is traced; `share` says where the windows of a batch are."""

        def made(state: TrainState, feed: Any, clock: Clock) -> tuple[TrainState, StepReport]:
            batch: Batch = feed
            if signals is not None:
                batch = _gather(signals, feed, win_sz=self._win_sz)
            return self._step(share(batch), state, buffers, weights, clock)

        if run.clock.step.shape[0] == 1:
            feed = jax.tree.map(lambda x: x[0], run.feed)
            state, report = made(state, feed, run.clock.at(0))
            return state, jax.tree.map(lambda x: x[None], report)

        def step(k: Any, before: tuple[TrainState, StepReport]) -> tuple[TrainState, StepReport]:
            state, reports = before
            feed = jax.tree.map(lambda x: x[k], run.feed)
            state, report = made(state, feed, run.clock.at(k))
            reports = jax.tree.map(lambda all_, one: all_.at[k].set(one), reports, report)
            return state, reports

        blank = jnp.zeros(run.clock.step.shape)
        reports = StepReport({t.name: blank for t in self.terms}, blank.astype(bool))
        # As a loop whose end is data, so that a run that is not full needs no program of its own.
        done: tuple[TrainState, StepReport] = lax.fori_loop(0, run.count, step, (state, reports))
        return done

    def steps_of_members(
        self,
        feed: Any,
        count: Any,
        signals: Batch | None,
        own_feed: Any,
        clock: Clock,
        state: TrainState,
        buffers: Any,
        weights: AnyArray,
    ) -> tuple[TrainState, StepReport]:
        """Make the steps of a run of several models, while it is traced.

        All arrays but `feed`, `count` and `signals` have a first axis of members. Members have the
        same `feed`, or each its `own_feed` where that is None.
        """

        def of_one(own: tuple[Any, ...]) -> tuple[TrainState, StepReport]:
            own_feed, clock, state, buffers, weights = own
            run = Run(feed if own_feed is None else own_feed, clock, count)
            return self.steps(run, state, buffers, signals, weights, share=lambda batch: batch)

        members = own_feed, clock, state, buffers, weights
        done: tuple[TrainState, StepReport] = (
            lax.map(of_one, members, batch_size=_MEMBERS_AT_ONCE)
            if self.steps_in_loops
            else jax.vmap(of_one)(members)
        )
        return done

    def _step(
        self, batch: Batch, state: TrainState, buffers: Any, weights: AnyArray, clock: Clock
    ) -> tuple[TrainState, StepReport]:
        batch = self.transform.compiled(batch, clock)
        self._check_length(batch[self._target])
        key = clock.key_for(1)

        def loss(params: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
            # A copy, because variables made outside the gradient cannot be changed inside it.
            model = nnx.merge(self._graphdef, params, buffers, state.mutable, copy=True)
            model.train()
            values = self._evaluate_terms(model, batch, weights, *jax.random.split(key))
            *_, mutable = split_model(model)
            return sum(values.values(), start=jnp.zeros(())), (values, lax.stop_gradient(mutable))

        (value, (terms, mutable)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        params, opt_state = self._optimizer.update(
            gradients, state.opt_state, state.params, clock.lr, value
        )
        skipped = skipped_steps(opt_state) > skipped_steps(state.opt_state)
        # A batch that must not touch the parameters must not touch running statistics either.
        mutable = _kept_where(skipped, state.mutable, mutable)
        return TrainState(params, mutable, opt_state), StepReport(terms, skipped)

    def _evaluate_terms(
        self,
        model: Any,
        batch: Batch,
        weights: AnyArray,
        model_key: Array | None,
        loss_key: Array,
    ) -> dict[str, Array]:
        inputs = [batch[name] for name in self._reads]
        options = {"key": model_key} if self._model_wants_key and model_key is not None else {}
        aux: Mapping[str, Array] = {}
        if self._wants_aux:
            pred, aux = model.call_with_aux(*inputs, **options)
        else:
            pred = model(*inputs, **options)
        given = {"batch": batch, "model": model, "aux": aux}
        pred, target = self.scored(pred), self.scored(batch[self._target])
        return {
            term.name: weights[number]
            * term.value(pred, target, *self._y_stats, {**given, "key": term_key(loss_key, number)})
            for number, term in enumerate(self.terms)
        }

    def scored(self, sequence: Any) -> Any:
        """Return the samples of (batch, time, n) that count; scalars (batch, n) all count."""
        return sequence[:, self._n_skip :] if sequence.ndim == 3 else sequence

    def _check_length(self, target: Any) -> None:
        # Transforms and sources set the length, which is first known when a step is traced. The
        # mean over no samples would be NaN.
        if target.ndim != 3 or target.shape[1] > self._n_skip:
            return
        what, cure = "a training batch", "choose longer windows"
        if self.transform.name is not None:
            what = f"a training batch after the transform {self.transform.name!r}"
            cure = "let the transform keep more samples"
        raise ConfigError(
            f"n_skip = {self._n_skip} leaves nothing of {what}, which has {target.shape[1]} "
            f"samples; {cure}, or give an n_skip below that (unless given, it is the receptive "
            "field of a model that has one).",
            key="n_skip",
        )

    def _predict(self, params: Any, buffers: Any, mutable: Any, inputs: Sequence[Array]) -> Array:
        model = nnx.merge(self._graphdef, params, buffers, mutable)
        model.eval()
        y: Array = model(*inputs)
        return y

    def _batch_loss(
        self, params: Any, buffers: Any, mutable: Any, batch: Batch, weights: AnyArray
    ) -> dict[str, Array]:
        model = nnx.merge(self._graphdef, params, buffers, mutable)
        model.eval()
        return self._evaluate_terms(model, batch, weights, None, jax.random.key(0))


def _copy(tree: Any) -> Any:
    """Return copies of all arrays, in one call to the device."""
    return jax.tree.map(jnp.copy, tree)


def _kept_where(skipped: Array, before: Any, after: Any) -> Any:
    """Return `before` where the step was skipped, else `after`; random draws move on either way."""
    draws, others = nnx.split_state(after, nnx.RngState, ...)
    _, kept = nnx.split_state(before, nnx.RngState, ...)
    others = jax.tree.map(lambda old, new: jnp.where(skipped, old, new), kept, others)
    return nnx.merge_state(draws, others)


def split_model(model: nnx.Module) -> tuple[Any, Any, Any, Any]:
    """Return structure, parameters, buffers, and the variables that the model itself changes."""
    graphdef, *states = nnx.split(model, nnx.Param, Buffer, ...)
    params, buffers, mutable = states
    return graphdef, params, buffers, mutable


def _gather(signals: Batch, places: Places, *, win_sz: int) -> dict[str, Array]:
    """Cut the windows of `win_sz` samples out, and look up their files' scalars."""

    def cut(x: AnyArray) -> Array:
        slices: Callable[[Any], Array] = jax.vmap(
            lambda start: lax.dynamic_slice_in_dim(x, start, win_sz)
        )
        return slices(places.starts)

    return {
        name: jnp.take(x, places.files, axis=0) if name.endswith("_scalar") else cut(x)
        for name, x in signals.items()
    }
