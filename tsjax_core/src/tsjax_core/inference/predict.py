"""Running a model on arrays that are not part of a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsjax_core.checks import positive, whole_number
from tsjax_core.data.rates import DT_TOLERANCE
from tsjax_core.errors import DataError, ModelError
from tsjax_core.inference.chunks import ModelRunner, check_stateful
from tsjax_core.inference.initial_state import InitialState, begin_from, simulate_with
from tsjax_core.protocols import InitialWindow
from tsjax_core.types import HostArray


def predict(
    model: Any,
    u: Any,
    *further: Any,
    initial_state: str = "zero",
    init_samples: int = 0,
    y: Any = None,
    dt: float | None = None,
) -> HostArray:
    """Return the outputs of `model` for the inputs `u`, both in raw physical units.

    The result has as many axes as `u`: (time,) for one input and one output, (time, n_u) gives
    (time, n_y), (batch, time, n_u) gives (batch, time, n_y). Models that read more than `u` take
    the rest in the order of `ModelSpec.reads`, each with the same leading axes as `u`. Of a model
    with an initial window, `y` may be NaN beyond it.

    A `StatefulModel` takes memory for a chunk of the record beside its inputs and outputs, any
    other model for all of it. No batch transform acts on the inputs, not even one that acts in
    evaluation.

    Args:
        model: The model.
        u: Inputs.
        further: Inputs beside `u`.
        initial_state: Where the simulation begins: `zero`, `washout`, `window` or `encoder`, see
            `tsjax_core.inference.initial_state`.
        init_samples: Samples at the start that `initial_state` uses.
        y: Measured outputs for `window` and `encoder`, with the axes of `u`; those beyond the first
            `init_samples` are not looked at and may be missing.
        dt: Sampling time of `u` in seconds. Where it is given, it has to be the model's.

    Raises:
        ModelError: `u` has another number of axes or channels than the model, holds values that
            are not finite, or the model has several outputs and `u` is (time,); or measured outputs
            that are needed are missing.
        DataError: `dt` is not the model's.
        ConfigError: There is no such policy for the initial state, or not for this model.
    """
    check_dt("predict", model, dt)
    given: Any = initial_state
    initial = InitialState(given, init_samples)
    initial.check(model)
    axes, inputs = _batch_inputs("predict", model, u, further)
    runner = ModelRunner(model)
    if not initial.needs_outputs:
        return _unbatch("predict", u, axes, runner.simulate(inputs))
    measured = _batch_outputs("predict", y, axes, initial)
    return _unbatch("predict", u, axes, simulate_with(initial, runner, inputs, measured))


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

    Of a model with an initial window, the first part has at least as many samples as the window,
    and its measured outputs; later parts need none, and `y` may be left out of `further`.

    Args:
        model: A `StatefulModel`.
        u: Inputs in raw physical units and the forms that `predict` takes.
        state: What an earlier call or `estimate_state` returned, or `Simulator.state`; None begins
            afresh.
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
    begins = state is None
    axes, inputs = _batch_inputs("predict_stateful", model, u, further, begins=begins)
    length = None
    if chunk is not None:
        length = whole_number("chunk", chunk, "samples", least=1, of="predict_stateful")
    runner = ModelRunner(model)
    out, after = runner.simulate_from(state, inputs, length, caller="predict_stateful")
    return _unbatch("predict_stateful", u, axes, out), after


def estimate_state(
    model: Any,
    u: Any,
    y: Any,
    *,
    initial_state: str = "window",
    init_samples: int | None = None,
    further: Sequence[Any] = (),
) -> Any:
    """Return the state of `model` after measured samples, to go on from in time.

    Give it to `predict_stateful` or `Simulator.reset` for the samples that follow.

    Args:
        model: A `StatefulModel`.
        u: Measured inputs, in the forms that `predict` takes.
        y: Measured outputs, with the axes of `u`.
        initial_state: How the state before or after the first `init_samples` is found: `window` or
            `encoder`.
        init_samples: Samples that it uses, all that are given unless said otherwise.
        further: Inputs beside `u`, as `predict` takes them.

    Raises:
        ModelError: The model is not stateful, or what is measured is not finite or too short.
        ConfigError: There is no such policy, or not for this model.
    """
    check_stateful("estimate_state", model)
    axes, inputs = _batch_inputs("estimate_state", model, u, further)
    given: Any = initial_state
    n = inputs[0].shape[1] if init_samples is None else init_samples
    initial = InitialState(given, 0 if initial_state == "zero" else n)
    initial.check(model)
    runner = ModelRunner(model)
    if not initial.needs_outputs:
        return runner.simulate_from(None, inputs, None, caller="estimate_state")[1]
    measured = _batch_outputs("estimate_state", y, axes, initial)
    state, begin = begin_from(initial, runner, inputs, measured)
    rest = [x[:, begin:] if x.ndim == 3 else x for x in inputs]
    if not rest[0].shape[1]:
        return state
    return runner.simulate_from(state, rest, None, caller="estimate_state")[1]


def check_dt(caller: str, model: Any, dt: float | None) -> None:
    """Raise DataError where `dt` in seconds is given and differs from the model's."""
    own = getattr(model, "dt", None)
    if dt is None or own is None:
        return
    dt = positive("dt", dt, of=caller)
    if abs(dt / own - 1.0) > DT_TOLERANCE:
        raise DataError(
            f"{caller} got data with a sampling time of {dt:.9g} s, and the model's is {own:.9g} "
            "s. Resample the data, or train with target_fs, which resamples every file."
        )


