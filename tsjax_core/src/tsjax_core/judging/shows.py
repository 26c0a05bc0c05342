"""What a learner shows: a batch, results, the worst windows, and the flow of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from tsjax_core.checks import whole_number
from tsjax_core.errors import ModelError
from tsjax_core.registry.registry import get_plot
from tsjax_core.signatures import declare
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.optimizer.parameter_names import parameter_names
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsjax_core.data.store import Split
    from tsjax_core.training.learner import Learner


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a record: its file, its first sample, and how badly it is simulated.

    `error` is the mean over the outputs of RMSE over the spread of training; `pred` and `target`
    are (time, n_y).
    """

    file: str
    start: int
    error: float
    pred: HostArray
    target: HostArray


def show_batch(learner: Learner) -> Figure:
    """Plot the first windows of the first training batch."""
    from tsjax_core.viz import plot_batch

    signals = learner.signals
    batch = next(iter(learner.pipeline.train_batches(0)))
    return plot_batch(batch, inputs=signals.inputs, outputs=signals.outputs, dt=signals.dt)


def show_results(
    learner: Learner,
    split: Split = "valid",
    plot_fn: str | Callable[..., Any] = "core/results",
    *,
    most: int = 4,
) -> list[Figure]:
    """Return a figure for each of the first files of a split, simulated by the learner's model.

    Args:
        learner: The learner.
        split: A split of whole files.
        plot_fn: A plot, or its name.
        most: Files that are shown at most.

    Raises:
        ModelError: The split has windows, or scalar targets.
    """
    most = whole_number("most", most, "files", least=1)
    plot = declare("plot", get_plot(plot_fn) if isinstance(plot_fn, str) else plot_fn)
    evaluation, source = _evaluate_files(learner, split)
    figures = []
    for number, (file, pred, target) in enumerate(evaluation.paired_files):
        if number == most:
            break
        given = describe_file(learner, split, file)
        if "batch" in plot.wants:
            given["batch"] = source[number]
        figures.append(plot(pred, target, given=given))
    return figures


def show_worst(learner: Learner, split: Split = "valid", *, n: int = 4) -> Figure:
    """Plot the windows of a split that the learner's model simulates worst, the worst first.

    Raises:
        ModelError: The split has windows, or scalar targets.
    """
    from tsjax_core.viz import plot_windows

    evaluation, _ = _evaluate_files(learner, split)
    signals = learner.signals
    worst = find_worst(evaluation, learner.pipeline.win_sz, signals.stats["y"].std, n=n)
    return plot_windows(worst, outputs=signals.outputs, dt=signals.dt, first=learner.n_skip)


def find_worst(
    evaluation: Evaluation, win_sz: int, spread: HostArray, *, n: int = 4
) -> list[Window]:
    """Return the `n` windows of `win_sz` samples with the largest error, none over another."""
    n = whole_number("n", n, "windows", least=1)
    found = []
    for file, pred, target in evaluation.paired_files:
        for start in range(0, max(1, len(pred) - win_sz + 1), win_sz):
            part = slice(start, start + win_sz)
            with np.errstate(over="ignore", invalid="ignore"):
                squares = np.square((pred[part].astype(float) - target[part]) / spread)
            if np.isfinite(target[part]).any():
                error = float(np.sqrt(np.nanmean(squares)))
                found.append(Window(file, start, error, pred[part], target[part]))
    return sorted(found, key=lambda window: -window.error)[:n]


def measure_gradients(learner: Learner) -> dict[str, tuple[float, float]]:
    """Return mean and largest magnitude of the loss's gradient for each parameter array.

    They are those of the first training batch, with the parameters as they are, in evaluation.
    """
    batch = next(iter(learner.pipeline.train_batches(0)))
    weights = np.asarray(list(learner.loss_weights.values()), np.float32)
    gradients = learner.engine.batch_gradients(learner.model, batch, weights)
    names = parameter_names(nnx.state(learner.model, nnx.Param))
    leaves: Sequence[Any] = jax.tree.leaves(gradients)
    return {
        name: (float(np.mean(np.abs(leaf))), float(np.max(np.abs(leaf), initial=0.0)))
        for name, leaf in zip(names, leaves, strict=True)
    }


def show_gradients(learner: Learner) -> Figure:
    """Plot mean and largest magnitude of the loss's gradient for each parameter array."""
    from tsjax_core.viz import plot_gradients

    return plot_gradients(measure_gradients(learner))


def describe_file(learner: Learner, split: str, file: str) -> dict[str, Any]:
    """Return what a plot of a file may declare, without the batch."""
    signals = learner.signals
    return {
        "signals": signals,
        "title": f"{split}: {file}",
        "start": learner.n_skip,
        "outputs": signals.outputs,
        "dt": signals.dt,
        "reference": None,
        "band": None,
    }


def _evaluate_files(learner: Learner, split: Split) -> tuple[Evaluation, Any]:
    evaluation = learner.evaluate(split)
    if learner.signals.target != "y" or not evaluation.files:
        raise ModelError(
            f"{split} has no whole files of output sequences to show; give test, or valid = "
            "'files' where the data are made."
        )
    return evaluation, learner.pipeline.split(split)
