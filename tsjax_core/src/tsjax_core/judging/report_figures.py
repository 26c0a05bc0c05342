"""Figures of a validation report beside those of the files: residuals, spectra, amplitudes, bands.

They need matplotlib: `pip install "tsjax-core[viz]"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsjax_core.judging.horizons import Bands
from tsjax_core.judging.residuals import ResidualTests
from tsjax_core.types import AnyArray, HostArray
from tsjax_core.viz import COLOURS, WIDTH, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(rows: int, columns: int, height: float) -> tuple[Figure, HostArray]:
    figure = make_figure(WIDTH, height * rows + 0.5)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _finish(figure: Figure, axes: HostArray, used: int) -> None:
    """Hide the axes that are left over, and put one legend below."""
    for axis in list(axes.flat)[used:]:
        axis.set_axis_off()
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)


def plot_correlations(
    tests: ResidualTests, inputs: Sequence[str], outputs: Sequence[str]
) -> Figure:
    """Plot the correlations of residuals with their past and with each input, with their bands.

    A row for each output; the band holds the correlations of independent signals.
    """
    figure, axes = _figure(len(outputs), 1 + len(inputs), 2.0)
    for row, output in enumerate(outputs):
        each = [tests.whiteness[row], *tests.independence[row]]
        titles = ["its own past", *(f"input {name}" for name in inputs)]
        for axis, test, title in zip(axes[row], each, titles, strict=True):
            colour = COLOURS[2] if test.passed else COLOURS[1]
            axis.axhspan(-test.band, test.band, color="0.88", lw=0.0)
            axis.vlines(test.lags, 0.0, test.values, color=colour, lw=1.5)
            axis.axhline(0.0, color="0.4", lw=0.6)
            verdict = "passed" if test.passed else "failed"
            axis.set_title(f"{title}: {verdict}", fontsize="small")
            if row == len(outputs) - 1:
                axis.set_xlabel("lag in samples")
        axes[row, 0].set_ylabel(f"residual of\n{output}", fontsize="small")
    return figure


def plot_spectra(
    frequencies: AnyArray,
    measured: HostArray,
    residual: HostArray,
    outputs: Sequence[str],
    dt: float | None,
) -> Figure:
    """Plot the power density of residuals beside that of the measured outputs, (n, n_y) each."""
    columns = min(2, len(outputs))
    figure, axes = _figure(-(-len(outputs) // columns), columns, 2.4)
    for axis, number in zip(axes.flat, range(len(outputs)), strict=False):
        axis.semilogy(frequencies[1:], measured[1:, number], color="0.45", label="measured output")
        axis.semilogy(frequencies[1:], residual[1:, number], color=COLOURS[1], label="residual")
        axis.set_ylabel(f"power density of {outputs[number]}", fontsize="small")
        axis.set_xlabel("frequency in cycles per sample" if dt is None else "frequency in Hz")
        axis.grid(alpha=0.3)
    _finish(figure, axes, len(outputs))
    return figure


def plot_amplitudes(
    train: Sequence[HostArray], tested: Sequence[HostArray], names: Sequence[str], what: str
) -> Figure:
    """Plot how often each value of a signal is in the training files and in the others.

    `train` and `tested` are records (time, channels); `what` says what the others are.
    """
    columns = min(3, len(names))
    figure, axes = _figure(-(-len(names) // columns), columns, 2.0)
    first, second = (np.concatenate(records) for records in (train, tested))
    for axis, number in zip(axes.flat, range(len(names)), strict=False):
        a, b = (x[:, number][np.isfinite(x[:, number])] for x in (first, second))
        if not (len(a) and len(b)):
            continue
        edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()) + 1e-30, 50)
        axis.hist(a, edges, density=True, color="0.75", label="training")
        axis.hist(b, edges, density=True, histtype="step", color=COLOURS[0], lw=1.4, label=what)
        axis.axvline(a.min(), color=COLOURS[1], lw=0.8, ls=":")
        axis.axvline(a.max(), color=COLOURS[1], lw=0.8, ls=":", label="range of training")
        axis.set_xlabel(names[number])
        axis.set_yticks([])
    _finish(figure, axes, len(names))
    return figure


def plot_horizons(
    bands: Bands, errors: HostArray, outputs: Sequence[str], dt: float | None
) -> Figure:
    """Plot the band of each output, and the RMSE of other files, over the time since the start.

    `errors` are those of the other files, (starts, horizon, n_y).
    """
    columns = min(2, len(outputs))
    figure, axes = _figure(-(-len(outputs) // columns), columns, 2.2)
    steps = np.arange(len(bands.half)) * (dt or 1.0)
    with np.errstate(invalid="ignore"):
        rmse = np.sqrt(np.nanmean(np.square(errors[:, : len(steps)]), axis=0))
    for axis, number in zip(axes.flat, range(len(outputs)), strict=False):
        axis.fill_between(
            steps,
            bands.half[:, number],
            color=COLOURS[5],
            alpha=0.4,
            lw=0.0,
            label=f"band that holds {100 * bands.confidence:g} % of the errors",
        )
        axis.plot(steps[: len(rmse)], rmse[:, number], color=COLOURS[0], label="RMSE on test")
        axis.set_ylim(bottom=0.0)
        axis.set_ylabel(f"error of {outputs[number]}", fontsize="small")
        axis.set_xlabel("samples since the start" if dt is None else "time since the start in s")
        axis.grid(alpha=0.3)
    _finish(figure, axes, len(outputs))
    return figure
