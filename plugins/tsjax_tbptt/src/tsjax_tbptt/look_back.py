"""A chunk from the state before it, or from an older one so that the gradient reaches back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from tsjax_core.types import Array


class Memory(NamedTuple):
    """What is kept of each row between two chunks.

    `present` is the state before the next chunk. With a look-back, `older` is one that stood
    `depth` (batch,) samples before that, and `inputs` are the last samples before the next chunk,
    each (batch, look_back, n).
    """

    present: Any
    older: Any
    depth: Array
    inputs: list[Array]


class Advance(Protocol):
    """Runs the model for the arrays it reads; for the chunk itself (`last`) as training asks."""

    def __call__(self, chunk: tuple[Array, ...], state: Any, *, last: bool) -> tuple[Any, ...]:
        """Return outputs and state, and perhaps more."""
        ...


def pick_rows(where: Array, first: Any, second: Any) -> Any:
    """Return the rows of `first` where `where` (batch,) is true, else those of `second`."""

    def pick(a: Array, b: Array) -> Array:
        return jnp.where(where.reshape(-1, *(1,) * (jnp.ndim(a) - 1)), a, b)

    return jax.tree.map(pick, first, second)


def cuts_of(look_back: int, length: int) -> list[int]:
    """Return where the past is cut: at its ends, and where chunks of `length` samples began.

    A state that is older than the past is taken up at the place `length`. Places are counted from
    the beginning of the past, `look_back` samples before the chunk.
    """
    begins = {look_back - k * length for k in range(look_back // length + 1)}
    return sorted({0, *begins} | {length} & set(range(look_back)))


def run_chunk(
    advance: Advance,
    inputs: tuple[Array, ...],
    in_time: Sequence[bool],
    before: Memory,
    goes_on: Array,
    fresh: Any,
    look_back: int,
) -> tuple[tuple[Any, ...], Memory]:
    """Return what `advance` gives for a chunk but the state, and the memory after it.

    Args:
        advance: Runs the model.
        inputs: What the model reads for the chunk.
        in_time: Which of `inputs` have a time axis.
        before: The memory after the chunk before; no gradient flows into it.
        goes_on: Rows that go on from it, (batch,); the others begin from `fresh`.
        fresh: The initial state.
        look_back: Samples before the chunk through which the gradient flows.
    """
    state = pick_rows(goes_on, before.present, fresh)
    if not look_back:
        y, after, *more = advance(inputs, state, last=True)
        return (y, *more), Memory(after, None, before.depth, [])

    length = inputs[0].shape[1]
    now = [x for x, has_time in zip(inputs, in_time, strict=True) if has_time]
    # A row that begins has no past. It is given one at rest, so that what is computed from it, and
    # then thrown away, is finite and has a finite gradient.
    past = [
        pick_rows(goes_on, old, jnp.broadcast_to(x[:, :1], old.shape))
        for old, x in zip(before.inputs, now, strict=True)
    ]
    every = [jnp.concatenate(pair, axis=1) for pair in zip(past, now, strict=True)]

    def part(begin: int, end: int) -> tuple[Array, ...]:
        rest = iter(every)
        return tuple(
            next(rest)[:, begin:end] if has_time else x
            for x, has_time in zip(inputs, in_time, strict=True)
        )

    cuts = cuts_of(look_back, length)
    # After a chunk of another length, the older state may stand between two cuts: the gradient of
    # that row then begins with the chunk.
    reached = goes_on & jnp.isin(look_back - before.depth, jnp.array(cuts))
    older = pick_rows(reached, before.older, state)
    depth = jnp.where(reached, before.depth, 0)

    state = taken_up = pick_rows(depth == look_back, older, fresh)
    for begin, end in pairwise(cuts):
        _, state = advance(part(begin, end), state, last=False)
        state = pick_rows(depth == look_back - end, older, state)
        if end == length:
            taken_up = state
    if length > look_back:
        _, taken_up = advance(part(look_back, length), jax.lax.stop_gradient(state), last=False)
    y, after, *more = advance(part(look_back, look_back + length), state, last=True)
    kept = [x[:, length:] for x in every]
    fits = depth + length <= look_back
    memory = Memory(
        after,
        pick_rows(fits, older, taken_up),
        jnp.where(fits, depth + length, look_back),
        kept,
    )
    return (y, *more), memory
