"""Figures of batches, of results, and of a training's history.

All functions return a `matplotlib.figure.Figure` that belongs to no window, so that they work
without a screen. They need matplotlib: `pip install "tsjax-core[viz]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.types import Array, Batch, HostArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsjax_core.training.lr_finder import LearningRateCurve
    from tsjax_core.training.progress import EpochResult

WIDTH = 10.0
"""Inches; 1000 pixels at the resolution of `DPI`."""

DPI = 100
MOST_SAMPLES = 4

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that the colour-blind can distinguish (Okabe and Ito)."""

_ZOOM = 300
"""Samples of a stretch that is shown enlarged."""


def _figure(n_rows: int, n_cols: int = 1, height: float = 2.2) -> tuple[Figure, HostArray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height * n_rows + 0.6), dpi=DPI, layout="constrained")
    return figure, figure.subplots(n_rows, n_cols, sharex=True, squeeze=False)


def _time(n: int, dt: float | None, start: int = 0) -> tuple[HostArray, str]:
    index = np.arange(start, start + n)
    return (index, "sample") if dt is None else (index * dt, "time in s")


def plot_batch(
    batch: Batch,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    dt: float | None = None,
) -> Figure:
    """Plot the first samples of `batch`, inputs over outputs, one column per sample.

    `inputs` and `outputs` name the channels and `dt` is the sampling time in s.
    """
    u, y = np.asarray(batch["u"]), batch.get("y")
    n_cols = min(MOST_SAMPLES, len(u))
    figure, axes = _figure(2 if y is not None else 1, n_cols)
    for column in range(n_cols):
        _lines(axes[0, column], u[column], inputs, "u", dt)
        if y is not None:
            _lines(axes[1, column], np.asarray(y)[column], outputs, "y", dt)
        axes[0, column].set_title(f"sample {column}")
        axes[-1, column].set_xlabel(_time(1, dt)[1])
    for axis, label in zip(axes[:, 0], ("inputs", "outputs"), strict=False):
        axis.set_ylabel(label)
        axis.legend(loc="upper right", fontsize="small")
    return figure


def plot_results(
    pred: Array | HostArray,
    target: Array | HostArray,
    *,
    outputs: Sequence[str] | None = None,
    dt: float | None = None,
    start: int = 0,
    title: str = "",
) -> Figure:
    """Plot a simulated against a measured record, (time, n_y) each, and the error below it.

    `outputs` name the channels, `dt` is the sampling time in s, and `start` the number of the
    first sample. What is NaN in `target` was not measured: it is neither drawn nor part of the
    RMSE, and the samples beside such gaps are drawn as points.
    """
    pred, target = np.asarray(pred), np.asarray(target)
    n_y = target.shape[-1]
    names = list(outputs) if outputs is not None else [f"y{i}" for i in range(n_y)]
    figure, axes = _figure(2 * n_y)
    time, label = _time(len(target), dt, start)
    for channel, name in enumerate(names):
        # In double precision, in which the square of no single number is too large.
        error = target[:, channel].astype(np.float64) - pred[:, channel]
        above, below = axes[2 * channel, 0], axes[2 * channel + 1, 0]
        measured = ~np.isnan(error)
        # Between two gaps there is no line to see.
        marker = "" if measured.all() else "."
        above.plot(time, target[:, channel], color="0.55", lw=1.6, marker=marker, label="measured")
        above.plot(time, pred[:, channel], color="C0", lw=0.8, label="simulated")
        above.set_ylabel(name)
        above.legend(loc="upper left", ncols=2)
        below.plot(time, error, color="C3", lw=0.8, marker=marker, ms=3.0)
        below.set_ylabel(f"error of {name}")
        rmse = np.sqrt(np.mean(error[measured] ** 2)) if measured.any() else np.nan
        below.set_title(f"RMSE {rmse:.3g}", loc="right", fontsize="medium")
    axes[-1, 0].set_xlabel(label)
    figure.suptitle(title)
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
    from matplotlib.figure import Figure

    time, label = _time(len(target), dt)
    n_y = len(outputs)
    figure = Figure(figsize=(WIDTH, 2.2 * n_y + 1.0), dpi=DPI, layout="constrained")
    axes = figure.subplots(n_y, 2, squeeze=False)
    for channel, output in enumerate(outputs):
        near, whole = axes[channel]
        errors = {name: target[:, channel] - pred[:, channel] for name, pred in simulated.items()}
        part = _worst_stretch(list(errors.values()))
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


def _worst_stretch(errors: Sequence[HostArray]) -> slice:
    """Return the samples in which the squares of all errors together are largest."""
    squares = np.sum([np.nan_to_num(np.square(error)) for error in errors], axis=0)
    width = min(_ZOOM, len(squares))
    begin = int(np.argmax(np.convolve(squares, np.ones(width), "valid")))
    return slice(begin, begin + width)


def plot_history(history: Sequence[EpochResult]) -> Figure:
    """Plot the losses of a training over its epochs, each named term where there are several."""
    figure, axes = _figure(1, height=3.6)
    axis = axes[0, 0]
    epochs = [result.epoch + 1 for result in history]
    axis.semilogy(epochs, [result.train_loss for result in history], ".-", label="train")
    axis.semilogy(epochs, [result.valid_loss for result in history], ".-", label="valid")
    names = history[-1].terms if history else {}
    if len(names) > 1:
        for name in names:
            values = [result.terms[name] for result in history]
            axis.semilogy(epochs, values, ".--", label=f"train, {name}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def plot_learning_rates(curve: LearningRateCurve) -> Figure:
    """Plot the loss of every step over its learning rate, smoothed too, and the suggested rate.

    `curve` is what `find_learning_rate` returns. Losses after the divergence leave the picture.
    """
    from tsjax_core.training.lr_finder import smooth_losses

    figure, axes = _figure(1, height=3.6)
    axis = axes[0, 0]
    smooth = smooth_losses(curve.rates, curve.losses)
    axis.semilogx(curve.rates, curve.losses, ".", color="0.6", label="single steps")
    axis.semilogx(curve.rates[smooth.steps], smooth.losses, color="C0", label="smoothed")
    if np.isfinite(curve.suggestion):
        label = f"suggestion {curve.suggestion:.2g}"
        axis.axvline(curve.suggestion, color="C3", ls="--", label=label)
    if len(smooth.steps):
        shown = curve.losses[smooth.steps[: int(np.argmin(smooth.losses)) + 1]]
        margin = 0.1 * float(np.ptp(shown)) or 0.1
        axis.set_ylim(shown.min() - margin, shown.max() + 3.0 * margin)
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", ncols=3)
    return figure


def _lines(
    axis: Axes, signals: HostArray, names: Sequence[str] | None, letter: str, dt: float | None
) -> None:
    time, _ = _time(len(signals), dt)
    labels: Any = names if names is not None else [f"{letter}{i}" for i in range(signals.shape[-1])]
    for channel, name in enumerate(labels):
        axis.plot(time, signals[:, channel], lw=1.0, label=name)
