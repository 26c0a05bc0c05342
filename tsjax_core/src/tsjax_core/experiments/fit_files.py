"""From measured files to a model that is judged, by a recipe: what `tsjax fit` does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from tsjax_core.checks import choice, positive
from tsjax_core.data.pipeline import GrainPipeline, create_grain_dls
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError, UnknownNameError
from tsjax_core.experiments.components import locate_error
from tsjax_core.experiments.experiment import parse_experiment
from tsjax_core.experiments.run import RunResult, train
from tsjax_core.registry.registry import Registry

Recipe = Literal["fast", "accurate", "auto"]

_SHORT = 5000
"""Samples of training below which a model is held near its linear start and begun several times."""

_LONGEST_WINDOW = 200
_MOST_INIT_SAMPLES = 50


@dataclass(frozen=True)
class Candidate:
    """A model that is tried: its name in the table, and the tables of its experiment."""

    name: str
    tables: dict[str, Any]


@dataclass(frozen=True)
class FitResult:
    """The runs of the candidates by name, and the name of the best on validation."""

    runs: dict[str, RunResult]
    best: str


def fit_files(
    files: Sequence[Path],
    u: Sequence[str],
    y: Sequence[str],
    out: Path,
    console: Console,
    *,
    recipe: Recipe = "auto",
    seconds: float = 60.0,
    data: dict[str, Any] | None = None,
) -> FitResult:
    """Train the models of a recipe on measured files, print how good they are, and keep all.

    Each candidate is a run in its own directory of `out`, whose experiment can be edited. The best
    has the least loss on the validation part; the test decides nothing.

    Args:
        files: HDF5 or CSV files, or one directory.
        u: Input signals.
        y: Output signals.
        out: New directory.
        console: Where the table is printed.
        recipe: fast (a linear and a nonlinear state space in a quarter of the time), accurate (the
            same in all of it), or auto (these and a GRU).
        seconds: Time for training, shared by the candidates.
        data: Further options of `create_grain_dls`, such as dt, time or split.

    Raises:
        RunDirectoryError: `out` exists and is not empty.
        ConfigError, DataError: The options or the files are wrong; nothing has been written then.
        TrainingError: No candidate could be trained.
    """
    choice("recipe", recipe, get_args(Recipe))
    positive("seconds", seconds)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"{out} exists and is not empty; nothing was written. Choose another directory with "
            "--out.",
            path=out,
        )
    paths = [str(path.absolute()) for path in files]
    options = {"valid": "files", **(data or {})}
    options |= {"dataset": paths[0] if len(paths) == 1 else paths, "u": list(u), "y": list(y)}
    try:
        pipeline = create_grain_dls(**{**options, "win_sz": 1})
    except ConfigError as error:
        raise locate_error(error, "data", None) from error
    console.print(_describe(pipeline))
    candidates = plan_candidates(pipeline, options, recipe, seconds)
    runs: dict[str, RunResult] = {}
    for candidate in candidates:
        console.print(f"training {candidate.name}")
        experiment = parse_experiment(candidate.tables)
        try:
            runs[candidate.name] = train(
                experiment, out / candidate.name, Console(quiet=True, stderr=True)
            )
        except TrainingError as error:
            console.print(f"{candidate.name} could not be trained: {error}")
    if not runs:
        raise TrainingError("no model could be trained; look at the signals with tsjax inspect.")
    best = min(runs, key=lambda name: runs[name].kept.valid_loss)
    console.print(_table(runs, best))
    for sentence in _judge(runs, best):
        console.print(sentence)
    console.print("Try next:")
    for command in (f"evaluate {shlex.quote(str(out / best))}", "predict RUN FILE"):
        console.print(f"  tsjax {command}")
    return FitResult(runs, best)


def plan_candidates(
    pipeline: GrainPipeline, data: dict[str, Any], recipe: Recipe, seconds: float
) -> list[Candidate]:
    """Return the experiments of a recipe for these data, the linear model first.

    A record of the training part is at least four windows long where it can be; the initial state
    of each record is estimated from its first samples.
    """
    lengths = pipeline.records("train").lengths
    shortest, total = int(lengths.min()), int(lengths.sum())
    others = min(int(pipeline.records(part).lengths.min()) for part in ("valid", "test"))
    window = max(1, min(_LONGEST_WINDOW, shortest // 4))
    init = max(1, min(_MOST_INIT_SAMPLES, others // 4, window // 2))
    data = {**data, "win_sz": window, "stp_sz": max(1, window // 4), "bs": 16, "n_batches": 50}
    train = {
        "epochs": 0,
        "initial_state": "window",
        "init_samples": init,
        "metrics": ["core/rmse", "core/fit_percent"],
    }
    budget = seconds / 4 if recipe == "fast" else seconds
    neural: dict[str, Any] = {"name": "ss/neural", "hidden_size": 12}
    polish: dict[str, Any] = {"seconds": budget * (0.9 if recipe != "auto" else 0.5)}
    if total < _SHORT:
        neural["hidden_size"] = 8
        polish |= {"penalty": {"to_*": 1e-4}, "starts": 4, "patience": 25}
    linear = {
        "data": data,
        "model": {"name": "core/linear"},
        "train": train,
        "polish": {"seconds": budget * 0.1, "iterations": 20},
    }
    if recipe == "accurate" and not _is_installed("ss/neural"):
        raise ConfigError(
            "the recipe 'accurate' trains ss/neural, which is not installed: pip install tsjax-ss",
            key="recipe",
        )
    candidates = [Candidate("linear", linear)]
    if _is_installed("ss/neural"):
        tables = {"data": data, "model": neural, "train": train, "polish": polish}
        candidates.append(Candidate("state_space", tables))
    if recipe == "auto":
        epochs = max(4, min(40, round(seconds / 2)))
        gru = {
            "data": data,
            "model": {"name": "core/gru", "hidden_size": 16},
            "train": {**train, "epochs": epochs, "lr": 1e-2},
            "polish": {"seconds": budget * 0.25, "patience": 25},
        }
        candidates.append(Candidate("gru", gru))
    return candidates


def _is_installed(name: str) -> bool:
    try:
        Registry.installed().resolve("model", name)
    except UnknownNameError:
        return False
    return True


def _describe(pipeline: GrainPipeline) -> str:
    """Return what was read, without the windows, which are not chosen yet."""
    lines = pipeline.summary().splitlines()
    whole = (re.sub(r"\s+\d+ windows? of 1$", "", line) for line in lines if "batches" not in line)
    return "\n".join(whole)


def _table(runs: dict[str, RunResult], best: str) -> Table:
    table = Table(title="simulated from the inputs alone", title_justify="left")
    for column in ("model", "valid loss", "test rmse", "test fit in %", "training in s"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, run in runs.items():
        scores = run.evaluation.metrics
        spent = sum(result.seconds for result in run.learner.history)
        table.add_row(
            f"{name} (best on validation)" if name == best else name,
            f"{run.kept.valid_loss:.4g}",
            f"{scores['rmse']:.4g}",
            f"{scores['fit_percent']:.2f}",
            f"{spent:.1f}",
        )
    return table


def _judge(runs: dict[str, RunResult], best: str) -> list[str]:
    sentences = []
    if best == "linear" and len(runs) > 1:
        sentences.append(
            "No nonlinear model is better on validation than the linear one: use the linear model, "
            "or measure with larger amplitudes and for longer."
        )
    if not _is_installed("ss/neural"):
        sentences.append(
            "The nonlinear state space is not installed, and often the best: pip install tsjax-ss"
        )
    return sentences
