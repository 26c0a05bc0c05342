"""Several runs on the same files, beside each other: what `tsjax compare` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.table import Table

from tsjax_core.data.store import Split
from tsjax_core.directories import check_new_directory, named_in_errors
from tsjax_core.errors import ConfigError, DataError
from tsjax_core.experiments.describe_model import describe_model
from tsjax_core.experiments.new_files import score_files
from tsjax_core.experiments.run import load_learner
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.types import HostArray, Signals


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs by name with their evaluations, all of the same files, and the signals."""

    evaluations: Mapping[str, Evaluation]
    signals: Signals


def compare_runs(
    runs: Sequence[Path], *, split: Split = "test", files: Sequence[Path] = ()
) -> Comparison:
    """Simulate the models of several runs on the same files.

    Args:
        runs: Finished runs, two or more.
        split: Which files of their data to simulate.
        files: Other files in their place.

    Raises:
        ConfigError: There are fewer than two runs, or one twice.
        RunDirectoryError: One of `runs` is no finished run.
        DataError: They have other outputs, or files of other names or lengths.
    """
    names = [str(run) for run in runs]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"got {', '.join(names) or 'no run'}; give two runs or more, each once.", key="run"
        )
    signals = [describe_model(run).signals for run in runs]
    for name, other in zip(names, signals, strict=True):
        if other.outputs != signals[0].outputs:
            raise DataError(
                f"{name} has the outputs {', '.join(other.outputs)}, and {names[0]} has "
                f"{', '.join(signals[0].outputs)}; compare runs of the same outputs."
            )
    evaluations = {
        name: score_files(run, files) if files else load_learner(run).evaluate(split)
        for name, run in zip(names, runs, strict=True)
    }
    first = list(evaluations[names[0]].files)
    for name, evaluation in evaluations.items():
        if list(evaluation.files) != first or not first:
            raise DataError(
                f"{name} is evaluated on {', '.join(evaluation.files) or 'windows'}, and "
                f"{names[0]} on {', '.join(first) or 'windows'}; compare runs of the same files, "
                "or give files with --data."
            )
    return Comparison(evaluations, signals[0])


def tabulate_comparison(comparison: Comparison) -> Table:
    """Return RMSE and fit of each output in each file, a column for each run."""
    columns, rows = comparison_rows(comparison)
    table = Table(title="rmse (fit in %)", title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the table of RMSE and fit; * marks the best of a row.

    The samples that count are those that all runs simulate.
    """
    rows = []
    for file, (target, simulated) in align_files(comparison).items():
        for channel, output in enumerate(comparison.signals.outputs):
            known = np.isfinite(target[:, channel])
            measured = target[known, channel]
            spread = float(np.std(measured)) if known.any() else 0.0
            errors = [
                float(np.sqrt(np.mean(np.square(pred[known, channel] - measured))))
                if known.any()
                else float("nan")
                for pred in simulated
            ]
            best = min(errors)
            cells = []
            for error in errors:
                fit = f" ({100.0 * (1.0 - error / spread):.2f})" if spread else ""
                mark = " *" if error == best and len(set(errors)) > 1 else ""
                cells.append(f"{error:.4g}{fit}{mark}")
            rows.append([file, output, *cells])
    return ["file", "output", *comparison.evaluations], rows


def write_comparison(comparison: Comparison, out: Path) -> tuple[Path, ...]:
    """Write a figure of each file into the new directory `out`; none without matplotlib."""
    check_new_directory(out)
    if find_spec("matplotlib") is None:
        return ()
    from tsjax_core.judging.figures import plot_comparison

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for file, (target, simulated) in align_files(comparison).items():
        stem = Path(file).with_suffix("").as_posix().replace("/", "_")
        path = out / f"{stem}.png"
        by_run = dict(zip(comparison.evaluations, simulated, strict=True))
        signals = comparison.signals
        figure = plot_comparison(target, by_run, outputs=signals.outputs, dt=signals.dt, title=file)
        with named_in_errors(path):
            figure.savefig(path)
        paths.append(path)
    return tuple(paths)


def align_files(comparison: Comparison) -> dict[str, tuple[HostArray, list[HostArray]]]:
    """Return the target of each file and its simulations, the samples that all of them have."""
    files: dict[str, tuple[HostArray, list[HostArray]]] = {}
    each = [list(evaluation.paired_files) for evaluation in comparison.evaluations.values()]
    for rows in zip(*each, strict=True):
        length = min(len(pred) for _, pred, _ in rows)
        name, _, target = rows[0]
        files[name] = (target[-length:], [pred[-length:] for _, pred, _ in rows])
    return files
