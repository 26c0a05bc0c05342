"""Autoregression: a model that is given its own past outputs as further inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_ar.inner import (
    DEFAULT_INNER,
    check_inner,
    check_stateful,
    delay,
    fill_gaps,
    offered,
    with_outputs_as_inputs,
)
from tsjax_core.checks import check_choices, check_counts, share
from tsjax_core.errors import ConfigError
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.protocols import AuxModel, ModelSpec, StatefulAuxModel
from tsjax_core.types import Array, Signals

Training: TypeAlias = Literal["teacher_forcing", "free_run", "scheduled"]


class ARState(NamedTuple):
    """State of an `ARModel`.

    `inner` is the state of the model inside, `fed` (batch, n_y) the outputs that it is given next,
    in physical units, and `samples` (batch, 1) counts those so far.
    """

    inner: Any
    fed: Array
    samples: Array


@dataclass(frozen=True)
class AR:
    """Autoregression: y_t from u_t and y_(t-1), by any stateful model that remembers more.

    In the first `init_window` samples the model is given the measured outputs, each one sample
    late; after them its own. All outputs are fed back. External states are outputs as well: name
    them in `y`, and leave them out of loss and metrics with `core/masked` if they are not to
    count. A `tcn/tcn` inside makes a NARX model whose lags are its receptive field.

    Scheduled sampling: Bengio et al., Scheduled sampling for sequence prediction with recurrent
    neural networks (2015).

    Args:
        model: The model inside. Its inputs are those of the data, then their outputs.
        init_window: Samples of measured output at the start of a sequence.
        training: Which outputs are fed back in training, after the initial window.
            `teacher_forcing`: the measured ones; all samples are computed at once. `free_run`: the
            model's own, as in simulation, so that the simulation error is minimised. `scheduled`:
            for each sample one or the other by chance, more and more often its own.
        schedule_begin: Share of the fit from which on a `scheduled` training feeds back own
            outputs.
        schedule_end: Share of the fit from which on all outputs that it feeds back are its own.
            Between them, the probability rises linearly.
    """

    model: ModelSpec = DEFAULT_INNER
    init_window: int = 20
    training: Training = "free_run"
    schedule_begin: float = 0.0
    schedule_end: float = 0.5

    def __post_init__(self) -> None:
        check_inner("AR", "model", self.model)
        check_counts(self, init_window=1)
        check_choices(self, "training")
        share("schedule_begin", self.schedule_begin, "a share of the fit")
        share("schedule_end", self.schedule_end, "a share of the fit")
        if self.schedule_begin > self.schedule_end:
            raise ConfigError(
                f"schedule_begin = {self.schedule_begin} comes after schedule_end = "
                f"{self.schedule_end}; give shares of the fit in their order.",
                key="schedule_begin",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return ("u", "y", *self.model.reads[1:])

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> ARModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        kind = ARModel if "u_scalar" in self.reads else EstimatingARModel
        return kind(self, signals, rngs=rngs)


class ARModel(nnx.Module):
    """A model around `inner`, raw units in and out.

    The output at t never depends on the measured output at t. `call_with_aux` gives the
    intermediate values of the model inside that have a time axis; `output`, its own output,
    (batch, time, n_y); and `begin`, (batch,), the sample from which on it is fed no measured
    output in simulation.
    """

    def __init__(self, spec: AR, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["u", "y"], "AR")
        self.spec = spec
        self.y_scale = Standardize(signals.stats["y"])
        within = with_outputs_as_inputs(signals, signals.outputs, signals.stats["y"])
        self.inner: Any = spec.model.build(within, rngs=rngs)
        check_stateful("AR", "model", self.inner)

    @property
    def init_window(self) -> int:
        """Samples of measured output, from the first one on, that the model uses."""
        return self.spec.init_window

    def __call__(
        self,
        u: Array,
        y: Array,
        *further: Array,
        key: Array | None = None,
        progress: Array | None = None,
    ) -> Array:
        """Simulate `u` (batch, time, n_u) after the first outputs of `y` (batch, time, n_y).

        `further` is `u_scalar`, where the model inside reads it. With a `progress`, outputs are fed
        back as the option `training` says.
        """
        return self.call_with_aux(u, y, *further, key=key, progress=progress)[0]

    def call_with_aux(
        self,
        u: Array,
        y: Array,
        *further: Array,
        key: Array | None = None,
        progress: Array | None = None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the intermediate values."""
        y = fill_gaps(y, self.y_scale.mean[...])
        for_inner, for_chance = (None, jax.random.key(0)) if key is None else jax.random.split(key)
        mode = "free_run" if progress is None else self.spec.training
        if mode == "teacher_forcing":
            out, aux = self._force(u, y, further, for_inner)
        else:
            chance = None
            if mode == "scheduled":
                chance = jax.random.bernoulli(for_chance, self.own_share(progress), y.shape[:2])
            out, aux = self._begin_and_go_on(u, y, further, for_inner, chance)
        begin = jnp.full((len(u),), self.init_window)
        return out, {**aux, "output": out, "begin": begin}

    def own_share(self, progress: Any) -> Array:
        """Return the probability that scheduled training feeds back an own output."""
        begin, end = self.spec.schedule_begin, self.spec.schedule_end
        # Of equal shares, the probability is a step.
        slope = (jnp.asarray(progress) - begin) / max(end - begin, 1e-6)
        return jnp.clip(slope, 0.0, 1.0)

    def initial_state(self, batch_size: int) -> ARState:
        """Return the state before the first sample: the outputs before it rest at their mean."""
        mean = self.y_scale.mean[...]
        fed = jnp.broadcast_to(mean, (batch_size, *mean.shape))
        count = jnp.zeros((batch_size, 1), mean.dtype)
        return ARState(self.inner.initial_state(batch_size), fed, count)

    def advance(
        self,
        u: Array,
        state: ARState,
        y: Array | None = None,
        *further: Array,
        key: Array | None = None,
    ) -> tuple[Array, ARState]:
        """Simulate one chunk from `state`; return its outputs and the state after it.

        `y` is looked at in the initial window alone, and may be left out after it.
        """
        if y is None:
            y = jnp.zeros((*u.shape[:2], state.fed.shape[-1]), state.fed.dtype)
        y = fill_gaps(y, self.y_scale.mean[...])
        early = state.samples + jnp.arange(u.shape[1], dtype=state.samples.dtype) < self.init_window
        out, inner, fed, _ = self._feed_back(u, y, early, state.inner, state.fed, further, key)
        return out, ARState(inner, fed, state.samples + u.shape[1])

    def predict_ahead(self, u: Array, y: Array, *further: Array, steps: int = 1) -> Array:
        """Return each output as predicted `steps` samples before, (batch, time, n_y).

        The output at t is computed from `u` up to t and from the measured `y` up to t - `steps`;
        the first `steps` outputs from no measurement at all. `steps` = 1 is one-step prediction.
        """
        y = fill_gaps(y, self.y_scale.mean[...])
        batch, time = u.shape[:2]
        begin = self.initial_state(batch)
        past = delay(y, begin.fed)
        if steps == 1:
            x = jnp.concatenate([u, past], -1)
            out: Array = self.inner.advance(x, begin.inner, *further)[0]
            return out
        # The states before each sample whose prediction `steps` later lies in the record.
        starts = max(time - steps + 1, 1)

        def measure(inner: Any, at: tuple[Array, Array]) -> tuple[Any, Any]:
            x = jnp.concatenate(at, -1)[:, None]
            return self.inner.advance(x, inner, *further)[1], inner

        first = jnp.swapaxes(u[:, :starts], 0, 1), jnp.swapaxes(past[:, :starts], 0, 1)
        _, inners = jax.lax.scan(measure, begin.inner, first)
        # All starts are one batch, (starts * batch, ...).
        inners = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), inners)
        fed = jnp.swapaxes(past[:, :starts], 0, 1).reshape(starts * batch, -1)
        length = min(steps, time)
        cuts = jnp.arange(starts)[:, None] + jnp.arange(length)
        ahead = jnp.swapaxes(u[:, cuts], 0, 1).reshape(starts * batch, length, -1)
        scalars = [jnp.tile(x, (starts, 1)) for x in further]
        never = jnp.zeros((starts * batch, length), bool)
        blank = jnp.zeros((*never.shape, y.shape[-1]), y.dtype)
        out, *_ = self._feed_back(ahead, blank, never, inners, fed, scalars, None)
        out = out.reshape(starts, batch, length, -1)
        return jnp.concatenate([out[0], jnp.swapaxes(out[1:, :, -1], 0, 1)], axis=1)

    def _force(
        self, u: Array, y: Array, further: Any, key: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        """Return outputs and intermediate values from measured outputs alone."""
        x = jnp.concatenate([u, delay(y, self.y_scale.mean[...])], -1)
        options = offered(self.inner, {"key": key})
        if not isinstance(self.inner, AuxModel):
            return self.inner(x, *further, **options), {}
        out, aux = self.inner.call_with_aux(x, *further, **options)
        return out, _over_time(aux, u.shape[1])

    def _begin_and_go_on(
        self, u: Array, y: Array, further: Any, key: Array | None, chance: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        """Return outputs and intermediate values of a free run after the initial window.

        Where `chance` (batch, time) is false, it is no free run, and a measured output is fed back.
        """
        n, state = min(self.init_window, u.shape[1]), self.initial_state(u.shape[0])
        # In the window all inputs are known, so that it is one call.
        x = jnp.concatenate([u[:, :n], delay(y[:, :n], state.fed)], -1)
        first, inner, aux = self._advance_inner(self.inner, x, state.inner, further, key)
        if n == u.shape[1]:
            return first, aux
        free = jnp.zeros((len(u), u.shape[1] - n), bool)
        measured = free if chance is None else ~chance[:, n:]
        rest, _, _, later = self._feed_back(
            u[:, n:], y[:, n:], measured, inner, y[:, n - 1], further, key
        )
        joined = {name: jnp.concatenate([aux[name], later[name]], axis=1) for name in aux}
        return jnp.concatenate([first, rest], axis=1), joined

    def _feed_back(
        self,
        u: Array,
        y: Array,
        measured: Array,
        inner: Any,
        fed: Array,
        further: Any,
        key: Array | None,
    ) -> tuple[Array, Any, Array, dict[str, Array]]:
        """Run sample by sample, and feed back `y` where `measured` (batch, time), else the output.

        Returns the outputs, the state of the model inside, the outputs that it is given next, and
        the intermediate values.
        """
        graphdef, variables = nnx.split(self.inner)

        def step(before: tuple[Any, Array], at: tuple[Array, Array, Array]) -> Any:
            inner, fed = before
            u_t, y_t, is_measured = at
            # Statistics that a model measures in training cannot change within a loop.
            model: Any = nnx.merge(graphdef, variables)
            model.eval()
            x = jnp.concatenate([u_t, fed], -1)[:, None]
            out, inner, aux = self._advance_inner(model, x, inner, further, key)
            fed = jnp.where(is_measured, y_t, out[:, 0])
            return (inner, fed), (out[:, 0], {name: value[:, 0] for name, value in aux.items()})

        every = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (u, y, measured[..., None]))
        (inner, fed), (out, aux) = jax.lax.scan(step, (inner, fed), every)
        out, aux = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (out, aux))
        return out, inner, fed, aux

    def _advance_inner(
        self, model: Any, x: Array, state: Any, further: Any, key: Array | None
    ) -> tuple[Array, Any, dict[str, Array]]:
        """Return outputs, state and intermediate values of the model inside for a chunk."""
        if isinstance(model, StatefulAuxModel):
            options = offered(model.advance_with_aux, {"key": key})
            out, state, aux = model.advance_with_aux(x, state, *further, **options)
            return out, state, _over_time(aux, x.shape[1])
        out, state = model.advance(x, state, *further, **offered(model.advance, {"key": key}))
        return out, state, {}


class EstimatingARModel(ARModel):
    """An `ARModel` whose model inside reads `u` alone, so that measured samples give its state."""

    def estimate_state(self, u: Array, y: Array) -> ARState:
        """Return the state after `u` (batch, time, n_u) and `y` (batch, time, n_y), all measured.

        What follows is simulated without measured outputs.
        """
        y = fill_gaps(y, self.y_scale.mean[...])
        state = self.initial_state(u.shape[0])
        x = jnp.concatenate([u, delay(y, state.fed)], -1)
        _, inner = self.inner.advance(x, state.inner)
        return ARState(inner, y[:, -1], jnp.full_like(state.samples, self.init_window))


def _over_time(aux: Mapping[str, Array], time: int) -> dict[str, Array]:
    """Return the intermediate values that have a time axis."""
    return {name: x for name, x in aux.items() if x.ndim > 2 and x.shape[1] == time}
