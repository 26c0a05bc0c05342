"""Figures of an orientation over time, beside its reference and with the error in degrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.types import AnyArray, HostArray, Signals
from tsjax_core.viz import make_figure
from tsjax_quat.angles import heading, inclination, relative_angle
from tsjax_quat.channels import quaternions_in
from tsjax_quat.measured import pairs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 10.0, 2.2


class _Records:
    """Prediction and reference of a file, one quaternion after the other."""

    def __init__(self, pred: AnyArray, target: AnyArray, signals: Signals) -> None:
        pred, target = np.asarray(pred)[None], np.asarray(target)[None]
        groups = quaternions_in(signals, pred.shape[-1], of="a plot")
        _, q, reference, measured = pairs_of(pred, target, signals, of="a plot")
        self.q, self.reference, self.measured = q[0], reference[0], measured[0]
        self.names = [signals.outputs[group[0]][:-1].rstrip("_") for group in groups]

    def degrees(self, number: int, angle: Callable[[HostArray, HostArray], Any]) -> HostArray:
        """Return an angle between quaternion and reference, NaN where there is no reference."""
        known = self.measured[:, number]
        values = np.rad2deg(np.asarray(angle(self.q[:, number], self.reference[:, number])))
        return np.where(known, values, np.nan)


_ERRORS: dict[str, Callable[[HostArray, HostArray], Any]] = {
    "inclination": inclination,
    "relative angle": relative_angle,
    "heading": heading,
}


def plot_quaternion(
    pred: AnyArray,
    target: AnyArray,
    *,
    signals: Signals,
    title: str = "",
    start: int = 0,
    dt: float | None = None,
) -> Figure:
    """Plot the errors of inclination, relative angle and heading in degrees over time.

    `pred` and `target` are (time, n_y); `start` is the number of the first sample, and `dt` the
    sampling time in s. Where the reference is NaN, masked or missing, the axes are grey; those
    samples are no part of the RMS in the title of an axis. Each quaternion has three axes.
    """
    records = _Records(pred, target, signals)
    figure, axes = _figure(3 * len(records.names))
    for number, name in enumerate(records.names):
        for place, (kind, angle) in enumerate(_ERRORS.items()):
            axis = axes[3 * number + place]
            _draw_error(axis, records, number, angle, f"{kind} error\nof {name} in deg", start, dt)
    return _finish(figure, axes, title, dt)


def plot_inclination(
    pred: AnyArray,
    target: AnyArray,
    *,
    signals: Signals,
    title: str = "",
    start: int = 0,
    dt: float | None = None,
) -> Figure:
    """Plot the inclination of prediction and reference, and below it the inclination error."""

    def inclined(q: HostArray, _: HostArray) -> Any:
        return inclination(q)

    return _plot(pred, target, signals, title, start, dt, ("inclination", inclined, inclination))


def plot_relative_angle(
    pred: AnyArray,
    target: AnyArray,
    *,
    signals: Signals,
    title: str = "",
    start: int = 0,
    dt: float | None = None,
) -> Figure:
    """Plot the angle to the first reference, and below it that from prediction to reference."""
    kind = ("relative angle", relative_angle, relative_angle)
    return _plot(pred, target, signals, title, start, dt, kind)


def plot_heading(
    pred: AnyArray,
    target: AnyArray,
    *,
    signals: Signals,
    title: str = "",
    start: int = 0,
    dt: float | None = None,
) -> Figure:
    """Plot the heading of prediction and reference, and below it the heading error."""

    def headed(q: HostArray, _: HostArray) -> Any:
        return heading(q)

    return _plot(pred, target, signals, title, start, dt, ("heading", headed, heading))


def _plot(
    pred: AnyArray,
    target: AnyArray,
    signals: Signals,
    title: str,
    start: int,
    dt: float | None,
    kind: tuple[str, Callable[..., Any], Callable[..., Any]],
) -> Figure:
    name_of_angle, value, error = kind
    records = _Records(pred, target, signals)
    figure, axes = _figure(2 * len(records.names))
    time = _time(len(records.q), start, dt)
    for number, name in enumerate(records.names):
        above, below = axes[2 * number], axes[2 * number + 1]
        q, reference = records.q[:, number], records.reference[:, number]
        known = records.measured[:, number]
        first = reference[np.argmax(known)]
        measured = np.where(known, np.rad2deg(value(reference, first)), np.nan)
        above.plot(time, measured, color="0.55", lw=1.6, label="measured")
        simulated = np.where(known, np.rad2deg(value(q, first)), np.nan)
        above.plot(time, simulated, color="C0", lw=0.8, label="simulated")
        above.set_ylabel(f"{name_of_angle}\nof {name} in deg")
        above.legend(loc="upper left", ncols=2)
        _shade(above, time, known)
        _draw_error(below, records, number, error, "error in deg", start, dt)
    return _finish(figure, axes, title, dt)


def _draw_error(
    axis: Axes,
    records: _Records,
    number: int,
    angle: Callable[[HostArray, HostArray], Any],
    label: str,
    start: int,
    dt: float | None,
) -> None:
    error = records.degrees(number, angle)
    known = records.measured[:, number]
    time = _time(len(error), start, dt)
    axis.plot(time, error, color="C3", lw=0.8)
    axis.set_ylabel(label)
    rms = np.sqrt(np.mean(np.square(error[known]))) if known.any() else np.nan
    axis.set_title(f"RMS {rms:.3g} deg", loc="right", fontsize="medium")
    _shade(axis, time, known)


def _shade(axis: Axes, time: HostArray, known: HostArray) -> None:
    """Make the axes grey where nothing counts."""
    if not known.all():
        around = axis.get_xaxis_transform()
        axis.fill_between(time, 0.0, 1.0, where=~known, color="0.9", lw=0.0, transform=around)


def _figure(n_rows: int) -> tuple[Figure, list[Axes]]:
    size = (_WIDTH, _HEIGHT * n_rows + 0.6)
    figure = make_figure(*size)
    return figure, list(figure.subplots(n_rows, 1, sharex=True, squeeze=False)[:, 0])


def _finish(figure: Figure, axes: list[Axes], title: str, dt: float | None) -> Figure:
    axes[-1].set_xlabel("sample" if dt is None else "time in s")
    figure.suptitle(title)
    return figure


def _time(n: int, start: int, dt: float | None) -> HostArray:
    time: HostArray = np.arange(start, start + n) * (1.0 if dt is None else dt)
    return time