def y_argument(model: Any) -> int | None:
    """Return the place of the measured output among the inputs beside `u`, None where not read."""
    module: Any = model
    if not isinstance(model, InitialWindow):
        return None
    names = list(inspect.signature(module.__call__).parameters)
    if "y" not in names:
        raise ModelError(
            f"{type(model).__name__} has an initial window, and its __call__ has no argument y; "
            "name the measured output y there."
        )
    return names.index("y") - 1


def _batch_inputs(
    caller: str, model: Any, u: Any, further: Sequence[Any], *, begins: bool = True
) -> tuple[int, list[HostArray]]:
    """Return the axes of `u`, and all inputs as finite arrays with an axis of sequences."""
    array = _as_numbers(caller, "u", u)
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
    place, given = y_argument(model), list(further)
    if place is not None:
        window = model.init_window
        if not begins and len(given) <= place:
            given.insert(place, np.zeros((*array.shape[:-1], len_outputs(model)), np.float32))
        if len(given) <= place:
            raise ModelError(
                f"{caller}: the model reads the measured outputs of the first {window} samples; "
                "give y after u, where it may be NaN beyond them."
            )
        given[place] = _windowed_outputs(caller, given[place], axes, batched, window, begins)
    rest = [np.asarray(x, np.float32) for x in given]
    rest = [x if axes == 3 or number == place else x[None] for number, x in enumerate(rest)]
    for x in rest:
        if x.ndim < 2 or len(x) != len(batched) or not np.isfinite(x).all():
            raise ModelError(
                f"{caller} got a further input of shape {x.shape} for {len(batched)} sequences; "
                "give finite values, (batch, n) or (batch, time, n), without batch for one."
            )
    return axes, [batched, *rest]


def len_outputs(model: Any) -> int:
    """Return the number of outputs of a model with an initial window."""
    scale = getattr(model, "y_scale", None)
    if scale is None:
        raise ModelError(
            f"{type(model).__name__} reads measured outputs; give y of NaN after its window, "
            "(time, n_y)."
        )
    return int(scale.mean.shape[-1])


def _windowed_outputs(
    caller: str, y: Any, axes: int, u: HostArray, window: int, begins: bool
) -> HostArray:
    """Return measured outputs (batch, time, n_y) with zeros where the model does not look."""
    array = _as_numbers(caller, "y", y)
    array = array[:, None] if axes == array.ndim == 1 else array
    array = array if axes == 3 else array[None]
    if array.ndim != 3 or array.shape[:2] != u.shape[:2]:
        raise ModelError(
            f"{caller} got y of shape {np.shape(y)} for u of shape {u.shape}; give as many samples "
            "of both."
        )
    kept = np.where(np.isfinite(array), array, 0.0)
    if not begins:
        return kept
    if array.shape[1] < window:
        raise ModelError(
            f"{caller} got {array.shape[1]} samples, and the model reads the measured outputs of "
            f"the first {window}; give at least so many at the start of a record."
        )
    early = array[:, :window]
    if bad := int(early.size - np.isfinite(early).sum()):
        raise ModelError(
            f"{caller} got y with {bad} values that are NaN or infinite within the first {window} "
            "samples, which the model reads; fill them in, or begin the record later."
        )
    kept[:, window:] = 0.0
    return kept


def _batch_outputs(caller: str, y: Any, axes: int, initial: InitialState) -> HostArray:
    """Return the measured outputs from which a simulation begins, (batch, time, n_y)."""
    if y is None:
        raise ModelError(
            f"{caller}: initial_state = {initial.policy!r} needs the measured outputs of the first "
            f"{initial.samples} samples; give y."
        )
    array = _as_numbers(caller, "y", y)
    if array.ndim != axes:
        raise ModelError(
            f"{caller} got y with shape {array.shape} and u with {axes} axes; give both with the "
            "same axes."
        )
    array = array[:, None] if axes == 1 else array
    return array if axes == 3 else array[None]


def _as_numbers(caller: str, name: str, value: Any) -> HostArray:
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{caller} got {name} that is no array of numbers: {error}.") from error


def _unbatch(caller: str, u: Any, axes: int, y: HostArray) -> HostArray:
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
