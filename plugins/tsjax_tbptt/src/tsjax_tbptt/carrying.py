"""A model whose rows go on from batch to batch in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.protocols import AuxModel, FiniteMemory, StatefulAuxModel
from tsjax_core.signatures import name_of, wants_of
from tsjax_core.types import Array, Carry, Signals, is_sequence
from tsjax_tbptt.look_back import Memory, pick_rows, run_chunk
from tsjax_tbptt.randomness import check_randomness

if TYPE_CHECKING:
    from tsjax_tbptt.stateful import StatefulRNN

TRAINING: Final = ("key", "batch", "progress")
"""What a model may declare in training."""


class Held(nnx.Module):
    """What training holds of each row from batch to batch, a `Memory` in `Carry` variables.

    `next` is the position at which the row goes on, 0 where its sequence is at its end.
    """

    def __init__(self, memory: Memory) -> None:
        self.leaves = nnx.List([Carry(leaf) for leaf in jax.tree.leaves(memory)])
        self.next = Carry(jnp.zeros_like(memory.depth))

    def memory(self, like: Memory) -> Memory:
        """Return the memory, in the form of `like`."""
        leaves = [leaf[...] for leaf in self.leaves]
        memory: Memory = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return memory

    def keep(self, memory: Memory, position: Array) -> None:
        """Keep the memory after a chunk, and the position at which each row goes on."""
        for variable, leaf in zip(self.leaves, jax.tree.leaves(memory), strict=True):
            variable.set_value(leaf)
        self.next.set_value(position)


class CarriedModel(nnx.Module):
    """The model inside, trained with a carry.

    In training, with `position` in the batch, a row goes on where the batch before left it, if its
    first position is the one that follows; else it begins from the model's initial state. A row
    whose state is not finite begins anew too. Without `batch`, as in evaluation, or without
    `position`, it is the model inside.

    What else that model has (`receptive_field`, `init_window`, intermediate values,
    `estimate_state`, `quantities`) the classes of `carried_class` hand on.
    """

    def __init__(self, spec: StatefulRNN, inner: Any, signals: Signals) -> None:
        self.spec = spec
        self.inner = inner
        self.held: Held | None = None
        self._channels = tuple((len(signals.names[key]), is_sequence(key)) for key in spec.reads)

    @property
    def wants(self) -> frozenset[str]:
        """The keyword-only arguments that it is given in training."""
        return wants_of(self.inner) | wants_of(self.inner.advance) & {*TRAINING} | {"batch"}

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, None where there is no such number."""
        return self.inner.receptive_field if isinstance(self.inner, FiniteMemory) else None

    def begin_training(self, batch_size: int) -> None:
        """Make the carry for batches of so many rows.

        Raises ModelError for a model that is random in training as a whole and not in chunks.
        """
        check_randomness(self.inner, self._channels)
        self.held = nnx.data(Held(self._first_memory(batch_size)))

    def _first_memory(self, batch_size: int) -> Memory:
        state, look_back = self.inner.initial_state(batch_size), self.spec.look_back
        depth = jnp.zeros(batch_size, jnp.int32)
        if not look_back:
            return Memory(state, None, depth, [])
        widths = [n for n, in_time in self._channels if in_time]
        past = [jnp.zeros((batch_size, look_back, n)) for n in widths]
        return Memory(state, state, depth, past)

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of the model inside before the first sample."""
        return self.inner.initial_state(batch_size)

    def advance(
        self,
        u: Array,
        state: Any,
        *further: Array,
        key: Array | None = None,
        batch: Any = None,
        progress: Any = None,
    ) -> tuple[Array, Any]:
        """Run the model inside for one chunk; return its outputs and the state after it."""
        given = given_to(self.inner.advance, key, batch, progress)
        y, after = self.inner.advance(u, state, *further, **given)
        return y, after

    def __call__(
        self,
        u: Array,
        *further: Array,
        key: Array | None = None,
        batch: Any = None,
        progress: Any = None,
    ) -> Array:
        """Return the outputs for `u` (batch, time, n_u) and the further arrays that it reads."""
        if batch is None or "position" not in batch:
            y: Array = self.inner(u, *further, **given_to(self.inner, key, batch, progress))
            return y
        given = {"key": key, "batch": batch, "progress": progress}
        out, _ = self._train("advance", (u, *further), given)
        return out

    def run_with_aux(
        self, inputs: tuple[Array, ...], **given: Any
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return what a call gives, and the intermediate values of the model inside.

        Raises ModelError where it has those of whole sequences alone, and is trained in chunks.
        """
        inner, batch = self.inner, given["batch"]
        if batch is not None and "position" in batch:
            if not isinstance(inner, StatefulAuxModel):
                raise ModelError(
                    f"a loss declares 'aux', and {name_of(type(inner))} has no advance_with_aux "
                    "that would give them for chunks; leave the loss out, or train on windows."
                )
            return self._train("advance_with_aux", inputs, given)
        if isinstance(inner, AuxModel):
            y, aux = inner.call_with_aux(*inputs, **given_to(inner, **given))
            return y, aux
        state = inner.initial_state(len(inputs[0]))
        options = given_to(inner.advance_with_aux, **given)
        y, _, aux = inner.advance_with_aux(inputs[0], state, *inputs[1:], **options)
        return y, aux

    def _train(
        self, method: str, inputs: tuple[Array, ...], given: dict[str, Any]
    ) -> tuple[Array, Any]:
        """Return what `method` gives for the next chunk of each row but the state, which is kept.

        `method` is `advance`, or `advance_with_aux`, whose values are returned too.
        """
        held, position = self.held, given["batch"]["position"]
        if held is None:
            raise ModelError(
                f"{name_of(type(self.inner))} inside tbptt/rnn was given a batch with position "
                "before begin_training(batch_size), which makes the carry; a Learner calls it."
            )
        rows = len(position)
        if held.next.shape != (rows,):
            raise ModelError(
                f"begin_training made a carry of {held.next.shape[0]} rows, and a batch has "
                f"{rows}; give batches of one size, and begin_training(batch_size) for it."
            )
        first = self._first_memory(rows)
        before, fresh = held.memory(first), first.present
        goes_on = (position[:, 0] > 0) & (position[:, 0] == held.next[...])
        in_time = tuple(has_time for _, has_time in self._channels)
        whole, past = getattr(self.inner, method), self.inner.advance
        now, then = given_to(whole, **given), given_to(past, given["key"], None, given["progress"])

        def advance(chunk: tuple[Array, ...], state: Any, *, last: bool) -> tuple[Any, ...]:
            call, options = (whole, now) if last else (past, then)
            returned: tuple[Any, ...] = call(chunk[0], state, *chunk[1:], **options)
            return returned

        (y, *aux), after = run_chunk(
            advance,
            inputs,
            in_time,
            jax.lax.stop_gradient(before),
            goes_on,
            fresh,
            self.spec.look_back,
        )
        if y.ndim != 3:
            raise ModelError(
                f"{name_of(type(self.inner))} inside tbptt/rnn returns the shape {y.shape} for a "
                "chunk; training chunk by chunk needs an output at every sample, (batch, time, "
                "n_y)."
            )
        after, finite = _finite_rows(jax.lax.stop_gradient(after), fresh)
        # A sequence that ends within the chunk has -1 there.
        held.keep(after, jnp.where(finite, position[:, -1] + 1, 0))
        return y, aux[0] if aux else {}


def given_to(call: Any, key: Any, batch: Any, progress: Any) -> dict[str, Any]:
    """Return those of the values that are given and that `call` declares."""
    wants = wants_of(call)
    values = zip(TRAINING, (key, batch, progress), strict=True)
    return {name: value for name, value in values if name in wants and value is not None}


def _finite_rows(memory: Memory, fresh: Any) -> tuple[Memory, Array]:
    """Return the memory with the initial state in rows that are not finite, and which are."""
    finite = jnp.ones(len(memory.depth), bool)
    for leaf in jax.tree.leaves((memory.present, memory.older)):
        finite &= jnp.isfinite(leaf).all(axis=tuple(range(1, jnp.ndim(leaf))))
    present, older = (
        None if state is None else pick_rows(finite, state, fresh)
        for state in (memory.present, memory.older)
    )
    # Measured outputs may have gaps where the model does not look at them.
    inputs = [jnp.where(jnp.isfinite(x), x, 0.0) for x in memory.inputs]
    return Memory(present, older, memory.depth, inputs), finite
