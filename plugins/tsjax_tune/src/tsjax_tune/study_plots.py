"""Figures of a study: all trials as lines over their values, and the metric over each value.

They need matplotlib: `pip install "tsjax-core[viz]"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.checks import is_number
from tsjax_core.types import HostArray
from tsjax_core.viz import WIDTH, make_figure
from tsjax_tune.results import StudyResult, TrialResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADE = 10.0
COLUMNS = 3


@dataclass(frozen=True)
class _Scale:
    """Where the values of a key stand on an axis from 0 to 1, and its marks."""

    places: HostArray
    ticks: Sequence[float]
    labels: Sequence[str]


def plot_parallel(study: StudyResult) -> Figure:
    """Plot each trial as a line over its values and its metric, the better the darker.

    A line is broken where a trial has no such value.
    """
    trials = study.ranking
    keys = _keys(trials)
    scales = [_scale([trial.values.get(key) for trial in trials]) for key in keys]
    scales.append(_scale([trial.value for trial in trials]))
    figure = make_figure(WIDTH, 4.2)
    axis = figure.subplots()
    places = np.stack([scale.places for scale in scales])
    columns = np.arange(len(scales))
    for rank in reversed(range(len(trials))):
        color = "C3" if rank == 0 else str(0.25 + 0.6 * rank / len(trials))
        width = 2.0 if rank == 0 else 0.9
        axis.plot(columns, places[:, rank], ".-", color=color, lw=width)
    for column, scale in enumerate(scales):
        axis.axvline(column, color="0.8", lw=0.8, zorder=0)
        for tick, label in zip(scale.ticks, scale.labels, strict=True):
            axis.annotate(
                label, (column, tick), xytext=(4, 0), textcoords="offset points", fontsize="small"
            )
    axis.set_xticks(columns, [*keys, study.metric])
    axis.set_yticks([])
    axis.set_xlim(-0.2, len(scales) - 0.4)
    axis.set_title(f"{len(trials)} trials, the best in red", loc="left", fontsize="medium")
    return figure


def plot_parameters(study: StudyResult) -> Figure:
    """Plot the metric of all trials over each of their values."""
    trials = study.ranking
    keys = _keys(trials)
    columns = min(COLUMNS, max(1, len(keys)))
    rows = max(1, -(-len(keys) // columns))
    figure = make_figure(WIDTH, 2.8 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis, key in zip(axes.flat, keys, strict=False):
        _plot_over(axis, trials, key)
    for axis in axes.flat[len(keys) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel(study.metric)
        if _is_logarithmic([trial.value for trial in trials]):
            axis.set_yscale("log")
    return figure


def write_plots(study: StudyResult, folder: Path) -> list[Path]:
    """Write the figures of `study` to `folder`, and return their paths.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = {"parallel": plot_parallel(study), "parameters": plot_parameters(study)}
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path)
        paths.append(path)
    return paths


def _plot_over(axis: Axes, trials: Sequence[TrialResult], key: str) -> None:
    having = [trial for trial in trials if key in trial.values]
    values = [trial.values[key] for trial in having]
    best = having and having[0] is trials[0]
    if all(map(is_number, values)):
        places: Any = values
        if _is_logarithmic(values):
            axis.set_xscale("log")
            # The marks between the powers of ten would run into each other.
            axis.tick_params(axis="x", which="minor", labelbottom=False)
    else:
        labels = list(dict.fromkeys(map(str, values)))
        places = [labels.index(str(value)) for value in values]
        axis.set_xticks(range(len(labels)), labels)
        axis.set_xlim(-0.5, len(labels) - 0.5)
    axis.plot(places, [trial.value for trial in having], ".", color="C0")
    if best:
        axis.plot(places[:1], [having[0].value], "o", color="C3")
    axis.set_xlabel(key)
    axis.grid(alpha=0.3)


def _keys(trials: Sequence[TrialResult]) -> list[str]:
    """Return the keys whose values differ between the trials."""
    keys = dict.fromkeys(key for trial in trials for key in trial.values)
    return [key for key in keys if len({_text(trial.values, key) for trial in trials}) > 1]


def _text(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else ""


def _scale(values: Sequence[Any]) -> _Scale:
    """Return the scale of values, which are None where a trial has none."""
    there = [value for value in values if value is not None]
    if all(map(is_number, there)):
        low, high = min(there), max(there)
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        bounds = np.array([low, high], float)
        if _is_logarithmic(there):
            numbers, bounds = np.log(numbers), np.log(bounds)
        spread = float(np.ptp(bounds)) or 1.0
        labels = [f"{low:.3g}", f"{high:.3g}"] if high > low else [f"{low:.3g}"]
        return _Scale((numbers - bounds[0]) / spread, [0.0, 1.0][: len(labels)], labels)
    labels = list(dict.fromkeys(map(str, there)))
    step = 1.0 / max(1, len(labels) - 1)
    places = [np.nan if value is None else step * labels.index(str(value)) for value in values]
    return _Scale(np.array(places), [step * place for place in range(len(labels))], labels)


def _is_logarithmic(values: Sequence[Any]) -> bool:
    return bool(min(values) > 0 and max(values) > DECADE * min(values))
