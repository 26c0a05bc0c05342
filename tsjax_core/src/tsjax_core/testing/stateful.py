"""The contract of a model that carries its state from chunk to chunk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.protocols import FiniteMemory, StatefulModel
from tsjax_core.testing.contract import clause
from tsjax_core.testing.models import TOLERANCE, ModelConformance
from tsjax_core.testing.probes import run
from tsjax_core.types import Array


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
        if isinstance(self.spec, FiniteMemory):
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

    def _stateful(self) -> StatefulModel:
        model = self._model()
        assert isinstance(model, StatefulModel), (
            f"{type(model).__name__} has no initial_state and advance; test it with "
            "ModelConformance, or give it both."
        )
        return model


def _advance(model: StatefulModel, inputs: Sequence[Array], state: Any) -> tuple[Array, Any]:
    graphdef, variables = nnx.split(cast("nnx.Module", model))
    y, after = _advance_jitted(graphdef, variables, inputs, state)
    return y, after


@partial(jax.jit, static_argnums=0)
def _advance_jitted(
    graphdef: Any, variables: Any, inputs: Sequence[Array], state: Any
) -> tuple[Array, Any]:
    model: Any = nnx.merge(graphdef, variables)
    model.eval()
    y, after = model.advance(inputs[0], state, *inputs[1:])
    return y, after
