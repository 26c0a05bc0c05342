"""Models that break one clause each of the contract, as the plugin of a distribution.

The test beside this file installs it, because a saved model is found again by its plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core import Carry, hookimpl
from tsjax_core.models.scaling import Standardize


class SoundModel(nnx.Module):
    """First-order lags driven by the inputs and read out linearly: keeps every clause."""

    def __init__(self, spec, signals, *, rngs):
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        self.size = spec.size
        self.u_scale = Standardize(signals.stats["u"])
        self.y_scale = Standardize(signals.stats["y"])
        self.w_in = nnx.Param(jax.random.normal(rngs.params(), (n_u, spec.size)))
        self.decay = nnx.Param(jax.random.normal(rngs.params(), (spec.size,)))
        self.w_out = nnx.Param(jax.random.normal(rngs.params(), (spec.size, n_y)))

    def __call__(self, u):
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def call_with_aux(self, u):
        return self(u), {"u": u}

    def initial_state(self, batch_size):
        return {"x": jnp.zeros((batch_size, self.size))}

    def advance(self, u, state):
        # The sum over all past samples instead of a loop, which would be slow to compile.
        decay, times = jax.nn.sigmoid(self.decay[...]), jnp.arange(u.shape[1])
        age = times[:, None, None] - times[:, None]
        weights = jnp.where(age >= 0, decay ** jnp.maximum(age, 0), 0.0)
        drive = self.u_scale.normalize(u) @ self.w_in[...]
        x = jnp.einsum("tsk,bsk->btk", weights, drive)
        x = x + decay ** (times[:, None] + 1) * state["x"][:, None]
        return self.y_scale.denormalize(x @ self.w_out[...]), {"x": x[:, -1]}


@dataclass(frozen=True)
class Sound:
    size: int = 3
    reads: ClassVar[tuple[str, ...]] = ("u",)
    model: ClassVar[type] = SoundModel

    def build(self, signals, *, rngs):
        return self.model(self, signals, rngs=rngs)


BROKEN: list[tuple[str, type, dict[str, Any]]] = []
"""The clause that each specification breaks, and options and facts that its test declares."""


def breaks(clause: str, **facts: Any) -> Callable[[type], type]:
    def register(thing: type) -> type:
        spec = thing
        if issubclass(thing, nnx.Module):
            name = f"{thing.__name__}Spec"
            members = {"model": thing, "__module__": __name__}
            spec = globals()[name] = dataclass(frozen=True)(type(name, (Sound,), members))
        BROKEN.append((clause, spec, facts))
        return thing

    return register


@breaks("test_model_can_be_built")
class LayersInAList(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        self.layers = [nnx.Linear(2, 2, rngs=rngs)]


@breaks("test_identified_model_is_that_of_its_specification")
@dataclass(frozen=True)
class KeepsItsChoiceToItself(Sound):
    def identify(self, signals, train, valid, *, rngs):
        return self, Sound(size=len(train) + 5).build(signals, rngs=rngs)


@breaks("test_spec_is_hashable")
@dataclass(frozen=True)
class ListOption(Sound):
    taps: list[int] = field(default_factory=lambda: [1])


@breaks("test_spec_survives_json")
@dataclass(frozen=True)
class UntypedOption(Sound):
    taps: Any = (1, 2)


@breaks("test_spec_survives_repr", size=5)
@dataclass(frozen=True)
class HiddenOption(Sound):
    size: int = field(default=3, repr=False)


@breaks("test_spec_reads_what_is_declared")
@dataclass(frozen=True)
class OtherReads(Sound):
    reads = ("u", "u_scalar")


@breaks("test_output_shape")
class LastSampleLost(SoundModel):
    def __call__(self, u):
        return super().__call__(u)[:, :-1]


@breaks("test_output_dtype")
class HalfPrecision(SoundModel):
    def advance(self, u, state):
        y, state = super().advance(u, state)
        return y.astype(jnp.bfloat16), state


@breaks("test_output_is_finite")
class NotANumberAtThree(SoundModel):
    def __call__(self, u):
        return super().__call__(u).at[:, 3].set(jnp.nan)


@breaks("test_same_rngs_give_same_parameters")
class DrawsFromElsewhere(SoundModel):
    numbers: ClassVar = count()

    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        more = jax.random.normal(jax.random.key(next(self.numbers)), (spec.size,))
        self.decay[...] = more


@breaks("test_other_rngs_give_other_parameters")
class DrawsNothing(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=nnx.Rngs(0))


@breaks("test_jitted_equals_eager")
class KnowsThatItIsCompiled(SoundModel):
    def __call__(self, u):
        return super().__call__(u) + (
            self.y_scale.std[...] if isinstance(u, jax.core.Tracer) else 0.0
        )


@breaks("test_equal_shapes_do_not_recompile")
class CountsItsCalls(SoundModel):
    calls: int = 0

    def __call__(self, u):
        self.calls += 1
        return super().__call__(u)


@breaks("test_batch_rows_are_independent")
class SubtractsTheMeanOfTheBatch(SoundModel):
    def __call__(self, u):
        y = super().__call__(u)
        return y - 0.1 * (y.mean(0) - self.y_scale.mean[...])


@breaks("test_batch_rows_are_independent")
class AddsTheRowsAfter(SoundModel):
    def __call__(self, u):
        rows = jnp.flip(jnp.cumsum(jnp.flip(u - self.u_scale.mean[...], 0), 0), 0)
        return super().__call__(rows + self.u_scale.mean[...])


@breaks("test_batch_rows_are_independent")
class CountsTheRows(SoundModel):
    def __call__(self, u):
        mean = self.y_scale.mean[...]
        return (super().__call__(u) - mean) * len(u) + mean


@breaks("test_output_shape")
class HalfTheSamplesInTraining(SoundModel):
    half = False

    def train(self, **attributes):
        self.half = True

    def eval(self, **attributes):
        self.half = False

    def __call__(self, u):
        y = super().__call__(u)
        return y[:, ::2] if self.half else y


@breaks("test_output_is_finite")
class DividesByTheInput(SoundModel):
    def __call__(self, u):
        x = u - self.u_scale.mean[...]
        size = jax.lax.stop_gradient(jnp.abs(x).sum(-1, keepdims=True))
        return jnp.where(size > 0.0, super().__call__(u), jnp.nan)


@breaks("test_gradients_are_finite")
class RootAtRest(SoundModel):
    def __call__(self, u):
        x = (u - self.u_scale.mean[...]) @ (self.w_in[...] / self.u_scale.std[...][:, None])
        return (
            super().__call__(u)
            + jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) * (self.y_scale.std[...])
        )


@breaks("test_causal")
class LooksFarAhead(SoundModel):
    def __call__(self, u):
        mean = self.u_scale.mean[...]
        later = jnp.pad(u - mean, ((0, 0), (0, 30), (0, 0)))[:, 30:]
        return super().__call__(u + later)


@breaks("test_causal")
class LooksAheadAtTheBeginning(SoundModel):
    def __call__(self, u):
        sign = jnp.sign(jnp.roll(u, -1, 1) - self.u_scale.mean[...])
        early = (jnp.arange(u.shape[1]) < 5)[:, None]
        return super().__call__(u + jnp.where(early, sign * self.u_scale.std[...], 0.0))


@breaks("test_causal")
class LooksAheadInABatch(SoundModel):
    def __call__(self, u):
        ahead = jnp.concatenate([u[-1:, 1:], u[-1:, -1:]], 1)
        return super().__call__(jnp.concatenate([u[:-1], ahead]) if len(u) > 1 else u)


@breaks("test_causal")
class LooksAhead(SoundModel):
    def __call__(self, u):
        return super().__call__(jnp.concatenate([u[:, 1:], u[:, -1:]], 1))


@breaks("test_causal")
class LooksAheadWithoutDerivative(SoundModel):
    def __call__(self, u):
        return super().__call__(
            u + jax.lax.stop_gradient(jnp.roll(u, -1, 1) - self.u_scale.mean[...])
        )


@breaks("test_causal", causal=False)
class LooksNotAhead(SoundModel):
    pass


class TakesTheMeasuredOutput(SoundModel):
    def __call__(self, u, y):
        return super().__call__(u) + 0.5 * (y - self.y_scale.mean[...])

    def call_with_aux(self, u, y):
        return self(u, y), {}


@breaks("test_measured_outputs_do_not_leak", reads=("u", "y"))
@dataclass(frozen=True)
class ReadsTheMeasuredOutput(Sound):
    reads = ("u", "y")
    model = TakesTheMeasuredOutput


class TakesTheMeasuredOutputWithoutDerivative(SoundModel):
    init_window = 6

    def __call__(self, u, y):
        x = jax.lax.stop_gradient(y) - self.y_scale.mean[...]
        return super().__call__(u) + 0.5 * x

    def call_with_aux(self, u, y):
        return self(u, y), {}


@breaks("test_measured_outputs_do_not_leak", reads=("u", "y"), init_window=6)
@dataclass(frozen=True)
class ReadsTheMeasuredOutputInSecret(Sound):
    reads = ("u", "y")
    init_window = 6
    model = TakesTheMeasuredOutputWithoutDerivative


class OldInputWithoutDerivative(SoundModel):
    def __call__(self, u):
        mean = self.u_scale.mean[...]
        old = jax.lax.stop_gradient(jnp.pad(u - mean, ((0, 0), (5, 0), (0, 0)))[:, :-5])
        x = self.u_scale.normalize(u + old) @ self.w_in[...] * jax.nn.sigmoid(self.decay[...])
        return self.y_scale.denormalize(x @ self.w_out[...])


@breaks("test_memory_is_as_declared")
@dataclass(frozen=True)
class LongerMemoryWithoutDerivative(Sound):
    receptive_field: ClassVar[int] = 2
    model = OldInputWithoutDerivative


@breaks("test_memory_is_as_declared")
@dataclass(frozen=True)
class LongerMemory(Sound):
    receptive_field: ClassVar[int] = 2


@breaks("test_intermediate_values_come_with_the_same_output")
class OtherOutputWithAux(SoundModel):
    def call_with_aux(self, u):
        return 2.0 * self(u), {}


@breaks("test_intermediate_values_come_with_the_same_output")
class TimeMajorAux(SoundModel):
    def call_with_aux(self, u):
        return self(u), {"u": jnp.swapaxes(u, 0, 1)}


@breaks("test_intermediate_values_come_with_the_same_output")
class AuxWithoutNumbers(SoundModel):
    def call_with_aux(self, u):
        return self(u), {"ratio": u / 0.0}


@breaks("test_gradients_are_finite")
class RootOfZero(SoundModel):
    def __call__(self, u):
        return super().__call__(u) + jnp.sqrt(jnp.sum(0.0 * self.decay[...]))


@breaks("test_gradients_reach_every_parameter")
class UnusedParameter(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        self.unused = nnx.Param(jax.random.normal(rngs.params(), (2,)))


@breaks("test_statistics_are_not_trained")
class TrainsAStatistic(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        stats = signals.stats["u"]
        self.centre = nnx.Param(jnp.asarray(stats.mean / stats.std))

    def __call__(self, u):
        return super().__call__(u + self.centre[...] * self.u_scale.std[...])


@breaks("test_saved_model_gives_equal_outputs")
class DecidesByAnAttribute(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        self.gain = float(jax.random.uniform(rngs.params()))

    def __call__(self, u):
        y = super().__call__(u)
        return y + self.gain * (y - self.y_scale.mean[...])


@breaks("test_one_and_several_channels")
class SqueezesOneChannel(SoundModel):
    def __call__(self, u):
        y = super().__call__(u)
        return y if y.shape[-1] > 1 else y[..., 0]


@breaks("test_one_and_several_channels")
class NormalisesOverTheInputs(SoundModel):
    def __call__(self, u):
        x = self.u_scale.normalize(u)
        spread = x.std(-1, keepdims=True) if x.shape[-1] == 1 else 1.0
        ratio = 0.0 / jax.lax.stop_gradient(spread)
        return super().__call__(u) + ratio


@breaks("test_units_of_the_data_scale_the_output")
class NormalisesNothing(SoundModel):
    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        self.u_scale.std[...] = jnp.ones_like(self.u_scale.std[...])


@breaks("test_state_has_a_row_for_each_sequence", stateful=True, size=4)
class BatchComesLast(SoundModel):
    def initial_state(self, batch_size):
        return {"x": super().initial_state(batch_size)["x"].T}

    def advance(self, u, state):
        y, state = super().advance(u, {"x": state["x"].T})
        return y, {"x": state["x"].T}


@breaks("test_state_keeps_its_structure", stateful=True)
class StateGrows(SoundModel):
    def advance(self, u, state):
        y, state = super().advance(u, state)
        return y, {**state, "last_input": u[:, -1]}


@breaks("test_chunks_equal_the_whole", stateful=True)
class ForgetsItsState(SoundModel):
    def advance(self, u, state):
        y, _ = super().advance(u, self.initial_state(u.shape[0]))
        return y, state


@breaks("test_chunks_equal_the_whole", stateful=True)
class ForgetsItsStateBeforeALongChunk(SoundModel):
    def __call__(self, u):
        return super().advance(u, self.initial_state(u.shape[0]))[0]

    def advance(self, u, state):
        return super().advance(u, state if u.shape[1] < 30 else self.initial_state(len(u)))


@breaks("test_initial_window_is_as_declared")
@dataclass(frozen=True)
class StatesAWindow(Sound):
    init_window = 3


@breaks("test_quantities_are_numbers_with_units")
class QuantityThatIsNoNumber(SoundModel):
    def quantities(self):
        return {"mass": (self.decay[...], "kg")}


@breaks("test_quantities_are_numbers_with_units")
class QuantityWithoutUnit(SoundModel):
    def quantities(self):
        return {"mass": (jnp.float32(1.0), None)}


@breaks("test_state_can_be_one_array", stateful=True)
class CountsInTheState(SoundModel):
    def initial_state(self, batch_size):
        return super().initial_state(batch_size) | {"n": jnp.zeros((batch_size, 1), int)}

    def advance(self, u, state):
        y, after = super().advance(u, state)
        return y, after | {"n": state["n"] + u.shape[1]}


@breaks("test_intermediate_values_come_with_every_chunk", stateful=True)
class OtherOutputsOfAChunk(SoundModel):
    def advance_with_aux(self, u, state):
        y, after = self.advance(u, state)
        return 2.0 * y, after, {"u": u}


@breaks("test_intermediate_values_come_with_every_chunk", stateful=True)
class OtherValuesOfAChunk(SoundModel):
    def advance_with_aux(self, u, state):
        return *self.advance(u, state), {"u": u[:, ::-1]}


@breaks("test_estimated_state_has_the_form_of_the_state", stateful=True)
class EstimatesAnotherState(SoundModel):
    def estimate_state(self, u, y):
        return {"x": u[:, -1]}


class SoundCarrier(SoundModel):
    """Rows that go on from batch to batch: keeps every clause."""

    def __init__(self, spec, signals, *, rngs):
        super().__init__(spec, signals, rngs=rngs)
        self.carry = None

    def begin_training(self, batch_size):
        self.carry = nnx.data(Carry(self.initial_state(batch_size)["x"]))

    def begins(self, batch):
        return batch["position"][:, :1] <= 0

    def __call__(self, u, *, batch=None):
        if batch is None or "position" not in batch:
            return super().__call__(u)
        before = jnp.where(self.begins(batch), 0.0, self.carry[...])
        y, after = self.advance(u, {"x": before})
        self.carry.set_value(after["x"])
        return y


@dataclass(frozen=True)
class SoundCarrying(Sound):
    model = SoundCarrier


@breaks("test_rows_go_on_from_batch_to_batch", carrying=True)
class AlwaysBegins(SoundCarrier):
    def begins(self, batch):
        return jnp.full((len(batch["u"]), 1), fill_value=True)


@breaks("test_a_row_at_position_zero_begins_anew", carrying=True)
class NeverBegins(SoundCarrier):
    def begins(self, batch):
        return jnp.full((len(batch["u"]), 1), fill_value=False)


@breaks("test_evaluation_does_not_see_the_carry", carrying=True)
class EvaluatesFromTheCarry(SoundCarrier):
    def __call__(self, u, *, batch=None):
        if batch is None and self.carry is not None and len(u) == len(self.carry[...]):
            return self.advance(u, {"x": self.carry[...]})[0]
        return super().__call__(u, batch=batch)


@breaks("test_a_saved_model_has_no_carry", carrying=True)
class CarriesInAVariableOfItsOwn(SoundCarrier):
    def begin_training(self, batch_size):
        super().begin_training(batch_size)
        self.also = nnx.data(nnx.Variable(jnp.zeros((batch_size, 1))))


@hookimpl
def tsjax_models():
    return {"sound": Sound, "carrying": SoundCarrying} | {
        f"broken_{i}": spec for i, (_, spec, _) in enumerate(BROKEN)
    }
