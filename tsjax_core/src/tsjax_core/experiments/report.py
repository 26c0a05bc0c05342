"""Tables and figures of an evaluation."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from tsjax_core.directories import named_in_errors
from tsjax_core.judging.shows import describe_file
from tsjax_core.signatures import Declared, declare
from tsjax_core.training.evaluation import Evaluation, Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsjax_core.training.learner import Learner


@dataclass(frozen=True)
class NamedEvaluation:
    """An evaluation of a linear model beside another one's, and what the linear model is called."""

    name: str
    evaluation: Evaluation


def score_rows(
    evaluation: Evaluation, files: str | None = None
) -> list[tuple[str, str, Mapping[str, float]]]:
    """Return (file, channel, metrics) of each file, of each channel, and of the whole split.

    `files` says what was evaluated where that is no split.
    """
    rows: list[tuple[str, str, Mapping[str, float]]] = []
    parts: list[tuple[str, Scores]] = list(evaluation.files.items())
    if len(parts) != 1:
        parts.append((f"all of {files or evaluation.split}", evaluation))
    for name, scores in parts:
        channels: dict[str, dict[str, float]] = {}
        for metric, values in scores.channels.items():
            for channel, value in values.items():
                channels.setdefault(channel, {})[metric] = value
        rows += [(name, channel, values) for channel, values in channels.items()]
        rows.append((name, "all" if channels else "", scores.metrics))
    return rows


def score_table(
    evaluation: Evaluation, files: str | None = None, reference: NamedEvaluation | None = None
) -> Table:
    """Return the scores as a table for the terminal, one column per metric.

    `files` says what was evaluated where that is no split. With `reference`, each row is followed
    by that of the linear model.
    """
    rows = score_rows(evaluation, files)
    table = Table(title=files or evaluation.split, title_justify="left")
    table.add_column("file")
    several = any(channel for _, channel, _ in rows)
    if several:
        table.add_column("output")
    if reference is not None:
        table.add_column("model")
    metrics = list(dict.fromkeys(name for _, _, values in rows for name in values))
    for metric in metrics:
        table.add_column(metric, justify="right")
    beside = [] if reference is None else score_rows(reference.evaluation, files)
    for number, (file, channel, values) in enumerate(rows):
        place = [file, *([channel] if several else [])]
        table.add_row(*place, *(["this one"] if beside else []), *_cells(values, metrics))
        if beside and reference is not None:
            blank = [""] * len(place)
            table.add_row(*blank, reference.name, *_cells(beside[number][2], metrics), style="dim")
    return table


def _cells(values: Mapping[str, float], metrics: list[str]) -> list[str]:
    return [f"{values[name]:.4g}" if name in values else "" for name in metrics]


def write_report(
    learner: Learner,
    evaluation: Evaluation,
    folder: Path,
    plots: Mapping[str, Declared] | None = None,
    *,
    reference: NamedEvaluation | None = None,
    kept: int | None = None,
) -> tuple[Path, ...]:
    """Write `scores.csv` and the figures of `evaluation` into `folder`; return the figures' paths.

    `plots` are those of each file, by name; that of core unless given. `reference` is the linear
    model beside it, and `kept` the epoch of the model that was kept, counted from 0. Without
    matplotlib there are no figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("model", *row) for row in score_rows(evaluation)]
    if reference is not None:
        rows += [(reference.name, *row) for row in score_rows(reference.evaluation)]
    metrics = list(dict.fromkeys(name for *_, values in rows for name in values))
    scores = folder / "scores.csv"
    with named_in_errors(scores), scores.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["model", "file", "output", *metrics])
        for model, file, channel, values in rows:
            writer.writerow([model, file, channel, *(values.get(name, "") for name in metrics)])
    if find_spec("matplotlib") is None:
        return ()
    return tuple(
        _write_figures(learner, evaluation, folder, plots or _default_plots(), reference, kept)
    )


def early_errors(evaluation: Evaluation) -> str:
    """Return a sentence where the first samples hold most of the error, else nothing."""
    count, share = evaluation.early_share()
    if not share > 0.5:
        return ""
    return (
        f"the first {count} samples of each file hold {100 * share:.0f} % of the squared error: "
        "the state at their start is unknown to the model. Leave them out with n_skip, or estimate "
        'the state with initial_state = "window" and init_samples.'
    )


def flat_outputs(evaluation: Evaluation) -> str:
    """Return a sentence where an output does not change in what was evaluated, else nothing."""
    flat = dict.fromkeys(
        channel
        for figures in evaluation.channels.values()
        for channel, value in figures.items()
        if math.isinf(value)
    )
    if not flat:
        return ""
    return (
        f"{', '.join(flat)} does not change in {evaluation.split}, so that figures relative to its "
        "spread say nothing; means over the outputs leave it out."
    )


def _default_plots() -> dict[str, Declared]:
    from tsjax_core.judging.figures import plot_results

    return {"core/results": declare("plot", plot_results)}


def _write_figures(
    learner: Learner,
    evaluation: Evaluation,
    folder: Path,
    plots: Mapping[str, Declared],
    reference: NamedEvaluation | None,
    kept: int | None,
) -> list[Path]:
    from tsjax_core.viz import plot_history

    paths: list[Path] = []

    def save(name: str, figure: Figure) -> None:
        path, number = folder / f"{name}.png", 2
        while path in paths:
            path, number = folder / f"{name}_{number}.png", number + 1
        with named_in_errors(path):
            figure.savefig(path)
        paths.append(path)

    if learner.history:
        save("history", plot_history(learner.history, kept=kept))
    split = evaluation.split
    source = learner.pipeline.split(split)
    linear = [] if reference is None else [pred[0] for pred, _ in reference.evaluation.pairs]
    for number, (file, pred, target) in enumerate(evaluation.paired_files):
        stem = Path(file).with_suffix("").as_posix().replace("/", "_")
        given = describe_file(learner, split, file)
        given["reference"] = linear[number] if linear else None
        for name, plot in plots.items():
            if "batch" in plot.wants:
                given["batch"] = source[number]
            short = "" if name == "core/results" else f"_{name.rpartition('/')[2]}"
            save(f"{split}_{stem}{short}", plot(pred, target, given=given))
    return paths
