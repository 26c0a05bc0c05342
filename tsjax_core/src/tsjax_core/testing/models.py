"""The contract of a model."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.experiments.components import read_spec, write_spec
from tsjax_core.inference.predict import predict, y_argument
from tsjax_core.inference.saved_model import load_model, save_model
from tsjax_core.protocols import (
    AuxModel,
    FiniteMemory,
    IdentifiedSpec,
    MeasuringModel,
    ModelSpec,
)
from tsjax_core.signatures import declare
from tsjax_core.testing.contract import Blocked, Conformance, clause
from tsjax_core.testing.probes import (
    disturb,
    gradients,
    jacobian_paths,
    params_of,
    run,
    training_shape,
)
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.training.compatibility import window_of
from tsjax_core.types import Array, FrozenMapping, HostArray, NormStats, Signals

TOLERANCE = 1e-5
"""Rounding that counts as equal, in standard deviations of the output."""


class ModelConformance(Conformance):
    """What every model keeps, so that training, saving and simulation work with it.

    A model is built from `spec` for made-up signals, and its parameters are disturbed a little, so
    that nothing hides behind weights that begin at zero. Unless a clause says otherwise, it is
    called in evaluation mode.

    Facts:
        spec: Hyperparameters of the model under test. Small ones make the test quick.
        causal: Whether the output at a time depends on no later input.
        reads: Batch keys that the model takes, `("u",)` unless set.
        init_window: Samples at the beginning of which a model that reads `y` may use the measured
            output, 0 unless set. After them it may use those before the present one only if it
            predicts one step ahead.
        channels: Pairs (number of inputs, number of outputs) that the model works for. All clauses
            but one use the first.
        dt: Sampling time of the signals in seconds, 0.1 unless set, None for one that is not known.
        target: `"y"`, or `"y_scalar"` for a model with one output per sequence.
    """

    facts = ("spec", "causal")

    spec: ModelSpec
    causal: bool
    reads: tuple[str, ...] = ("u",)
    init_window: int = 0
    channels: Sequence[tuple[int, int]] = ((2, 3), (1, 1), (3, 2))
    dt: float | None = 0.1
    target: str = "y"

    steps: ClassVar[int] = 24
    """Samples of the sequences that the model is called with, after the initial window."""

    @clause
    def test_model_can_be_built(self) -> None:
        """The specification builds an nnx.Module whose parts flax can take apart."""
        model = self.spec.build(self._signals(), rngs=nnx.Rngs(1))
        assert isinstance(model, nnx.Module), (
            f"build returns {type(model).__name__}; a model is a flax.nnx.Module"
        )
        nnx.split(model)

    @clause
    def test_identified_model_is_that_of_its_specification(self) -> None:
        """`identify`, where there is one, gives equal models of what `build` can make again."""
        if not isinstance(self.spec, IdentifiedSpec):
            return
        signals = self._signals()
        records = [
            tuple(
                np.asarray(sample_batch(signals, batch=1, time=n, seed=n)[key][0]) for key in "uy"
            )
            for n in (400, 250)
        ]
        given: Any = [(u.copy(), y.copy()) for u, y in records]
        (spec, model), (again, twin) = (
            self.spec.identify(signals, given, given[:1], rngs=nnx.Rngs(1)) for _ in range(2)
        )
        assert spec == again, f"identify chose {spec!r}, and the second time {again!r}"
        built = spec.build(signals, rngs=nnx.Rngs(1))
        first, second, third = (
            params_of(cast("nnx.Module", each)) for each in (model, twin, built)
        )
        shapes = [{k: v.shape for k, v in params.items()} for params in (first, third)]
        assert shapes[0] == shapes[1], (
            f"identify gives {spec!r} and a model with parameters {shapes[0]}, and build of that "
            f"makes {shapes[1]}; return the specification with every choice made"
        )
        differing = [name for name in first if not np.array_equal(first[name], second[name])]
        assert not differing, f"{', '.join(differing)} differ between two identifications"
        for (u, y), (u_given, y_given) in zip(records, given, strict=True):
            same = np.array_equal(u, u_given) and np.array_equal(y, y_given)
            assert same, "identify changes the records that it is given; work on copies"

    @clause
    def test_spec_is_hashable(self) -> None:
        """Equal specifications have equal hashes."""
        spec, twin = self.spec, replace(cast("Any", self.spec))
        assert spec == twin, f"{spec!r} differs from a copy of itself; keep the dataclass's own =="
        assert hash(spec) == hash(twin), f"equal specifications {spec!r} have different hashes"

    @clause
    def test_spec_survives_json(self) -> None:
        """A specification written as JSON and read back is equal."""
        written = json.loads(json.dumps(write_spec(self.spec)))
        again = read_spec(type(self.spec), written, where="options")
        assert again == self.spec, (
            f"{self.spec!r} comes back from JSON as {again!r}; give the fields types that say "
            "what they hold, such as tuple[int, ...]."
        )

    @clause
    def test_spec_survives_repr(self) -> None:
        """The text that `repr` gives of a specification evaluates to an equal one."""
        names: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "FrozenMapping": FrozenMapping}
        for cls in _classes_of(self.spec):
            names |= {**vars(sys.modules[cls.__module__]), cls.__name__: cls}
        again = eval(repr(self.spec), names)  # noqa: S307 - the text is the dataclass's own
        assert again == self.spec, (
            f"{self.spec!r} evaluates to {again!r}; keep the dataclass's repr"
        )

    @clause
    def test_spec_reads_what_is_declared(self) -> None:
        """`reads` names the batch keys that the model is called with, in order."""
        assert tuple(self.spec.reads) == self.reads, (
            f"spec.reads is {self.spec.reads!r}, and the test declares reads = {self.reads!r}"
        )

    @clause
    def test_initial_window_is_as_declared(self) -> None:
        """The specification states the `init_window` of the test, and `y` is an argument then."""
        got = window_of(self.spec)
        assert got == self.init_window, (
            f"the specification states an initial window of {got} samples, and the test declares "
            f"init_window = {self.init_window}; give the specification and the model the property "
            "init_window"
        )
        if self.init_window:
            assert y_argument(self._model()) is not None, (
                "the specification has an init_window, and the model has none; give it both"
            )

    @clause
    def test_quantities_are_numbers_with_units(self) -> None:
        """`quantities`, where there is one, gives each a finite number and the text of its unit."""
        model = self._model()
        if not isinstance(model, MeasuringModel):
            return
        for name, (value, unit) in model.quantities().items():
            finite = np.shape(value) == () and bool(np.isfinite(value))
            assert finite, f"the quantity {name!r} is {value}; give one finite number"
            assert isinstance(unit, str), f"the unit of {name!r} is {unit!r}; give a text"

    @clause
    def test_output_shape(self) -> None:
        """The output is (batch, time, n_y), or (batch, n_y) where the targets are scalars."""
        n_y = len(self._signals().names[self.target])
        expected = (3, self._time, n_y) if self.target == "y" else (3, n_y)
        got = self._outputs().shape
        assert got == expected, f"the output has shape {got}, expected {expected}"
        model, inputs = self._model(), self._inputs()
        got = training_shape(model, inputs, self._options(model))
        assert got == expected, f"in training, the output has shape {got}, expected {expected}"

    @clause
    def test_output_dtype(self) -> None:
        """The output of float32 inputs is float32."""
        dtype = self._outputs().dtype
        assert dtype == jnp.float32, f"the output is {dtype}, expected float32"

    @clause
    def test_output_is_finite(self) -> None:
        """Finite inputs give finite outputs, inputs that rest at their mean among them."""
        for what, inputs in (("", self._inputs()), (" at rest", self._inputs_at_rest())):
            output = run(self._model(), inputs)
            bad = int((~jnp.isfinite(output)).sum())
            assert not bad, f"{bad} of {output.size} output values{what} are NaN or infinite"

    @clause
    def test_same_rngs_give_same_parameters(self) -> None:
        """Two models built with equal `rngs` have equal parameters."""
        first, second = (params_of(self._build(seed=1)) for _ in range(2))
        differing = [name for name in first if not np.array_equal(first[name], second[name])]
        assert not differing, (
            f"{', '.join(differing)} differ between two builds with nnx.Rngs(1); draw parameters "
            "from rngs alone"
        )

    @clause
    def test_other_rngs_give_other_parameters(self) -> None:
        """Two models built with different `rngs` have different parameters."""
        first, second = (params_of(self._build(seed=seed)) for seed in (1, 2))
        assert any(not np.array_equal(first[name], second[name]) for name in first), (
            "nnx.Rngs(1) and nnx.Rngs(2) give equal parameters; draw them from rngs"
        )

    @clause
    def test_jitted_equals_eager(self) -> None:
        """The compiled model gives what the model gives without compilation."""
        model, inputs = self._model(), self._inputs()
        model.eval()
        eager = model(*inputs)
        error = self._error(eager, run(model, inputs))
        assert error <= TOLERANCE, f"compiled and eager outputs differ by {error:.2g} std"

    @clause
    def test_equal_shapes_do_not_recompile(self) -> None:
        """A call leaves the structure of the model as it was, so that no later call recompiles."""
        model = self._model()
        model.eval()
        traces = []

        def run(graphdef: Any, state: Any, inputs: Sequence[Array]) -> Array:
            traces.append(graphdef)
            y: Array = nnx.merge(graphdef, state)(*inputs)
            return y

        compiled = jax.jit(run, static_argnums=0)
        for seed in (0, 1):
            compiled(*nnx.split(model), self._inputs(seed=seed))
            model(*self._inputs(seed=seed))
        assert len(traces) == 1, (
            "two calls with equal shapes compiled twice, because the first changed an attribute of "
            "the model that is no nnx.Variable; keep what changes in a Variable"
        )

    @clause
    def test_batch_rows_are_independent(self) -> None:
        """The output of one sequence does not depend on the other sequences of the batch."""
        model, inputs, others = self._model(), self._inputs(), self._inputs(seed=1)
        expected = run(model, inputs)
        for row in range(3):
            mixed = [x.at[row].set(other[row]) for x, other in zip(inputs, others, strict=True)]
            rest = np.arange(3) != row
            error = self._error(expected[rest], run(model, mixed)[rest])
            assert error <= TOLERANCE, (
                f"other values in row {row} of the batch change the outputs of other rows by "
                f"{error:.2g} std; reduce over time or channels, never over the batch"
            )
        error = self._error(expected[:1], run(model, [x[:1] for x in inputs]))
        assert error <= TOLERANCE, (
            f"alone, the first row of the batch has another output, by {error:.2g} std; the number "
            "of rows must not matter"
        )

    @clause
    def test_causal(self) -> None:
        """The output at t depends on no input after t, if the model is declared causal."""
        if "u" not in self.reads or self.target != "y":
            return
        paths = self._paths("u")
        ahead = np.argwhere(np.triu(paths, 1))
        if not self.causal:
            assert len(ahead), "declared causal = False, and no later input reaches an output"
            return
        assert not len(ahead), (
            f"the output at t = {ahead[0][0]} depends on u at t = {ahead[0][1]}; "
            "pad at the beginning only, or declare causal = False"
        )
        start, inputs, others = 64, *(self._inputs(time=256, seed=seed) for seed in (0, 1))
        later = [
            _changed(x, other, slice(start, None)) for x, other in zip(inputs, others, strict=True)
        ]
        model = self._model()
        first, second = (run(model, given)[:, :start] for given in (inputs, later))
        error = self._error(first, second)
        assert "y" in self.reads or error <= TOLERANCE, (
            f"other inputs from t = {start} on change outputs before by {error:.2g} std; look at "
            "no later input, however far, or declare causal = False"
        )

    @clause
    def test_measured_outputs_do_not_leak(self) -> None:
        """After the initial window, the output at t depends on no measured output at or after t."""
        if "y" not in self.reads or self.target != "y":
            return
        paths = np.triu(self._paths("y"))
        paths[:, : self.init_window] = False
        leaks = np.argwhere(paths)
        assert not len(leaks), (
            f"the output at t = {leaks[0][0]} depends on the measured y at t = {leaks[0][1]}, "
            f"outside the initial window of {self.init_window} samples; delay y by one sample"
        )

    @clause
    def test_memory_is_as_declared(self) -> None:
        """The output at t depends on no input before the `receptive_field` that the spec states."""
        if not isinstance(self.spec, FiniteMemory) or self.spec.receptive_field is None:
            return
        if "u" not in self.reads or self.target != "y":
            return
        field, time = self.spec.receptive_field, self.init_window + self.spec.receptive_field + 8
        paths = self._paths("u", time=time)
        older = np.argwhere(np.tril(paths, -field))
        assert not len(older), (
            f"receptive_field is {field}, and the output at t = {older[0][0]} depends on u at "
            f"t = {older[0][1]}, {older[0][0] - older[0][1] + 1} samples with the present one"
        )
        model, inputs, others = self._model(), self._inputs(time=time), self._inputs(1, time=time)
        earlier = [_changed(x, other, slice(8)) for x, other in zip(inputs, others, strict=True)]
        last = 7 + field
        error = self._error(run(model, inputs)[:, last:], run(model, earlier)[:, last:])
        assert error <= TOLERANCE, (
            f"receptive_field is {field}, and other inputs before that change an output by "
            f"{error:.2g} std"
        )

    @clause
    def test_intermediate_values_come_with_the_same_output(self) -> None:
        """`call_with_aux` gives the output of the model, and named arrays with the batch first."""
        model, inputs = self._model(), self._inputs()
        if not isinstance(model, AuxModel):
            return
        output, aux = run(model, inputs, method="call_with_aux")
        error = self._error(output, run(model, inputs))
        assert error <= TOLERANCE, f"call_with_aux gives other outputs, by {error:.2g} std"
        for name, value in aux.items():
            assert value.shape[:1] == (3,), (
                f"aux {name!r} has shape {value.shape} for a batch of 3; the batch comes first"
            )
            assert jnp.isfinite(value).all(), f"aux {name!r} has values that are NaN or infinite"

    @clause
    def test_gradients_are_finite(self) -> None:
        """In training mode, the gradient for every parameter is finite, for inputs at rest too."""
        for what, inputs in (("", self._inputs()), (" at rest", self._inputs_at_rest())):
            found = self._gradients(inputs)
            bad = [name for name, g in found.items() if not np.isfinite(g).all()]
            assert not bad, f"the gradients{what} for {', '.join(bad)} are NaN or infinite"

    @clause
    def test_gradients_reach_every_parameter(self) -> None:
        """In training mode, no parameter has a gradient that is zero throughout."""
        unreached = [name for name, g in self._gradients().items() if not np.any(g)]
        assert not unreached, (
            f"the output does not depend on the parameters {', '.join(unreached)}; remove them, or "
            "keep what is not trained in tsjax_core.Buffer"
        )

    @clause
    def test_statistics_are_not_trained(self) -> None:
        """Statistics of the data are no parameters: equal rngs draw equal ones for other data."""
        first, again = (params_of(self._build()) for _ in range(2))
        other = params_of(self._build(self._signals(seed=1)))
        taken = [
            name
            for name in first
            if np.array_equal(first[name], again[name])
            and not np.array_equal(first[name], other[name])
        ]
        assert not taken, (
            f"the parameters {', '.join(taken)} come from the statistics of the data; keep those "
            "in tsjax_core.Buffer, for example with tsjax_core.models.scaling.Standardize"
        )

    @clause
    def test_saved_model_gives_equal_outputs(self) -> None:
        """A model that is saved and loaded again gives equal outputs."""
        signals, model = self._signals(), self._model()
        inputs = [np.asarray(x) for x in self._inputs()]
        with tempfile.TemporaryDirectory() as folder:
            loaded = load_model(save_model(model, self.spec, signals, Path(folder) / "model"))
        error = self._error(predict(model, *inputs), predict(loaded, *inputs))
        assert error == 0.0, (
            f"the loaded model's outputs differ by {error:.2g} std; what decides the output is "
            "a hyperparameter, or is kept in an nnx.Variable"
        )

    @clause
    def test_one_and_several_channels(self) -> None:
        """The model works for every declared number of inputs and outputs."""
        for n_u, n_y in self.channels:
            output = self._outputs(self._signals(n_u, n_y))
            assert output.shape[-1:] == (n_y,), (
                f"with {n_u} inputs and {n_y} outputs, the output has shape {output.shape}"
            )
            assert output.ndim == self._outputs().ndim, (
                f"with {n_u} inputs and {n_y} outputs, the output has {output.ndim} axes"
            )
            # The clause on them reports values that are never finite.
            assert jnp.isfinite(output).all() or not jnp.isfinite(self._outputs()).all(), (
                f"with {n_u} inputs and {n_y} outputs, the output is NaN or infinite"
            )

    @clause
    def test_units_of_the_data_scale_the_output(self) -> None:
        """Data in other units, with their own statistics, give the same output in those units."""
        signals = self._signals()
        factors = {key: _factors(len(names)) for key, names in signals.names.items()}
        stats = {
            key: NormStats(value.mean * factors[key], value.std * factors[key])
            for key, value in signals.stats.items()
        }
        scaled = replace(signals, stats=stats)
        model, other = self._model(), self._build(scaled)
        nnx.update(other, nnx.state(model, nnx.Param))
        inputs = self._inputs()
        changed = [x * factors[key] for key, x in zip(self.reads, inputs, strict=True)]
        error = self._error(run(model, inputs), run(other, changed) / factors[self.target])
        assert error <= TOLERANCE, (
            f"the output in other units differs by {error:.2g} std; normalise inputs and outputs "
            "with signals.stats inside the model, or override the clause with the reason, such as "
            "parameters that are in SI units"
        )

    @property
    def _time(self) -> int:
        return self.init_window + self.steps

    def _signals(self, n_u: int | None = None, n_y: int | None = None, *, seed: int = 0) -> Signals:
        assert all(isinstance(pair, Sequence) and len(pair) == 2 for pair in self.channels), (
            f"channels is {self.channels!r}; give pairs of numbers, such as ((1, 1), (2, 3))"
        )
        first_u, first_y = self.channels[0]
        n_y = n_y or first_y
        return sample_signals(
            n_u or first_u,
            n_y if self.target == "y" else 0,
            n_u_scalar=2 if "u_scalar" in self.reads else 0,
            n_y_scalar=n_y if self.target == "y_scalar" else 0,
            dt=self.dt,
            seed=seed,
        )

    def _build(self, signals: Signals | None = None, *, seed: int = 1) -> Any:
        try:
            model = self.spec.build(signals or self._signals(), rngs=nnx.Rngs(seed))
            nnx.split(model)
        except Exception as error:
            if signals is not None:
                self._build()
                raise
            raise Blocked("the model cannot be built, see test_model_can_be_built") from error
        return model

    def _model(self, signals: Signals | None = None) -> Any:
        """Return a model with disturbed parameters."""
        model = self._build(signals)
        disturb(model)
        return model

    def _inputs(
        self, seed: int = 0, *, time: int | None = None, signals: Signals | None = None
    ) -> list[Array]:
        batch = sample_batch(signals or self._signals(), time=time or self._time, seed=seed)
        return [batch[key] for key in self.reads]

    def _inputs_at_rest(self) -> list[Array]:
        stats = self._signals().stats
        return [
            jnp.broadcast_to(jnp.asarray(stats[key].mean), x.shape)
            for key, x in zip(self.reads, self._inputs(), strict=True)
        ]

    def _outputs(self, signals: Signals | None = None) -> Array:
        y: Array = run(self._model(signals), self._inputs(signals=signals))
        return y

    def _error(self, first: Any, second: Any) -> float:
        """Return the largest difference in standard deviations; NaN at one place is equal.

        Relative to the largest output where that is more than one standard deviation from the
        mean, because rounding grows with it.
        """
        stats = self._signals().stats[self.target]
        a, b = ((np.asarray(x, np.float64) - stats.mean) / stats.std for x in (first, second))
        same = (np.isnan(a) & np.isnan(b)) | (a == b)
        size = np.max(np.abs(a), initial=1.0, where=np.isfinite(a))
        return float(np.max(np.where(same, 0.0, np.abs(a - b)), initial=0.0) / size)

    def _paths(self, key: str, time: int | None = None) -> HostArray:
        """Return whether the output at t depends on the input `key` at s, (t, s).

        The Jacobian finds every differentiable path. Other values from s on, for each s, find those
        from present and later inputs that have no derivative.
        """
        model, inputs = self._model(), self._inputs(time=time)
        position = self.reads.index(key)

        def one_sequence(x: Array) -> Array:
            given = [value[:1] for value in inputs]
            given[position] = x[None]
            y: Array = run(model, given)[0]
            return y

        paths = jacobian_paths(one_sequence, inputs[position][0])
        expected, other = run(model, inputs), self._inputs(1, time=time)[position]
        std = self._signals().stats[self.target].std
        for s in range(paths.shape[1]):
            changed = list(inputs)
            changed[position] = _changed(inputs[position], other, slice(s, None))
            difference = np.abs(np.asarray(run(model, changed) - expected))[:, : s + 1] / std
            moved = difference.max(axis=(0, 2)) > TOLERANCE
            paths[: len(moved), s] |= moved
        return paths

    def _options(self, model: Any) -> dict[str, Any]:
        """Return the keyword arguments that the model is given in training."""
        offered = {
            "key": jax.random.key(3),
            "progress": jnp.float32(0.5),
            "batch": sample_batch(self._signals(), time=self._time),
        }
        wants = declare("model", model, self.reads).wants
        return {name: offered[name] for name in wants}

    def _gradients(self, inputs: Sequence[Array] | None = None) -> dict[str, HostArray]:
        """Return the gradient of the mean squared output in training mode, by parameter."""
        model, std = self._model(), self._signals().stats[self.target].std
        return gradients(model, inputs or self._inputs(), self._options(model), std)


def _classes_of(value: Any) -> Iterator[type]:
    """Yield the classes of a specification and of what stands within it."""
    if isinstance(value, Mapping | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _classes_of(each)
    elif is_dataclass(value):
        yield type(value)
        for field in fields(value):
            yield from _classes_of(getattr(value, field.name))


def _changed(x: Array, other: Array, times: slice) -> Array:
    """Return `x` with the samples of `other` at `times`; scalars stay."""
    return x.at[:, times].set(other[:, times]) if x.ndim == 3 else x


def _factors(n: int) -> HostArray:
    """Return powers of two, so that other units change no digit of the normalised values."""
    return np.asarray(np.float32(2.0) ** np.where(np.arange(n) % 2, -3, 5))
