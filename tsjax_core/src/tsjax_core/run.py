"""A training run: its directory, from the experiment to the report.

A run directory holds `experiment.toml` (complete, every default written out), `versions.json`,
`history.csv` (a row per epoch, written as the epochs end), `model/`, and `report/`.
"""

from __future__ import annotations

import csv
import inspect
import json
import math
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import jax
import tomli_w
from flax import nnx
from rich.console import Console

from tsjax_core.data.pipeline import create_grain_dls
from tsjax_core.errors import RunDirectoryError, TrainingError
from tsjax_core.experiment import Experiment, load_experiment
from tsjax_core.report import write_report
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner
from tsjax_core.training.progress import EpochResult, follow
from tsjax_core.training.saved import SavedModel, load_saved
from tsjax_core.training.schedules import SCHEDULES

EXPERIMENT = "experiment.toml"
MODEL = "model"
REPORT = "report"
_LIBRARIES = ("tsjax-core", "jax", "flax", "optax", "grain", "numpy")


@dataclass(frozen=True)
class RunResult:
    """What a run ended with: the learner, the epoch kept, the test scores, and the figures."""

    path: Path
    learner: Learner
    kept: EpochResult
    evaluation: Evaluation
    figures: tuple[Path, ...]
    ended: str
    """`finished`, or why the training ended before its last epoch."""


def train(experiment: Experiment, out: Path, console: Console) -> RunResult:
    """Run `experiment` in the new directory `out`, and tell `console` what it trains on.

    The model that is kept is the one of the best validation loss, or of the last epoch, as the
    experiment says. Ctrl-C, and a loss that is not finite, end the training after the last good
    epoch; the run is then finished with what was kept, and without any such epoch `out` is removed.

    Raises:
        RunDirectoryError: `out` exists and is not an empty directory.
        ConfigError, DataError: The experiment is wrong; nothing has been written then.
        TrainingError: No epoch ended with a finite loss.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        run = "another run" if (out / MODEL).exists() else "an unfinished run"
        holds = f"holds {run}" if (out / EXPERIMENT).exists() else "is not empty"
        raise RunDirectoryError(
            f"{out} exists and {holds}; nothing was written. Choose another directory with --out.",
            path=out,
        )
    learner = experiment.build()
    console.print(learner.pipeline.summary())
    out.mkdir(parents=True, exist_ok=True)
    _write_experiment(out / EXPERIMENT, experiment, learner)
    _write_versions(out / "versions.json")
    options = experiment.train
    results = learner.fit_iter(options.epochs, options.lr, SCHEDULES[options.schedule]())
    kept: EpochResult | None = None
    weights: Any = None
    ended = "finished"
    try:
        shown = follow(results, options.epochs, lambda: learner.progress)
        for result in _recorded(shown, out / "history.csv"):
            if not math.isfinite(result.train_loss + result.valid_loss):
                ended = f"diverged in epoch {result.epoch + 1}: the loss is not finite"
                break
            better = kept is None or result.valid_loss < kept.valid_loss
            if options.keep == "last" or better:
                kept, weights = result, jax.tree.map(lambda x: x, nnx.state(learner.model))
    except KeyboardInterrupt:
        ended = f"interrupted after {len(learner.history)} epochs"
    finally:
        if kept is None:
            shutil.rmtree(out)
    if kept is None:
        raise TrainingError(
            f"training {ended}, and there is no model to keep; {out} was removed. "
            + (
                "Lower lr. If that does not help, see whether the model's outputs are finite "
                "before training; with allow_nan, use a loss that leaves NaN out."
                if "diverged" in ended
                else "Train for longer."
            )
        )
    nnx.update(learner.model, weights)
    learner.save(out / MODEL)
    evaluation = learner.evaluate("test")
    figures = write_report(learner, evaluation, out / REPORT)
    return RunResult(out, learner, kept, evaluation, figures, ended)


def load_run(path: Path) -> tuple[Experiment, SavedModel]:
    """Return the experiment and the saved model of the run in `path`.

    Raises:
        RunDirectoryError: `path` holds no finished run.
    """
    for name in (EXPERIMENT, MODEL):
        if not (path / name).exists():
            raise RunDirectoryError(
                f"{path} holds no finished run: {name} is missing there. Give the directory that "
                "`tsjax train` printed.",
                path=path,
            )
    return load_experiment(path / EXPERIMENT), load_saved(path / MODEL)


def load_learner(path: Path) -> Learner:
    """Return the learner of the run in `path`, with its data and its trained model."""
    experiment, saved = load_run(path)
    learner = experiment.build()
    nnx.update(learner.model, nnx.state(saved.model))
    return learner


def _recorded(results: Iterator[EpochResult], file: Path) -> Iterator[EpochResult]:
    """Yield `results` and write each as a row of `file` when it arrives."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer: csv.DictWriter[str] | None = None
        for result in results:
            row = _row(result)
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow(row)
            stream.flush()
            yield result


def _row(result: EpochResult) -> dict[str, Any]:
    row = {
        "epoch": result.epoch + 1,
        "seconds": round(result.seconds, 3),
        "train_loss": result.train_loss,
        "valid_loss": result.valid_loss,
    }
    terms = {f"term_{name}": value for name, value in result.terms.items()}
    return row | dict(result.metrics) | (terms if len(terms) > 1 else {})


def _write_experiment(file: Path, experiment: Experiment, learner: Learner) -> None:
    tables = {"loss": [{"name": "core/normalized_mae"}], **experiment.to_tables()}
    options: Mapping[str, Any] = asdict(cast("Any", learner.spec)) if learner.spec else {}
    tables["model"] |= {name: value for name, value in options.items() if value is not None}
    tables["train"]["n_skip"] = learner.n_skip
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(create_grain_dls).parameters.items()
        if parameter.default not in (parameter.empty, None)
    }
    data = {**defaults, "seed": experiment.train.seed, **tables["data"]}
    data["dataset"] = _absolute(data["dataset"])
    tables["data"] = {k: list(v) if isinstance(v, tuple) else v for k, v in data.items()}
    tables["model"] = {
        k: list(v) if isinstance(v, tuple) else v for k, v in tables["model"].items()
    }
    try:
        # Created and not overwritten: of two runs that begin together one gets the directory.
        with file.open("x", encoding="utf-8") as stream:
            stream.write(tomli_w.dumps(tables))
    except FileExistsError as error:
        raise RunDirectoryError(
            f"{file.parent} was taken by another run; nothing was written. "
            "Choose another directory with --out.",
            path=file.parent,
        ) from error


def _absolute(dataset: Any) -> Any:
    """Return the paths of `dataset` for a file that may be read from anywhere."""
    if isinstance(dataset, Mapping):
        return {split: [_absolute(path) for path in paths] for split, paths in dataset.items()}
    return str(Path(dataset).absolute()).replace("$", "$$")


def _write_versions(file: Path) -> None:
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    versions |= {"python": platform.python_version(), "machine": platform.platform()}
    file.write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
