"""FranSys: one network finds the state in measured samples, another one simulates from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_ar.inner import (
    DEFAULT_INNER,
    check_inner,
    check_stateful,
    fill_gaps,
    offered,
    unit_stats,
    with_outputs_as_inputs,
)
from tsjax_ar.observation import check_observable, in_parts, observe_states
from tsjax_core.checks import check_counts, share
from tsjax_core.errors import ConfigError
from tsjax_core.models.layers import linear
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.protocols import ModelSpec
from tsjax_core.types import Array, Signals


class FranSysState(NamedTuple):
    """State of a `FranSysModel`.

    `diagnosis` and `prognosis` are the states of its two networks, and `samples` (batch, 1) is the
    number of samples so far. The prognosis acts after the initial window.
    """

    diagnosis: Any
    prognosis: Any
    samples: Array


@dataclass(frozen=True)
class FranSys:
    """FranSys: a diagnosis network estimates the state, a prognosis network simulates from it.

    The diagnosis reads inputs and measured outputs of the initial window, and gives the state of
    the prognosis; the prognosis reads the inputs alone. In the window the outputs are those of the
    estimated states. Train it with `fransys_losses`, which keep both networks in agreement.

    Args:
        diagnosis: The diagnosis, any stateful model. Its inputs are those of the data, then their
            outputs; its outputs are the state of the prognosis.
        prognosis: The prognosis: `core/rnn`, `core/gru`, `core/lstm`, or another model whose
            outputs are a function of its state.
        init_window: Samples of measured output at the start of a sequence.
        shortest_window: In training, each sequence draws its own window between this length and
            `init_window`, so that the model learns to begin from fewer samples; `init_window` where
            it is not given.
        encoder_size: Hidden units of a state encoder, which estimates the state from the measured
            output of one sample; 0 for none. Without `consistency` or an `encoder_share`, nothing
            trains it.
        encoder_share: Share of the training sequences in which the prognosis begins from the state
            encoder, 0 to 1.
    """

    diagnosis: ModelSpec = DEFAULT_INNER
    prognosis: ModelSpec = DEFAULT_INNER
    init_window: int = 50
    shortest_window: int | None = None
    encoder_size: int = 0
    encoder_share: float = 0.0

    def __post_init__(self) -> None:
        check_inner("FranSys", "diagnosis", self.diagnosis)
        check_inner("FranSys", "prognosis", self.prognosis)
        check_counts(self, init_window=1, encoder_size=0)
        share("encoder_share", self.encoder_share)
        if self.shortest_window is not None:
            check_counts(self, shortest_window=1)
            if self.shortest_window > self.init_window:
                raise ConfigError(
                    f"shortest_window = {self.shortest_window} is longer than init_window = "
                    f"{self.init_window}; give init_window the length of the longest window.",
                    key="shortest_window",
                )
        if self.encoder_share and not self.encoder_size:
            raise ConfigError(
                f"encoder_share = {self.encoder_share}, and encoder_size = 0 makes no state "
                "encoder; give its hidden units, such as encoder_size = 64.",
                key="encoder_share",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        scalars = {*self.diagnosis.reads, *self.prognosis.reads} - {"u"}
        return ("u", "y", *sorted(scalars))

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> FranSysModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        kind = FranSysModel if "u_scalar" in self.reads else EstimatingFranSysModel
        return kind(self, signals, rngs=rngs)


class FranSysModel(nnx.Module):
    """Diagnosis and prognosis, raw units in and out.

    `call_with_aux` gives, with N the length of the window of a sequence and states in the form
    (batch, time, parts, width), where the parts are the layers, of an LSTM h and c of each:

    - `diagnosis`: estimated states; `known` (batch, time, 1) says at which samples. In training
      that is all of them, else those of the initial window; elsewhere they are 0.
    - `prognosis`: simulated states from N on, 0 before; `simulated` (batch, time, 1) says where.
    - `states`: estimated ones before N, simulated ones from N on.
    - `one_step`: the state one step of the prognosis after the estimated state of the sample
      before; 0 at the first sample.
    - `diagnosis_output`, `one_step_output`: the outputs of these states, in physical units.
    - `output`: the outputs of the model, and `begin` (batch,): N.
    - `encoded`: states by the state encoder, where there is one.
    """

    def __init__(self, spec: FranSys, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["u", "y"], "FranSys")
        self.spec = spec
        self.y_scale = Standardize(signals.stats["y"])
        self.prognosis: Any = spec.prognosis.build(signals, rngs=rngs)
        check_stateful("FranSys", "prognosis", self.prognosis)
        check_observable("FranSys", "prognosis", self.prognosis)
        model: Any = self.prognosis
        size = flatten_state(model.initial_state(1)).shape[-1]
        states = tuple(f"state_{number}" for number in range(size))
        within = with_outputs_as_inputs(signals, states, unit_stats(size))
        self.diagnosis: Any = spec.diagnosis.build(within, rngs=rngs)
        check_stateful("FranSys", "diagnosis", self.diagnosis)
        n_y, hidden = len(signals.outputs), spec.encoder_size
        self.encoder = StateEncoder(n_y, hidden, size, rngs=rngs) if hidden else None

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

        `further` is `u_scalar`, where a network reads it. A `progress` says that it is training.
        """
        return self._simulate(u, y, further, key, training=progress is not None, whole=False)[0]

    def call_with_aux(
        self,
        u: Array,
        y: Array,
        *further: Array,
        key: Array | None = None,
        progress: Array | None = None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Simulate as a call does; return the outputs and the intermediate values."""
        training = progress is not None
        return self._simulate(u, y, further, key, training=training, whole=training)

    def _simulate(
        self, u: Array, y: Array, further: Any, key: Array | None, *, training: bool, whole: bool
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return outputs and intermediate values; with `whole`, the diagnosis reads to the end."""
        y = fill_gaps(y, self.y_scale.mean[...])
        batch, time = u.shape[:2]
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        n = time if whole else min(self.init_window, time)
        x = jnp.concatenate([u, y], -1)[:, :n]
        scalars = further[: len(self.spec.diagnosis.reads) - 1]
        options = offered(self.diagnosis, {"key": keys[0]})
        estimated = self._to_end(self.diagnosis(x, *scalars, **options), time)

        begin, start, encoded = self._begin(estimated, y, keys[2:] if training else None)
        out, simulated = self._prognose(u, start, begin, further, keys[1])
        begin = jnp.broadcast_to(begin, (batch,))
        number = jnp.arange(time)[None, :, None]
        before = number < begin[:, None, None]
        diagnosed = observe_states(self.prognosis, estimated)
        output = jnp.where(before, diagnosed, out)
        one_step = self._step_from(u, estimated, further)
        states = {
            "diagnosis": estimated,
            "prognosis": jnp.where(before, 0.0, simulated),
            "states": jnp.where(before, estimated, simulated),
            "one_step": one_step,
            **({} if encoded is None else {"encoded": encoded}),
        }
        like = self.prognosis.initial_state(1)
        aux = {name: in_parts(value, like) for name, value in states.items()}
        return output, {
            **aux,
            "known": jnp.broadcast_to(number < n, before.shape),
            "simulated": ~before,
            "diagnosis_output": diagnosed,
            "one_step_output": observe_states(self.prognosis, one_step),
            "output": output,
            "begin": begin,
        }

    def initial_state(self, batch_size: int) -> FranSysState:
        """Return the state before the first sample."""
        return FranSysState(
            self.diagnosis.initial_state(batch_size),
            self.prognosis.initial_state(batch_size),
            jnp.zeros((batch_size, 1), self.y_scale.mean[...].dtype),
        )

    def advance(
        self,
        u: Array,
        state: FranSysState,
        y: Array | None = None,
        *further: Array,
        key: Array | None = None,
    ) -> tuple[Array, FranSysState]:
        """Simulate one chunk from `state`; return its outputs and the state after it.

        `y` is looked at in the initial window alone, and may be left out after it.
        """
        batch, time = u.shape[:2]
        if y is None:
            y = jnp.zeros((batch, time, self.y_scale.mean.shape[-1]), state.samples.dtype)
        left = self.init_window - state.samples[:, 0]
        begin = jnp.clip(left, 0, time).astype(jnp.int32)
        estimated, diagnosis = self._diagnose_chunk(u, y, state, further, jnp.any(begin > 0))
        last = _take(estimated, jnp.clip(begin - 1, 0, estimated.shape[1] - 1))
        flat = jnp.where(begin[:, None] > 0, last, flatten_state(state.prognosis))
        out, simulated = self._prognose(u, flat, begin, further, key)
        before = jnp.arange(time)[None, :, None] < begin[:, None, None]
        diagnosed = observe_states(self.prognosis, self._to_end(estimated, time))
        after = jnp.where(begin[:, None] < time, simulated[:, -1], flat)
        prognosis = unflatten_state(after, state.prognosis)
        return jnp.where(before, diagnosed, out), FranSysState(
            diagnosis, prognosis, state.samples + time
        )

    def begin_from(self, prognosis: Any) -> FranSysState:
        """Return the state to simulate from a known state of the prognosis, without diagnosis.

        Give it to `predict_stateful`, `Simulator.reset` or `advance`.
        """
        batch = len(jax.tree.leaves(prognosis)[0])
        fresh = self.initial_state(batch)
        done = jnp.full_like(fresh.samples, self.init_window)
        return FranSysState(fresh.diagnosis, prognosis, done)

    def _begin(
        self, estimated: Array, y: Array, keys: Any
    ) -> tuple[int | Array, Array, Array | None]:
        """Return where the prognosis begins, from which states, and the encoded states.

        `keys` are for what is drawn, None outside of training.
        """
        time = y.shape[1]
        longest, shortest = self.init_window, self.spec.shortest_window
        begin: int | Array = longest
        if keys is not None and keys[0] is not None and shortest is not None:
            begin = jax.random.randint(keys[0], (len(y),), shortest, longest + 1)
        at = jnp.broadcast_to(jnp.clip(jnp.asarray(begin) - 1, 0, time - 1), (len(y),))
        start = _take(estimated, at)
        if self.encoder is None:
            return begin, start, None
        encoded = self.encoder(self.y_scale.normalize(y))
        if keys is not None and keys[1] is not None and self.spec.encoder_share:
            drawn = jax.random.bernoulli(keys[1], self.spec.encoder_share, (len(y), 1))
            start = jnp.where(drawn, _take(encoded, at), start)
        return begin, start, encoded

    def _prognose(
        self, u: Array, flat: Array, begin: int | Array, further: Any, key: Array | None
    ) -> tuple[Array, Array]:
        """Return outputs and flat states from the sample `begin` on, which starts from `flat`.

        `begin` is one number, or one for each sequence, (batch,). What stands before it is
        without meaning.
        """
        time = u.shape[1]
        state = unflatten_state(flat, self.prognosis.initial_state(1))
        scalars = further[: len(self.spec.prognosis.reads) - 1]
        options = offered(self.prognosis.advance_with_aux, {"key": key})
        if isinstance(begin, int):
            # At least one sample, so that a sequence within the window has outputs too.
            first = min(begin, time - 1)
            out, _, aux = self.prognosis.advance_with_aux(u[:, first:], state, *scalars, **options)
            ends = ((0, 0), (first, 0), (0, 0))
            return jnp.pad(out, ends), jnp.pad(aux["states"], ends)
        # Turned so that every sequence begins at once, and back.
        number = jnp.arange(time)
        there = ((number + begin[:, None]) % time)[..., None]
        back = ((number - begin[:, None]) % time)[..., None]
        turned = jnp.take_along_axis(u, there, axis=1)
        out, _, aux = self.prognosis.advance_with_aux(turned, state, *scalars, **options)
        return (
            jnp.take_along_axis(out, back, axis=1),
            jnp.take_along_axis(aux["states"], back, axis=1),
        )

    def _step_from(self, u: Array, estimated: Array, further: Any) -> Array:
        """Return the flat states one step of the prognosis after each estimated one; 0 first."""
        batch, time, size = estimated.shape
        if time == 1:
            return jnp.zeros_like(estimated)
        rows = batch * (time - 1)
        state = unflatten_state(
            estimated[:, :-1].reshape(rows, size), self.prognosis.initial_state(1)
        )
        scalars = [
            jnp.repeat(x, time - 1, axis=0) for x in further[: len(self.spec.prognosis.reads) - 1]
        ]
        samples = u[:, 1:].reshape(rows, 1, -1)
        _, _, aux = self.prognosis.advance_with_aux(samples, state, *scalars)
        after = aux["states"].reshape(batch, time - 1, size)
        return jnp.pad(after, ((0, 0), (1, 0), (0, 0)))

    def _diagnose_chunk(
        self, u: Array, y: Array, state: FranSysState, further: Any, needed: Array
    ) -> tuple[Array, Any]:
        """Return estimated states for what may be in the window, and the diagnosis's state.

        Where it is not `needed`, nothing is computed.
        """
        n = min(u.shape[1], self.init_window)
        y = fill_gaps(y[:, :n], self.y_scale.mean[...])
        x = jnp.concatenate([u[:, :n], y], -1)
        scalars = further[: len(self.spec.diagnosis.reads) - 1]
        graphdef, variables = nnx.split(self.diagnosis)

        def diagnose() -> tuple[Array, Any]:
            # Statistics that a model measures in training cannot change within a branch.
            model: Any = nnx.merge(graphdef, variables)
            model.eval()
            done: tuple[Array, Any] = model.advance(x, state.diagnosis, *scalars)
            return done

        shapes = jax.eval_shape(diagnose)[0]
        found: tuple[Array, Any] = jax.lax.cond(
            needed, diagnose, lambda: (jnp.zeros(shapes.shape, shapes.dtype), state.diagnosis)
        )
        return found

    @staticmethod
    def _to_end(states: Array, time: int) -> Array:
        """Return states (batch, n, S), with zeros up to `time` samples."""
        return jnp.pad(states, ((0, 0), (0, time - states.shape[1]), (0, 0)))


class EstimatingFranSysModel(FranSysModel):
    """A `FranSysModel` whose networks read no scalars, so that measured samples give its state."""

    def estimate_state(self, u: Array, y: Array) -> FranSysState:
        """Return the state after `u` (batch, time, n_u) and `y` (batch, time, n_y), all measured.

        The diagnosis reads all of it, be it shorter or longer than the initial window.
        """
        y = fill_gaps(y, self.y_scale.mean[...])
        estimated = self.diagnosis(jnp.concatenate([u, y], -1))
        like = self.prognosis.initial_state(1)
        return self.begin_from(unflatten_state(estimated[:, -1], like))


class StateEncoder(nnx.Module):
    """The state of the prognosis from the normalised outputs of one sample, by a hidden layer."""

    def __init__(self, n_y: int, hidden_size: int, size: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = linear(n_y, hidden_size, rngs=rngs)
        self.out = linear(hidden_size, size, rngs=rngs)

    def __call__(self, y: Array) -> Array:
        """Return flat states (..., S) for normalised outputs (..., n_y)."""
        return self.out(jax.nn.relu(self.hidden(y)))


def _take(states: Array, at: Array) -> Array:
    """Return the state (batch, S) of each sequence at the sample `at` (batch,)."""
    return jnp.take_along_axis(states, at[:, None, None], axis=1)[:, 0]
