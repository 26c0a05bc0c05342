"""Simulation of whole sequences, and of parts of them with the state carried on.

Models that can be run chunk by chunk are, with their exact state: memory is that of one chunk
beside the inputs and outputs, and sequences of any length share a few compiled programs.
Parameters are arguments of these programs, so that models of equal structure share them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.protocols import StatefulModel
from tsjax_core.types import AnyArray, Array, HostArray

_SAMPLES_IN_A_CALL = 1 << 14
"""Of all sequences of a batch together. More of them leave the processor's caches."""

_SHORTEST_CHUNK = 64
"""Samples of each sequence, so that large batches do not spend their time in calls."""


class ModelRunner:
    """A model as it is at the moment, ready to be run in evaluation mode.

    Args:
        model: The model; later changes of its parameters do not reach the runner.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.is_stateful = isinstance(model, StatefulModel)
        self.graphdef, self.variables = nnx.split(model)

    def simulate(self, inputs: Sequence[AnyArray]) -> HostArray:
        """Return the outputs for whole sequences (batch, time, n) and scalars (batch, n)."""
        return self.begin(inputs)()

    def begin(self, inputs: Sequence[AnyArray]) -> Callable[[], HostArray]:
        """Begin to simulate whole sequences; the function returned waits for the outputs.

        A `StatefulModel` is given long sequences chunk by chunk. Sequences that do not fill the
        chunks are continued by their last sample, which changes no output before it.
        """
        arrays = [np.asarray(x) for x in inputs]
        batch_size, time = arrays[0].shape[:2]
        unequal = any(x.ndim == 3 and x.shape[1] != time for x in arrays)
        if unequal or not self.is_stateful:
            whole = _apply(self.graphdef, self.variables, arrays)
            return lambda: np.asarray(whole)
        # Of the whole, so that an error of the model has the shapes that were given.
        is_sequence = _shapes_of(_apply, self.graphdef, self.variables, arrays).ndim == 3
        if not is_long(arrays):
            length = padded_length(time) if is_sequence else time
            padded = _apply(self.graphdef, self.variables, _cut(arrays, 0, length))
            return lambda: np.asarray(padded)[:, :time] if is_sequence else np.asarray(padded)
        longest = _longest_chunk(batch_size)
        if is_sequence:
            length = _filled_length(time, longest)
            lengths = [length] * -(-time // length)
        else:
            # One output per sequence belongs to its last sample, after which nothing may follow.
            lengths = [longest] * (time // longest) + [time % longest] * (time % longest > 0)
        y, _ = self._in_chunks(arrays, self.initial_state(batch_size), lengths)
        return lambda: y

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of a `StatefulModel` before the first sample."""
        return _initial_state(self.graphdef, self.variables, batch_size)

    def simulate_from(
        self, state: Any, inputs: Sequence[HostArray], chunk: int | None, *, caller: str
    ) -> tuple[HostArray, Any]:
        """Return the outputs of a `StatefulModel` from `state` on, and the exact state after them.

        `state` is None before the first sample. `chunk` is the samples of each sequence in one
        call; what is left over is called in powers of two, so that no length needs a program of its
        own.

        Raises:
            ModelError: `state` does not fit, as `fit_state` says, or a further sequence is shorter
                or longer than the first.
        """
        batch_size, time = inputs[0].shape[:2]
        for x in inputs[1:]:
            if x.ndim == 3 and x.shape[1] != time:
                raise ModelError(
                    f"{caller} got a further input of shape {x.shape} for u of {time} samples; "
                    "give as many samples of both."
                )
        if state is None:
            state = self.initial_state(batch_size)
        else:
            expected = _shapes_of(_initial_state, self.graphdef, self.variables, batch_size)
            state = jax.tree.map(jnp.asarray, fit_state(state, expected, caller=caller))
        longest = _longest_chunk(batch_size) if chunk is None else chunk
        rest = time % longest
        powers = [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
        lengths = [longest] * (time // longest) + powers
        try:
            return self._in_chunks(inputs, state, lengths)
        except ModelError:
            # The model's own error, with the shape that was given instead of a chunk's.
            _shapes_of(_advance, self.graphdef, self.variables, inputs, state)
            raise

    def _in_chunks(
        self, inputs: Sequence[HostArray], state: Any, lengths: Sequence[int]
    ) -> tuple[HostArray, Any]:
        """Return the outputs for chunks of `lengths`, one after the other, and the last state."""
        time, start = inputs[0].shape[1], 0
        whole = y = np.empty(0)
        for length in lengths:
            part, state = _advance(
                self.graphdef, self.variables, _cut(inputs, start, length), state
            )
            y = np.asarray(part)
            if y.ndim == 3:
                if not start:
                    whole = np.empty((len(y), time, y.shape[-1]), y.dtype)
                whole[:, start : start + length] = y[:, : time - start]
            start += length
        return (whole if y.ndim == 3 else y), state


def padded_length(length: int) -> int:
    """Return the smallest m 2^e with m from 8 to 15 that is not below `length`.

    Records of similar length then share one compiled program, at up to 12.5 % more samples.
    """
    if length < 16:
        return length
    step: int = 1 << (length.bit_length() - 4)
    return -(-length // step) * step


def is_long(inputs: Sequence[AnyArray]) -> bool:
    """Return whether the sequences (batch, time, n) are more than one call to the device takes."""
    batch_size, time = inputs[0].shape[:2]
    return time > _longest_chunk(batch_size)


def check_stateful(caller: str, model: Any) -> None:
    """Raise ModelError unless `model` is a `StatefulModel`."""
    if not isinstance(model, StatefulModel):
        raise ModelError(
            f"{caller} got a {type(model).__name__}, which has no initial_state and advance, and "
            "so no state to carry on. Give a model that is a StatefulModel, or the whole record "
            "to `predict`."
        )


def fit_state(state: Any, expected: Any, *, caller: str) -> Any:
    """Return `state` with the dtypes of `expected`.

    Raises:
        ModelError: Its structure or shapes are others; `caller` is named as who got it.
    """
    got: Any = jax.tree.structure(state)
    wanted: Any = jax.tree.structure(expected)
    shapes, wanted_shapes = (
        [np.shape(x) for x in jax.tree.leaves(tree)] for tree in (state, expected)
    )
    if got != wanted or shapes != wanted_shapes:
        raise ModelError(
            f"{caller} got a state of structure {got} with shapes {shapes}, and needs {wanted} "
            f"with shapes {wanted_shapes}, whose first axis is the number of sequences. Give the "
            "state that an earlier call for this model and as many sequences returned, or None "
            "to begin afresh."
        )
    return jax.tree.map(lambda x, like: np.asarray(x, like.dtype), state, expected)


@partial(jax.jit, static_argnums=0)
def _apply(graphdef: Any, variables: Any, inputs: Sequence[AnyArray]) -> Array:
    y: Array = merge_for_evaluation(graphdef, variables)(*inputs)
    return y


@partial(jax.jit, static_argnums=0)
def _advance(
    graphdef: Any, variables: Any, inputs: Sequence[AnyArray], state: Any
) -> tuple[Array, Any]:
    y, after = merge_for_evaluation(graphdef, variables).advance(inputs[0], state, *inputs[1:])
    return y, after


@partial(jax.jit, static_argnums=(0, 2))
def _initial_state(graphdef: Any, variables: Any, batch_size: int) -> Any:
    return merge_for_evaluation(graphdef, variables).initial_state(batch_size)


def merge_for_evaluation(graphdef: Any, variables: Any) -> Any:
    """Return the model of a structure and its variables, in evaluation mode."""
    model: Any = nnx.merge(graphdef, variables)
    model.eval()
    return model


def _shapes_of(compiled: Any, *arguments: Any) -> Any:
    """Return what `compiled` would return, as shapes; it is traced once for equal arguments."""
    return compiled.eval_shape(*arguments)


def _cut(inputs: Sequence[HostArray], start: int, length: int) -> list[HostArray]:
    """Return `length` samples of each sequence, continued by its last; scalars as they are."""
    cut = [x[:, start : start + length] if x.ndim == 3 else x for x in inputs]
    more = length - cut[0].shape[1]
    if not more:
        return cut
    return [np.pad(x, ((0, 0), (0, more), (0, 0)), "edge") if x.ndim == 3 else x for x in cut]


def _longest_chunk(batch_size: int) -> int:
    """Return the samples of each of `batch_size` sequences in one call, a power of two."""
    share = max(_SAMPLES_IN_A_CALL // batch_size, _SHORTEST_CHUNK)
    return 1 << (share.bit_length() - 1)


def _filled_length(time: int, longest: int) -> int:
    """Return the length up to `longest`, one of nine, whose multiples exceed `time` least."""
    lengths = range(longest, longest // 2 - 1, -longest // 16)
    return min(lengths, key=lambda length: -(-time // length) * length)
