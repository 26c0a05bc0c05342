"""Running a model on arrays that are not part of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.errors import ModelError
from tsjax_core.inference.chunks import check_stateful, simulate, simulate_from
from tsjax_core.types import HostArray


def predict(model: Any, u: Any, *further: Any) -> HostArray:
    """Return the outputs of `model` for the inputs `u`, both in raw physical units.

    The result has as many axes as `u`: (time,) for one input and one output, (time, n_u) gives
    (time, n_y), (batch, time, n_u) gives (batch, time, n_y). Models that read more than `u` take
    the rest in the order of `ModelSpec.reads`, each with the same leading axes as `u`.

    A `StatefulModel` takes memory for a chunk of the record beside its inputs and outputs, any
    other model for all of it.

    Raises:
        ModelError: `u` has another number of axes or channels than the model, holds values that
            are not finite, or the model has several outputs and `u` is (time,).
    """
    axes, inputs = _batched("predict", u, further)
    return _unbatched("predict", u, axes, simulate(model, inputs))


def predict_stateful(
    model: Any,
    u: Any,
    state: Any = None,
    chunk: int | None = None,
    *,
    further: Sequence[Any] = (),
) -> tuple[HostArray, Any]:
    """Return the outputs of `model` for the inputs `u` from `state` on, and the state after them.

    The state is exact: a record in parts of any length, each with the state that the call before
    returned, gives the outputs of the whole to rounding. It is left as it was, and can be used
    again.

    Args:
        model: A `StatefulModel`.
        u: Inputs in raw physical units and the forms that `predict` takes.
        state: What an earlier call returned, or `Simulator.state`; None begins afresh.
        chunk: Samples of each sequence in one call to the device. What is left over is called in
            powers of two, so that parts of all lengths need few compiled programs. Parts that
            all have the length `chunk` need one program and one call each.
        further: Inputs beside `u`, as `predict` takes them.

    Raises:
        ModelError: `model` is not stateful, `state` does not fit it or the number of sequences,
            or `u` is one that `predict` refuses.
        ConfigError: `chunk` is no positive whole number.
    """
    check_stateful("predict_stateful", model)
    axes, inputs = _batched("predict_stateful", u, further)
    length = None
    if chunk is not None:
        length = whole_number("chunk", chunk, "samples", least=1, of="predict_stateful")
    y, after = simulate_from(state, model, inputs, length, caller="predict_stateful")
    return _unbatched("predict_stateful", u, axes, y), after


def _batched(caller: str, u: Any, further: Sequence[Any]) -> tuple[int, list[HostArray]]:
    """Return the axes of `u`, and all inputs as finite arrays with an axis of sequences."""
    try:
        array = np.asarray(u, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{caller} got u that is no array of numbers: {error}.") from error
    if not 1 <= array.ndim <= 3 or not array.size:
        raise ModelError(
            f"{caller} got u with shape {array.shape}; give (time,), (time, n_u) or "
            "(batch, time, n_u), with at least one sample."
        )
    axes = array.ndim
    array = array[:, None] if axes == 1 else array
    batched = array if axes == 3 else array[None]
    if bad := int(np.size(batched) - np.isfinite(batched).sum()):
        raise ModelError(
            f"{caller} got u with {bad} samples that are NaN or infinite; "
            "cut them out or fill them in."
        )
    rest = [np.asarray(x, np.float32) for x in further]
    rest = [x if axes == 3 else x[None] for x in rest]
    for x in rest:
        if x.ndim < 2 or len(x) != len(batched) or not np.isfinite(x).all():
            raise ModelError(
                f"{caller} got a further input of shape {x.shape} for {len(batched)} sequences; "
                "give finite values, (batch, n) or (batch, time, n), without batch for one."
            )
    return axes, [batched, *rest]


def _unbatched(caller: str, u: Any, axes: int, y: HostArray) -> HostArray:
    """Return `y` (batch, ..., n_y) with as many axes as `u` has."""
    if axes > 1:
        one: HostArray = y[0]
        return y if axes == 3 else one
    if y.shape[-1] != 1:
        raise ModelError(
            f"{caller} got u with shape {np.shape(u)}, and the model has {y.shape[-1]} outputs; "
            "give u as (time, n_u)."
        )
    single: HostArray = y[0, ..., 0]
    return single
