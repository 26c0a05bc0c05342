"""Figures of how well models simulate measured records.

All functions return a `matplotlib.figure.Figure` that belongs to no window, so that they work
without a screen. They need matplotlib: `pip install "tsjax-core[viz]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.types import Array, Batch, HostArray, Signals
from tsjax_core.viz import COLOURS, WIDTH, label_of, make_figure, name_or_count, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ZOOM = 300
"""Samples of a stretch that is shown enlarged."""

_MEASURED, _SIMULATED, _LINEAR, _ERROR = "0.45", COLOURS[0], COLOURS[3], COLOURS[1]


def plot_results(
    pred: Array | HostArray,
    target: Array | HostArray,
    *,
    outputs: Sequence[str] | None = None,
    dt: float | None = None,
    start: int = 0,
    title: str = "",
    signals: Signals | None = None,
    batch: Batch | None = None,
    reference: HostArray | None = None,
    band: HostArray | None = None,
) -> Figure:
    """Plot a simulated beside a measured record, (time, n_y) each.

    Each output is shown whole with its error on the same scale, and enlarged where the error is
    largest and where it is as usual. Up to two outputs have the inputs below.

    Args:
        pred: Simulated outputs.
        target: Measured outputs; what is NaN was not measured, and is neither drawn nor part of the
            figures. Samples beside such gaps are drawn as points.
        outputs: Names of the channels.
        dt: Sampling time in s.
        start: Number of the first sample in the record.
        title: What stands above.
        signals: Names and units of inputs and outputs.
        batch: All that was measured in the record, of which the inputs `u` are shown.
        reference: Outputs that a linear model simulates, (time, n_y).
        band: Half the width of a band around the simulated outputs, (time, n_y).
    """
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    names = name_or_count(outputs or (signals.outputs if signals else None), target.shape[1], "y")
    units = dict(signals.units) if signals else {}
    time, label = time_axis(len(target), dt, start)
    u = None if batch is None else np.asarray(batch["u"], float)[start : start + len(target)]
    shown = _stretches(target - pred)
    several = len(names) > 2
    rows = -(-len(names) // 2) if several else len(names)
    with_inputs = u is not None and not several and len(u) == len(target)
    height = rows * (3.4 if several else 3.8) + 1.5 * with_inputs + 0.9
    figure = make_figure(WIDTH, height)
    above: Any = figure
    below: Any = None
    if with_inputs:
        parts: Any = figure.subfigures(2, height_ratios=[rows * 3.8, 1.7])
        above, below = parts
    cells: Any = above.subfigures(rows, 2 if several else 1, squeeze=False)
    for channel, name in enumerate(names):
        part: Any = cells.flat[channel]
        columns = 1 if several or len(shown) < 2 else len(shown)
        mosaic = [["whole"] * columns, list(shown)[:columns]] if shown else [["whole"]]
        axes = part.subplot_mosaic(mosaic)
        values = _Channel(time, target[:, channel], pred[:, channel], reference, band, channel)
        _draw_whole(axes["whole"], values, label_of(name, units), enlarged=bool(shown))
        for what in list(shown)[:columns]:
            _draw_stretch(axes[what], values, shown[what])
            axes[what].set_title(what, fontsize="small", loc="left")
            axes[what].set_xlabel(label)
        if not shown:
            axes["whole"].set_xlabel(label)
    if with_inputs:
        assert u is not None
        in_names = name_or_count(signals.inputs if signals else None, u.shape[1], "u")
        _draw_inputs(below, time, u, list(shown.values()), in_names, units, label)
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=5, frameon=False
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def plot_comparison(
    target: HostArray,
    simulated: Mapping[str, HostArray],
    *,
    outputs: Sequence[str],
    dt: float | None = None,
    title: str = "",
) -> Figure:
    """Plot outputs that several models simulate over the measured ones, (time, n_y) each.

    Each output has a row: the stretch in which the models are worst, and the error of each over the
    whole record. `simulated` has them by name, and `dt` is the sampling time in s.
    """
    time, label = time_axis(len(target), dt)
    n_y = len(outputs)
    figure = make_figure(WIDTH, 2.2 * n_y + 1.0)
    axes = figure.subplots(n_y, 2, squeeze=False)
    for channel, output in enumerate(outputs):
        near, whole = axes[channel]
        errors = {name: target[:, channel] - pred[:, channel] for name, pred in simulated.items()}
        part = worst_stretch(list(errors.values()))
        near.plot(time[part], target[part, channel], color="black", label="measured")
        for number, (name, pred) in enumerate(simulated.items()):
            colour = COLOURS[number % len(COLOURS)]
            near.plot(time[part], pred[part, channel], color=colour, lw=1.0, label=name)
            whole.plot(time, errors[name], color=colour, lw=0.7)
        near.set_ylabel(output)
        whole.set_ylabel(f"error of {output}")
    axes[0, 0].set_title("where the models are worst", fontsize="medium")
    axes[0, 1].set_title("measured less simulated", fontsize="medium")
    for axis in axes[-1]:
        axis.set_xlabel(label)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(4, len(simulated) + 1))
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def worst_stretch(errors: Sequence[HostArray], width: int = _ZOOM) -> slice:
    """Return the samples in which the squares of all errors together are largest."""
    squares = np.sum([np.nan_to_num(np.square(error)) for error in errors], axis=0)
    width = min(width, len(squares))
    begin = int(np.argmax(np.convolve(squares, np.ones(width), "valid")))
    return slice(begin, begin + width)


def _stretches(errors: HostArray) -> dict[str, slice]:
    """Return the stretches that are shown enlarged; none of a record that is short itself."""
    if len(errors) < 2 * _ZOOM:
        return {}
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.nanstd(errors, axis=0)
        scaled = np.nan_to_num(errors / np.where(spread > 0.0, spread, 1.0))
        total = np.square(scaled).sum(axis=1)
    sums = np.convolve(total, np.ones(_ZOOM), "valid")[::_ZOOM]
    usual = int(np.argsort(sums)[len(sums) // 2]) * _ZOOM
    return {
        "where the error is largest": worst_stretch(list(scaled.T)),
        "where it is as usual": slice(usual, usual + _ZOOM),
    }


class _Channel:
    """One output: what is measured, simulated, and simulated by the linear model."""

    def __init__(
        self,
        time: HostArray,
        target: HostArray,
        pred: HostArray,
        reference: HostArray | None,
        band: HostArray | None,
        channel: int,
    ) -> None:
        self.time, self.target, self.pred = time, target, pred
        self.linear = None if reference is None else np.asarray(reference)[:, channel]
        self.band = None if band is None else np.asarray(band)[:, channel]
        # Between two gaps there is no line to see.
        self.marker = "" if np.isfinite(target).all() else "."

    def score(self, simulated: HostArray) -> str:
        known = np.isfinite(self.target)
        if not known.any():
            return "not measured"
        with np.errstate(over="ignore", invalid="ignore"):
            error = float(np.sqrt(np.mean(np.square(self.target[known] - simulated[known]))))
        spread = float(np.std(self.target[known]))
        fit = f"fit {100.0 * (1.0 - error / spread):.1f} %, " if spread > 0.0 else ""
        return f"{fit}RMSE {error:.3g}"


def _draw_whole(axis: Axes, values: _Channel, name: str, *, enlarged: bool) -> None:
    time, marker = values.time, values.marker
    measured: dict[str, Any] = {
        "color": "0.75" if enlarged else _MEASURED,
        "lw": 0.8 if enlarged else 1.6,
    }
    label = None if enlarged else "measured"
    axis.plot(time, values.target, marker=marker, ms=3.0, label=label, **measured)
    if not enlarged:
        _draw_models(axis, values, slice(None))
    error = values.target - values.pred
    axis.plot(
        time, error, color=_ERROR, lw=0.7, marker=marker, ms=3.0, label="measured less simulated"
    )
    text = values.score(values.pred)
    if values.linear is not None:
        text += f";  linear: {values.score(values.linear)}"
    axis.set_title(text, loc="right", fontsize="small")
    axis.set_ylabel(name)
    axis.margins(x=0.01)


def _draw_models(axis: Axes, values: _Channel, part: slice) -> None:
    time = values.time[part]
    if values.linear is not None:
        axis.plot(time, values.linear[part], color=_LINEAR, lw=1.0, ls="--", label="linear")
    axis.plot(time, values.pred[part], color=_SIMULATED, lw=1.2, label="simulated")
    if values.band is not None:
        low, high = values.pred - values.band, values.pred + values.band
        axis.fill_between(
            time, low[part], high[part], color=_SIMULATED, alpha=0.2, lw=0.0, label="band"
        )


def _draw_stretch(axis: Axes, values: _Channel, part: slice) -> None:
    axis.plot(
        values.time[part],
        values.target[part],
        color=_MEASURED,
        lw=2.0,
        marker=values.marker,
        label="measured",
    )
    # A model that leaves all scales would hide the others.
    known = values.target[np.isfinite(values.target)]
    _draw_models(axis, values, part)
    axis.margins(x=0.01)
    if len(known):
        low, high = float(known.min()), float(known.max())
        room = 0.5 * (high - low) or 1.0
        bottom, top = axis.get_ylim()
        axis.set_ylim(max(bottom, low - room), min(top, high + room))


def _draw_inputs(
    figure: Any,
    time: HostArray,
    u: HostArray,
    parts: Sequence[slice],
    names: Sequence[str],
    units: Mapping[str, str],
    label: str,
) -> None:
    axes = figure.subplots(1, max(1, len(parts)), squeeze=False)[0]
    for axis, part in zip(axes, parts or [slice(None)], strict=True):
        for channel, name in enumerate(names):
            axis.plot(
                time[part],
                u[part, channel],
                lw=1.0,
                color=COLOURS[(2, 4, 5)[channel % 3]],
                label=f"input {label_of(name, units)}",
            )
        axis.set_xlabel(label)
        axis.margins(x=0.01)
    axes[0].set_ylabel("inputs")
