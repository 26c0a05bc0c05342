"""Recipes: which models are tried on given data, and which of them is the best on validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from tsjax_core.checks import choice, positive
from tsjax_core.data.pipeline import GrainPipeline
from tsjax_core.errors import ConfigError, TrainingError, UnknownNameError
from tsjax_core.experiments.experiment import Experiment, parse_experiment
from tsjax_core.experiments.run import RunResult, train
from tsjax_core.registry.registry import Registry

Recipe = Literal["fast", "accurate", "auto"]

_SHORT = 5000
"""Samples of training below which a model is held near its linear start and begun several times."""

_LONGEST_WINDOW = 200
_MOST_INIT_SAMPLES = 50


@dataclass(frozen=True)
class Candidate:
    """A model that is tried: its name in the table, its experiment, and why it is as it is."""

    name: str
    experiment: Experiment
    reason: str


@dataclass(frozen=True)
class Tried:
    """The runs of the candidates by name, and the name of the best on validation."""

    runs: dict[str, RunResult]
    best: str


def check_recipe(recipe: Recipe, seconds: float) -> None:
    """Raise ConfigError unless the recipe and its time can be followed."""
    choice("recipe", recipe, get_args(Recipe))
    positive("seconds", seconds)
    if recipe == "accurate" and not _is_installed("ss/neural"):
        raise ConfigError(
            "the recipe 'accurate' trains ss/neural, which is not installed: pip install tsjax-ss",
            key="recipe",
        )


def plan_candidates(
    pipeline: GrainPipeline, data: Mapping[str, Any], recipe: Recipe, seconds: float
) -> list[Candidate]:
    """Return the experiments of a recipe for these data, the linear model first.

    A record of the training part is at least four windows long where it can be; the initial state
    of each record is estimated from its first samples. Records that are short together are not
    enough for a recurrent network, and the nonlinear part of a state space is held small on them.
    The shares of `seconds` are those of the training alone.
    """
    lengths = pipeline.records("train").lengths
    shortest, total = int(lengths.min()), int(lengths.sum())
    others = min(int(pipeline.records(part).lengths.min()) for part in ("valid", "test"))
    window = max(1, min(_LONGEST_WINDOW, shortest // 4))
    init = max(1, min(_MOST_INIT_SAMPLES, others // 4, window // 2))
    windows = {"win_sz": window, "stp_sz": max(1, window // 4), "bs": 16, "n_batches": 50}
    train = {
        "epochs": 0,
        "initial_state": "window",
        "init_samples": init,
        "metrics": ["core/rmse", "core/fit_percent"],
    }
    tables = {"data": {**data, **windows}, "train": train}
    budget = seconds / 4 if recipe == "fast" else seconds
    short = total < _SHORT
    linear = {
        "model": {"name": "core/linear"},
        "polish": {"seconds": 0.1 * budget, "iterations": 20},
    }
    reason = "the reference, its order chosen on validation"
    candidates = [Candidate("linear", parse_experiment({**tables, **linear}), reason)]
    with_gru = recipe == "auto" and not short
    if _is_installed("ss/neural"):
        polish: dict[str, Any] = {"seconds": (0.5 if with_gru else 0.9) * budget}
        neural: dict[str, Any] = {"name": "ss/neural", "hidden_size": 8 if short else 12}
        reason = f"{total} samples of training: begun as the linear model, then polished"
        if short:
            polish |= {"penalty": {"to_*": 1e-4}, "starts": 4, "patience": 25}
            reason += ", from four starts and held near it"
        experiment = parse_experiment({**tables, "model": neural, "polish": polish})
        candidates.append(Candidate("state_space", experiment, reason))
    if with_gru:
        epochs = max(4, min(40, round(seconds / 2)))
        gru = {
            "model": {"name": "core/gru", "hidden_size": 16},
            "train": {**train, "epochs": epochs, "lr": 1e-2},
            "polish": {"seconds": budget * 0.25, "patience": 25},
        }
        reason = f"{epochs} epochs of Adam, then polished"
        candidates.append(Candidate("gru", parse_experiment({**tables, **gru}), reason))
    return candidates


def explain_absent(pipeline: GrainPipeline, recipe: Recipe) -> list[str]:
    """Return a sentence for each model that the recipe leaves out."""
    sentences = []
    total = int(pipeline.records("train").lengths.sum())
    if recipe == "auto" and total < _SHORT:
        sentences.append(
            f"A GRU is not tried: {total} samples of training are fewer than {_SHORT}, and too few "
            "for its parameters."
        )
    if not _is_installed("ss/neural"):
        sentences.append(
            "The nonlinear state space is not installed, and often the best: pip install tsjax-ss"
        )
    return sentences


def try_candidates(candidates: Iterable[Candidate], out: Path, console: Console) -> Tried:
    """Train each candidate in its own directory of `out`, and print how good all of them are.

    Raises:
        TrainingError: No candidate could be trained.
    """
    runs: dict[str, RunResult] = {}
    for candidate in candidates:
        console.print(f"training {candidate.name}: {candidate.reason}")
        try:
            runs[candidate.name] = train(
                candidate.experiment, out / candidate.name, Console(quiet=True, stderr=True)
            )
        except TrainingError as error:
            console.print(f"{candidate.name} could not be trained: {error}")
    if not runs:
        raise TrainingError("no model could be trained; look at the signals with tsjax inspect.")
    best = min(runs, key=lambda name: runs[name].kept.valid_loss)
    console.print(_table(runs, best))
    if best == "linear" and len(runs) > 1:
        console.print(
            "No nonlinear model is better on validation than the linear one: use the linear model, "
            "or measure with larger amplitudes and for longer."
        )
    return Tried(runs, best)


def _is_installed(name: str) -> bool:
    try:
        Registry.installed().resolve("model", name)
    except UnknownNameError:
        return False
    return True


def _table(runs: Mapping[str, RunResult], best: str) -> Table:
    table = Table(title="simulated from the inputs alone", title_justify="left")
    for column in ("model", "valid loss", "test rmse", "test fit in %", "training in s"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, run in runs.items():
        scores = run.evaluation.metrics
        spent = sum(result.seconds for result in run.learner.history)
        table.add_row(
            f"{name} (best on validation)" if name == best else name,
            f"{run.kept.valid_loss:.4g}",
            f"{scores['rmse']:.4g}" if "rmse" in scores else "",
            f"{scores['fit_percent']:.2f}" if "fit_percent" in scores else "",
            f"{spent:.1f}",
        )
    return table
