"""Simulation one sample at a time, for loops that wait for each output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import isfinite
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.inference.chunks import check_stateful, fit_state
from tsjax_core.inference.predict import len_outputs, predict_stateful, y_argument
from tsjax_core.protocols import InitialWindow
from tsjax_core.types import HostArray


class Simulator:
    """Runs a model one sample at a time, as fast as that can be done from Python.

    The outputs are those of the model for the whole record, to rounding. The parameters are
    compiled into the program as constants: later training of the model does not reach it. The
    first step compiles; to have that done before a loop begins, take a step and `reset`. The
    program runs on the processor, wherever the model was trained.

    Args:
        model: A `StatefulModel`. One that reads measured outputs at the start of a record takes
            its first steps in `begin`.
        further: Inputs beside `u` that are constant over the record, such as those of `u_scalar`,
            each (n,).

    Raises:
        ModelError: `model` is not stateful, or `further` is not constant and finite.
    """

    def __init__(self, model: Any, *, further: Sequence[Any] = ()) -> None:
        check_stateful("Simulator", model)
        graphdef, variables = nnx.split(model)
        variables = jax.tree.map(np.asarray, variables)
        constants = [np.asarray(x, np.float32)[None] for x in further]
        self._model, self._further = model, tuple(further)
        self._window = model.init_window if isinstance(model, InitialWindow) else 0
        place = y_argument(model)
        for x in constants:
            if x.ndim != 2 or not np.isfinite(x).all():
                raise ModelError(
                    f"Simulator got a further input of shape {x.shape[1:]}; give finite values, "
                    "(n,), that are constant over the record."
                )
        if place is not None:
            # Beyond the window the model does not look at it.
            constants.insert(place, np.zeros((1, 1, len_outputs(model)), np.float32))
        self._initial = jax.tree.map(np.asarray, model.initial_state(1))
        self._packing = packing = _Packing(self._initial)

        def advance(u: Any, packed: Any) -> Any:
            evaluated: Any = nnx.merge(graphdef, variables)
            evaluated.eval()
            y, state = evaluated.advance(u[None, None], packing.unpack(packed), *constants)
            return (y[0, 0] if y.ndim == 3 else y[0]), packing.pack(state, jnp.concatenate)

        self._compiled = jax.jit(advance)
        self._shape: tuple[int, ...] | None = None
        self._state: Any = None
        self.reset()

    def begin(self, u: Any, y: Any) -> HostArray:
        """Take the first steps of a record from measured samples, and return their outputs.

        `u` is (time, n_u) and `y` (time, n_y), at least as many as the model's initial window.
        Steps after them go on from there.

        Raises:
            ModelError: As `predict_stateful`.
        """
        out, state = predict_stateful(self._model, u, further=(y, *self._further))
        self.reset(state)
        return out

    def step(self, u: Any) -> HostArray:
        """Return the output (n_y,) for the next sample `u` (n_u,), or a number for one input.

        The array that is returned is read-only.

        Raises:
            ModelError: `u` does not have the channels of the model, or is NaN or infinite, which
                would spoil the state for good. The state is as before the step.
        """
        if self._is_fresh and self._window:
            raise ModelError(
                f"Simulator.step: the model reads the measured outputs of the first {self._window} "
                "samples; take these steps by begin(u, y)."
            )
        try:
            sample = np.asarray(u, np.float32)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"Simulator.step got u that is no array of numbers: {error}."
            ) from error
        # One product instead of a test of each channel; it may also exceed the largest number.
        if sample.shape != self._shape or not isfinite(sample.dot(sample)):
            sample = self._check_sample(sample)
        y, self._state = self._compiled(sample, self._state)
        self._shape = sample.shape
        return np.asarray(y)

    def reset(self, state: Any = None) -> None:
        """Go on from `state`, that of `state` or `predict_stateful` for one sequence, or from rest.

        Raises:
            ModelError: `state` does not fit the model. The state is as before.
        """
        self._is_fresh = state is None
        if state is None:
            state = self._initial
        fitting = fit_state(state, self._initial, caller="Simulator.reset")
        self._state = jax.device_put(self._packing.pack(fitting, np.concatenate), _processor())

    @property
    def state(self) -> Any:
        """The state after the last step, with the structure that `predict_stateful` returns."""
        return self._packing.unpack(jax.tree.map(np.asarray, self._state))

    def _check_sample(self, sample: HostArray) -> HostArray:
        if sample.ndim == 0:
            sample = sample[None]
        if sample.ndim != 1 or not sample.size or self._shape not in (None, sample.shape):
            wanted = "(n_u,)" if self._shape is None else str(self._shape)
            raise ModelError(
                f"Simulator.step got u with shape {sample.shape}; give one sample, {wanted}, or a "
                "number for one input."
            )
        if not np.isfinite(sample).all():
            raise ModelError(
                f"Simulator.step got u = {sample}, which is NaN or infinite; the state is as "
                "before. Hold the last good sample, or fill it in."
            )
        return sample


class _Packing:
    """Joins the arrays of a state in one, because each array that a program takes costs time.

    States whose arrays have different dtypes are left as they are.
    """

    def __init__(self, state: Any) -> None:
        leaves, self._structure = jax.tree.flatten(state)
        self._shapes = [x.shape for x in leaves]
        self._ends = np.cumsum([x.size for x in leaves]).tolist()
        self._joins = len({x.dtype for x in leaves}) == 1

    def pack(self, state: Any, concatenate: Callable[..., Any]) -> Any:
        if not self._joins:
            return state
        return concatenate([x.reshape(-1) for x in jax.tree.leaves(state)])

    def unpack(self, packed: Any) -> Any:
        if not self._joins:
            return packed
        begins = [0, *self._ends]
        leaves = [
            packed[begin:end].reshape(shape)
            for begin, end, shape in zip(begins, self._ends, self._shapes, strict=False)
        ]
        return jax.tree.unflatten(self._structure, leaves)


@cache
def _processor() -> Any:
    """Return a device that computes in the thread that calls it.

    The device that jax offers hands every program to another thread, which takes three times as
    long as a step does, and there is no setting for one program. Without this device steps are as
    correct and slower.
    """
    try:
        from jaxlib import xla_client

        client: Any = xla_client.make_cpu_client(asynchronous=False)
        return client.local_devices()[0]
    except (ImportError, AttributeError, TypeError):
        return jax.local_devices(backend="cpu")[0]
