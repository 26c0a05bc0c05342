"""Figures of batches and of a training, and the look that all figures have.

All functions return a `matplotlib.figure.Figure` that belongs to no window, so that they work
without a screen. They need matplotlib: `pip install "tsjax-core[viz]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.types import Batch, HostArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsjax_core.judging.shows import Window
    from tsjax_core.training.lr_finder import LearningRateCurve
    from tsjax_core.training.progress import EpochResult

WIDTH = 10.0
"""Inches; 1000 pixels at the resolution of `DPI`."""

DPI = 100
MOST_SAMPLES = 4

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that the colour-blind can distinguish (Okabe and Ito)."""


@cache
def _class_of_figures() -> Any:
    from io import BytesIO

    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that notebooks show, without any window."""

        def _repr_png_(self) -> bytes:
            stream = BytesIO()
            self.savefig(stream, format="png")
            return stream.getvalue()

    return ShownFigure


def make_figure(width: float, height: float, dpi: float = DPI) -> Figure:
    """Return an empty figure of inches that belongs to no window, and that notebooks show."""
    figure: Figure = _class_of_figures()(figsize=(width, height), dpi=dpi, layout="constrained")
    return figure


def _figure(n_rows: int, n_cols: int = 1, height: float = 2.2) -> tuple[Figure, HostArray]:
    figure = make_figure(WIDTH, height * n_rows + 0.6)
    return figure, figure.subplots(n_rows, n_cols, sharex=True, squeeze=False)


def time_axis(n: int, dt: float | None, start: int = 0) -> tuple[HostArray, str]:
    """Return the times of `n` samples from number `start` on, and the label of their axis."""
    index = np.arange(start, start + n)
    return (index, "sample") if dt is None else (index * dt, "time in s")


def label_of(name: str, units: Mapping[str, str]) -> str:
    """Return the label of a signal, with its unit where that is known."""
    unit = units.get(name)
    return f"{name} in {unit}" if unit else name


def name_or_count(names: Sequence[str] | None, n: int, letter: str) -> list[str]:
    """Return names of `n` channels, a letter with a number where there are none."""
    return list(names) if names else [f"{letter}{number}" for number in range(n)]


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
        axes[0, column].set_title(f"sample {column}", fontsize="medium")
        axes[-1, column].set_xlabel(time_axis(1, dt)[1])
    for axis, label in zip(axes[:, 0], ("inputs", "outputs"), strict=False):
        axis.set_ylabel(label)
    _legend_below(figure, [axes[0, 0], *axes[1:, 0]])
    return figure


def plot_history(history: Sequence[EpochResult], *, kept: int | None = None) -> Figure:
    """Plot the losses of a training over its epochs, each named term where there are several.

    `kept` is the epoch of the model that was kept, counted from 0, which is marked.
    """
    losses = {
        "train": [result.train_loss for result in history],
        "valid": [result.valid_loss for result in history],
    }
    names = history[-1].terms if history else {}
    if len(names) > 1:
        for name in names:
            losses[f"train, {name}"] = [result.terms[name] for result in history]
    epochs = [result.epoch + 1 for result in history]
    return plot_losses(epochs, losses, kept=None if kept is None else kept + 1)


def plot_losses(
    steps: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    *,
    what: str = "epoch",
    kept: int | None = None,
) -> Figure:
    """Plot losses by name over epochs or iterations, as `what` says; `kept` is marked."""
    figure, axes = _figure(1, height=3.4)
    axis = axes[0, 0]
    # On long trainings, points would run into each other.
    marker = "." if len(steps) <= 60 else ""
    for number, (label, values) in enumerate(losses.items()):
        axis.semilogy(
            steps,
            values,
            "-" if number < 2 else "--",
            marker=marker,
            color=COLOURS[number % len(COLOURS)],
            lw=1.2,
            label=label,
        )
    if kept is not None and kept in steps:
        axis.axvline(kept, color="0.6", lw=1.0, ls=":", label=f"kept: {what} {kept}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel(what)
    axis.set_ylabel("loss")
    axis.grid(alpha=0.3)
    _legend_below(figure, [axis])
    return figure


def plot_gradients(gradients: Mapping[str, tuple[float, float]]) -> Figure:
    """Plot mean and largest magnitude of gradients by the name of the parameter array."""
    figure, axes = _figure(1, height=max(1.5, 0.28 * len(gradients) + 0.6))
    axis = axes[0, 0]
    places = np.arange(len(gradients))[::-1]
    mean, largest = (np.array([pair[n] for pair in gradients.values()]) for n in (0, 1))
    smallest = min((x for x in (*mean, *largest) if x > 0.0), default=1e-12)
    axis.barh(places, largest, color=COLOURS[5], label="largest")
    axis.barh(places, mean, height=0.5, color=COLOURS[0], label="mean")
    axis.set_xscale("log")
    axis.set_xlim(left=0.3 * smallest)
    axis.set_yticks(places, list(gradients), fontsize="small")
    axis.set_xlabel("magnitude of the gradient")
    axis.grid(alpha=0.3, axis="x")
    _legend_below(figure, [axis])
    return figure


def plot_windows(
    windows: Sequence[Window],
    *,
    outputs: Sequence[str],
    dt: float | None = None,
    first: int = 0,
) -> Figure:
    """Plot windows of records, measured and simulated: a column for each, a row for each output.

    `outputs` name the channels, `dt` is the sampling time in s, and `first` the number of the
    sample from which the windows count.
    """
    figure = make_figure(WIDTH, 2.0 * len(outputs) + 1.0)
    axes = figure.subplots(len(outputs), max(1, len(windows)), squeeze=False)
    for column, window in enumerate(windows):
        time, label = time_axis(len(window.target), dt, first + window.start)
        for row, name in enumerate(outputs):
            axis = axes[row, column]
            axis.plot(time, window.target[:, row], color="0.45", lw=1.6, label="measured")
            axis.plot(time, window.pred[:, row], color=COLOURS[0], lw=1.0, label="simulated")
            if not column:
                axis.set_ylabel(name)
        error = f"error {100.0 * window.error:.3g} %"
        axes[0, column].set_title(f"{window.file}\n{error} of the spread", fontsize="small")
        axes[-1, column].set_xlabel(label)
    _legend_below(figure, [axes[0, 0]])
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
    time, _ = time_axis(len(signals), dt)
    labels: Any = names if names is not None else [f"{letter}{i}" for i in range(signals.shape[-1])]
    for channel, name in enumerate(labels):
        colour = COLOURS[channel % len(COLOURS)]
        axis.plot(time, signals[:, channel], lw=1.0, color=colour, label=name)


def _legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend below the axes, where it lies over no curve."""
    handles, labels = [], []
    for axis in axes:
        each = axis.get_legend_handles_labels()
        handles += each[0]
        labels += each[1]
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
