"""The contract of a model that carries its state from chunk to chunk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.inference.saved_model import load_model, save_model
from tsjax_core.models.state import flatten_state, unflatten_state
from tsjax_core.protocols import (
    AuxModel,
    CarryingModel,
    EstimatedState,
    FiniteMemory,
    StatefulAuxModel,
    StatefulModel,
)
from tsjax_core.signatures import declare
from tsjax_core.testing.contract import clause
from tsjax_core.testing.models import TOLERANCE, ModelConformance
from tsjax_core.testing.probes import run
from tsjax_core.testing.samples import sample_batch
from tsjax_core.types import Array, Carry


class StatefulModelConformance(ModelConformance):
    """What a `StatefulModel` keeps beyond what every model keeps.

    `advance` is called in evaluation mode, with the chunk of the first key in `reads`, the state,
    and the chunks of further keys; scalars are given to every chunk.

    Facts:
        chunks: Lengths that the sequence is cut into for the clause on chunks, two or more; a
            receptive field and an initial window are added to them.
    """

    chunks: Sequence[int] = (1, 7, 1, 40, 3)

    @clause
    def test_state_has_a_row_for_each_sequence(self) -> None:
        """The leaves of `initial_state(n)` are arrays whose first axis, and no other, is n long."""
        model = self._stateful()
        first, second = (jax.tree.leaves(model.initial_state(n)) for n in (2, 5))
        for a, b in zip(first, second, strict=True):
            shapes = jnp.shape(a), jnp.shape(b)
            assert (shapes[0][:1], shapes[1][:1]) == ((2,), (5,)), (
                f"initial_state(2) has a leaf of shape {shapes[0]}, which is {shapes[1]} in "
                "initial_state(5); the first axis of each leaf is the batch"
            )
            assert shapes[0][1:] == shapes[1][1:], (
                f"a leaf has shape {shapes[0]} for a batch of 2 and {shapes[1]} for one of 5; only "
                "the first axis may change"
            )

    @clause
    def test_state_keeps_its_structure(self) -> None:
        """The state after a chunk has the structure, shapes and dtypes of the initial state."""
        model, inputs = self._stateful(), self._inputs(time=self.chunks[0])
        before = model.initial_state(3)
        _, after = _advance(model, inputs, before)
        described = [
            (jax.tree.structure(state), [(jnp.shape(x), jnp.result_type(x)) for x in leaves])
            for state in (before, after)
            for leaves in [jax.tree.leaves(state)]
        ]
        assert described[0] == described[1], (
            f"the initial state is {described[0]}, and the state after a chunk {described[1]}"
        )

    @clause
    def test_chunks_equal_the_whole(self) -> None:
        """Chunk by chunk, with the state carried, the outputs are those of the whole sequence."""
        lengths = list(self.chunks)
        # Long enough for what the model remembers, and for a chunk after its initial window.
        if isinstance(self.spec, FiniteMemory) and self.spec.receptive_field is not None:
            lengths.append(self.spec.receptive_field)
        if self.init_window:
            lengths += [self.init_window, lengths[1]]
        model, inputs = self._stateful(), self._inputs(time=sum(lengths))
        whole = run(model, inputs)
        state, parts = model.initial_state(3), []
        for stop, length in zip(np.cumsum(lengths), lengths, strict=True):
            chunk = [x[:, stop - length : stop] if x.ndim == 3 else x for x in inputs]
            y, state = _advance(model, chunk, state)
            parts.append(y)
        error = self._error(whole, np.concatenate(parts, axis=1))
        assert error <= TOLERANCE, (
            f"in chunks of {', '.join(map(str, lengths))} samples, the outputs differ from the "
            f"whole by {error:.2g} std"
        )

    @clause
    def test_state_can_be_one_array(self) -> None:
        """`unflatten_state` gives back the state of which `flatten_state` made one array."""
        model, inputs = self._stateful(), self._inputs(time=self.chunks[1])
        before = model.initial_state(3)
        _, state = _advance(model, inputs, before)
        shapes = [[jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (before, state)]
        if shapes[0] != shapes[1] or any(shape[:1] != (3,) for shape in shapes[0]):
            # Other clauses report that.
            return
        again = unflatten_state(flatten_state(state), model.initial_state(1))
        for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
            assert np.array_equal(before, after), (
                "a state changes when it is made one array and back; its leaves are arrays of "
                "floating-point numbers, (batch, ...)"
            )

    @clause
    def test_intermediate_values_come_with_every_chunk(self) -> None:
        """`advance_with_aux` gives what `advance` gives, and the values of `call_with_aux`."""
        model, inputs = self._stateful(), self._inputs(time=sum(self.chunks[:2]))
        if not isinstance(model, StatefulAuxModel):
            return
        whole = run(model, inputs, method="call_with_aux")[1] if isinstance(model, AuxModel) else {}
        state, start = model.initial_state(3), 0
        for length in self.chunks[:2]:
            chunk = [x[:, start : start + length] if x.ndim == 3 else x for x in inputs]
            expected, after = _advance(model, chunk, state)
            y, state, aux = _advance(model, chunk, state, "advance_with_aux")
            error = self._error(expected, y)
            assert error <= TOLERANCE, f"advance_with_aux gives other outputs, by {error:.2g} std"
            for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
                assert np.allclose(a, b, atol=1e-5), "advance_with_aux gives another state"
            for name, value in aux.items():
                assert value.shape[:1] == (3,), (
                    f"aux {name!r} has shape {value.shape} for a batch of 3; the batch comes first"
                )
                if name in whole and value.ndim == 3 and value.shape[1] == length:
                    part = whole[name][:, start : start + length]
                    assert np.allclose(part, value, atol=1e-4), (
                        f"aux {name!r} of a chunk differs from that of the whole sequence"
                    )
            start += length

    @clause
    def test_estimated_state_has_the_form_of_the_state(self) -> None:
        """`estimate_state`, where there is one, gives a finite state in the form of a state."""
        model, signals = self._stateful(), self._signals()
        if not isinstance(model, EstimatedState):
            return
        batch = sample_batch(signals, time=24)
        state = model.estimate_state(batch["u"], batch["y"])
        like = model.initial_state(3)
        got: Any = jax.tree.structure(state)
        wanted: Any = jax.tree.structure(like)
        assert got == wanted, f"estimate_state gives {got}, and the initial state is {wanted}"
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(like), strict=True):
            assert jnp.shape(a) == jnp.shape(b), (
                f"estimate_state gives a part of shape {jnp.shape(a)}, expected {jnp.shape(b)}"
            )
            assert jnp.isfinite(a).all(), "estimate_state gives values that are NaN or infinite"

    def _stateful(self) -> StatefulModel:
        model = self._model()
        assert isinstance(model, StatefulModel), (
            f"{type(model).__name__} has no initial_state and advance; test it with "
            "ModelConformance, or give it both."
        )
        return model


def _advance(
    model: StatefulModel, inputs: Sequence[Array], state: Any, method: str = "advance"
) -> Any:
    graphdef, variables = nnx.split(cast("nnx.Module", model))
    return _advance_jitted(graphdef, variables, inputs, state, method)


@partial(jax.jit, static_argnums=(0, 4))
def _advance_jitted(
    graphdef: Any, variables: Any, inputs: Sequence[Array], state: Any, method: str
) -> Any:
    model: Any = nnx.merge(graphdef, variables)
    model.eval()
    return getattr(model, method)(inputs[0], state, *inputs[1:])


class CarryingModelConformance(StatefulModelConformance):
    """What a `CarryingModel` keeps beyond what every stateful model keeps.

    In training it declares `batch`, and is called with batches that carry `position`.
    """

    @clause
    def test_rows_go_on_from_batch_to_batch(self) -> None:
        """In training, a row goes on where it stopped: two batches give the whole's outputs."""
        first, second = self._train([self._part(0, 8), self._part(8, 20)])
        whole = run(self._model(), self._inputs(time=20))
        error = self._error(whole, np.concatenate([first, second], axis=1))
        assert error <= 10 * TOLERANCE, (
            f"two batches whose rows go on differ from the whole by {error:.2g} std; carry the "
            "state of every row, without its gradient, in tsjax_core.Carry variables"
        )

    @clause
    def test_a_row_at_position_zero_begins_anew(self) -> None:
        """A row whose position begins at 0 or below has no memory of the batch before."""
        _, second = self._train([self._part(0, 8), self._part(8, 20, begins=1)])
        fresh = run(
            self._model(), [x[:, 8:20] if x.ndim == 3 else x for x in self._inputs(time=20)]
        )
        error = self._error(fresh[1:2], second[1:2])
        assert error <= 10 * TOLERANCE, (
            f"row 1 begins a new sequence, and its outputs differ from those of one by {error:.2g} "
            "std; reset rows where batch['position'][:, 0] <= 0"
        )

    @clause
    def test_evaluation_does_not_see_the_carry(self) -> None:
        """After training, the outputs of an evaluation are those of before."""
        model = self._begun()
        before = run(model, self._inputs())
        self._train([self._part(0, 8)], model)
        error = self._error(before, run(model, self._inputs()))
        assert error <= TOLERANCE, (
            f"an evaluation after training differs by {error:.2g} std; look at the carry only "
            "where `batch` is given"
        )

    @clause
    def test_a_saved_model_has_no_carry(self) -> None:
        """A model that was trained with a carry can be saved and loaded, without it."""
        model = self._begun()
        self._train([self._part(0, 8)], model)
        with tempfile.TemporaryDirectory() as folder:
            path = save_model(model, self.spec, self._signals(), Path(folder) / "model")
            loaded = load_model(path)
        assert not jax.tree.leaves(nnx.state(loaded, Carry)), "the loaded model has a carry"

    def _begun(self) -> Any:
        model = cast("Any", self._stateful())
        assert isinstance(model, CarryingModel), (
            f"{type(model).__name__} has no begin_training(batch_size)"
        )
        model.begin_training(3)
        assert jax.tree.leaves(nnx.state(cast("nnx.Module", model), Carry)), (
            "begin_training makes no variable of the class tsjax_core.Carry"
        )
        return model

    def _part(self, start: int, stop: int, begins: int | None = None) -> dict[str, Array]:
        batch = sample_batch(self._signals(), time=20)
        part = {k: x[:, start:stop] if x.ndim == 3 else x for k, x in batch.items()}
        position = np.tile(np.arange(start, stop, dtype=np.int32), (3, 1))
        if begins is not None:
            position[begins] -= start
        return {**part, "position": jnp.asarray(position)}

    def _train(self, batches: Sequence[dict[str, Array]], model: Any = None) -> list[Any]:
        """Return the outputs for consecutive training batches, which change the carry."""
        model = self._begun() if model is None else model
        model.train()
        options = {"key": jax.random.key(3), "progress": jnp.float32(0.5)}
        wants = declare("model", model, self.reads).wants
        outputs = []
        for batch in batches:
            given = {name: value for name, value in options.items() if name in wants}
            inputs = [batch[key] for key in self.reads]
            outputs.append(np.asarray(model(*inputs, batch=batch, **given)))
        return outputs
