"""Tables and figures of an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tsjax_core.data.store import Split
from tsjax_core.training.evaluation import Evaluation, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsjax_core.training.learner import Learner


def score_rows(evaluation: Evaluation) -> list[tuple[str, str, Mapping[str, float]]]:
    """Return (file, channel, metrics) of each file, of each channel, and of the whole split."""
    rows: list[tuple[str, str, Mapping[str, float]]] = []
    parts: list[tuple[str, Scores]] = list(evaluation.files.items())
    if len(parts) != 1:
        parts.append((f"all of {evaluation.split}", evaluation))
    for name, scores in parts:
        channels: dict[str, dict[str, float]] = {}
        for metric, values in scores.channels.items():
            for channel, value in values.items():
                channels.setdefault(channel, {})[metric] = value
        rows += [(name, channel, values) for channel, values in channels.items()]
        rows.append((name, "all" if channels else "", scores.metrics))
    return rows


def score_table(title: str, rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> Table:
    """Return `rows` as a table for the terminal, one column per metric."""
    table = Table(title=title, title_justify="left")
    table.add_column("file")
    several = any(channel for _, channel, _ in rows)
    if several:
        table.add_column("output")
    metrics = list(dict.fromkeys(name for _, _, values in rows for name in values))
    for metric in metrics:
        table.add_column(metric, justify="right")
    for file, channel, values in rows:
        cells = [f"{values[name]:.4g}" if name in values else "" for name in metrics]
        table.add_row(file, *([channel] if several else []), *cells)
    return table


def write_report(learner: Learner, evaluation: Evaluation, folder: Path) -> tuple[Path, ...]:
    """Write `scores.csv` and the figures of `evaluation` into `folder`; return the figures' paths.

    Without matplotlib there are no figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = score_rows(evaluation)
    metrics = list(dict.fromkeys(name for _, _, values in rows for name in values))
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "output", *metrics])
        for file, channel, values in rows:
            writer.writerow([file, channel, *(values.get(name, "") for name in metrics)])
    if find_spec("matplotlib") is None:
        return ()
    return tuple(_figures(learner, evaluation.split, folder))


def _figures(learner: Learner, split: Split, folder: Path) -> list[Path]:
    from tsjax_core.viz import plot_history, plot_results

    paths: list[Path] = []

    def save(name: str, figure: Figure) -> None:
        path, number = folder / f"{name}.png", 2
        while path in paths:
            path, number = folder / f"{name}_{number}.png", number + 1
        figure.savefig(path)
        paths.append(path)

    if learner.history:
        save("history", plot_history(learner.history))
    pairs, files = learner.simulate_split(split)
    for file, (pred, target) in zip(files, pairs, strict=False):
        if pred.ndim == 3:
            figure = plot_results(
                pred[0],
                target[0],
                outputs=learner.signals.outputs,
                dt=learner.signals.dt,
                start=learner.n_skip,
                title=f"{split}: {file}",
            )
            save(f"{split}_{Path(file).with_suffix('').as_posix().replace('/', '_')}", figure)
    return paths
