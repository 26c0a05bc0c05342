"""A training run: its directory, from the experiment to the report.

A run directory holds `experiment.toml` (complete, every default written out), `versions.json`,
`history.csv` (a row per epoch, written as the epochs end), `checkpoints/`, `model/`, and `report/`.
With a polish there are `polish.csv` and `polish/` for its iterations. `linear.json` is the linear
model that stands beside the model.
"""

from __future__ import annotations

import csv
import json
import math
import platform
import shutil
import signal
import threading
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import tomli_w
from flax import nnx
from rich.console import Console

from tsjax_core.directories import held_directory, named_in_errors, replaced_directory
from tsjax_core.errors import ConfigError, DivergenceError, RunDirectoryError, TrainingError
from tsjax_core.experiments.experiment import Experiment, TrainOptions, load_experiment
from tsjax_core.experiments.report import NamedEvaluation, write_report
from tsjax_core.experiments.write_experiment import (
    describe_training,
    write_experiment,
    write_whole,
)
from tsjax_core.inference.saved_model import SavedModel, load_saved
from tsjax_core.judging.reference import LinearReference, fit_reference, score_reference
from tsjax_core.training.checkpoints.checkpoints import Checkpoints, stored_epochs
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner
from tsjax_core.training.polish.options import PolishFit
from tsjax_core.training.progress import EpochResult, follow
from tsjax_core.training.schedules import SCHEDULES
from tsjax_core.training.stopping import EarlyStopping

EXPERIMENT = "experiment.toml"
CHECKPOINTS = "checkpoints"
POLISH = "polish"
MODEL = "model"
VERSIONS = "versions.json"
REPORT = "report"
REFERENCE = "linear.json"
STOPPED = "stopped early"
UNSTABLE = (
    "The simulations of the validation data leave the range of numbers: train with a lower lr, "
    "longer windows, or another model."
)
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
    """`finished`, `stopped early`, or why the training ended before its last epoch."""
    resumable: bool = False
    """Whether epochs are left that `tsjax resume` would train."""
    polish_ended: str = ""
    """Why the polish had no further iteration; empty without a polish, or if it was interrupted."""
    polished: bool = False
    """Whether `kept` is an iteration of a polish, the first of them without a step."""
    reference: NamedEvaluation | None = None
    """The linear model on the same files."""


def train(experiment: Experiment, out: Path, console: Console) -> RunResult:
    """Run `experiment` in the new directory `out`, and print on `console` what it trains on.

    The model that is kept is the best by the value that the experiment monitors, or that of the
    last epoch. Ctrl-C, and a training that diverges, end the run after the last whole epoch, and
    without any such epoch `out` is removed. A process that is killed leaves what `resume` needs.

    Raises:
        RunDirectoryError: `out` exists and is not an empty directory.
        ConfigError, DataError: The experiment is wrong; nothing has been written then.
        TrainingError: No epoch ended with a finite value.
        CheckpointError: A checkpoint cannot be written; the run can be resumed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        holds, cure = "is not empty", ""
        if (out / EXPERIMENT).exists():
            finished = (out / MODEL).exists()
            holds = "holds another run" if finished else "holds an unfinished run"
            cure = "" if finished else f", or go on with it: tsjax resume {out}"
        raise RunDirectoryError(
            f"{out} exists and {holds}; nothing was written. Choose another directory with "
            f"--out{cure}.",
            path=out,
        )
    learner = experiment.build()
    console.print(learner.pipeline.summary())
    out.mkdir(parents=True, exist_ok=True)
    with held_directory(out):
        write_experiment(out / EXPERIMENT, experiment, learner)
        _write_versions(out / VERSIONS)
        learner.description = describe_training(out / EXPERIMENT)
        options = experiment.train
        kept = False
        try:
            result = _complete(learner, experiment, out, _begin_epochs(learner, options))
            kept = True
        except TrainingError as error:
            raise TrainingError(f"{error} {out} was removed.") from error
        except BaseException:
            kept = bool(learner.history)
            raise
        finally:
            if not kept:
                shutil.rmtree(out)
        return result


def resume(
    run: Path, console: Console, epoch: int | None = None, epochs: int | None = None
) -> RunResult:
    """Go on with the run in the directory `run` after its last checkpoint, or that of `epoch`.

    It ends as it would have without the interruption, to the bit. A run without any checkpoint
    begins anew. With `epochs` in all, it is prolonged: the epochs that are left have the learning
    rates of a training of that length, and the run's experiment states it.

    Raises:
        RunDirectoryError: There is no run, it is finished, or another process trains it.
        CheckpointError: A checkpoint cannot be read or written.
        ConfigError, DataError, PluginError: What the experiment names is not there any more, or
            more epochs are done than `epochs`.
        TrainingError: No epoch ended with a finite value.
    """
    if not (run / EXPERIMENT).exists():
        raise RunDirectoryError(
            f"{run} holds no run to resume: {EXPERIMENT} is missing there. Give the directory "
            "that `tsjax train` wrote to.",
            path=run,
        )
    with held_directory(run):
        experiment = load_experiment(run / EXPERIMENT)
        begun = any(stored_epochs(run / folder) for folder in (CHECKPOINTS, POLISH))
        # What is identified is replaced by what a checkpoint holds.
        learner = experiment.build(identify=not begun)
        learner.description = describe_training(run / EXPERIMENT)
        if epochs is not None:
            experiment = replace(experiment, train=replace(experiment.train, epochs=epochs))
        options = experiment.train
        checkpoints = run / CHECKPOINTS
        results: Iterator[EpochResult] | None
        if stored_epochs(run / POLISH):
            if epoch is not None or epochs is not None:
                raise ConfigError(
                    f"{run} is polished already, so that its epochs cannot be changed; resume it "
                    "without --epoch and --epochs, or train anew.",
                    key="epochs",
                )
            results = None
            console.print(f"resuming the polish after iteration {stored_epochs(run / POLISH)[-1]}")
        elif epoch is not None or stored_epochs(checkpoints):
            prolonged = {"n_epochs": epochs, "schedule": SCHEDULES[options.schedule]()}
            changed: dict[str, Any] = {} if epochs is None else prolonged
            results = learner.resume(checkpoints, epoch, **changed)
            console.print(f"resuming after epoch {len(learner.history)} of {options.epochs}")
        else:
            results = _begin_epochs(learner, options)
            console.print("no epoch had ended; beginning anew")
        if epochs is not None:
            tables = tomllib.loads((run / EXPERIMENT).read_text(encoding="utf-8"))
            tables["train"]["epochs"] = epochs
            write_whole(run / EXPERIMENT, tomli_w.dumps(tables))
        return _complete(learner, experiment, run, results)


def _begin_epochs(learner: Learner, options: TrainOptions) -> Iterator[EpochResult] | None:
    """Return the results of the epochs that are to be trained, None without any."""
    if not options.epochs:
        return None
    return learner.fit_iter(options.epochs, options.lr, SCHEDULES[options.schedule]())


def _complete(
    learner: Learner, experiment: Experiment, out: Path, results: Iterator[EpochResult] | None
) -> RunResult:
    """Train what `results` are to give, polish, then write model and report."""
    options, polish = experiment.train, experiment.polish
    phase: _Phase | None = None
    if results is not None and options.epochs:
        patience = options.patience or options.epochs
        phase = _follow_phase(
            learner, options, results, out, CHECKPOINTS, "history.csv", options.epochs, patience
        )
    if polish is not None and (phase is None or phase.ended in ("finished", STOPPED)):
        if stored_epochs(out / POLISH):
            results = learner.resume(out / POLISH)
        else:
            results = learner.polish_iter(**polish.to_json())
        before = phase is not None and phase.new
        # The polish has a patience of its own.
        phase = _follow_phase(learner, options, results, out, POLISH, "polish.csv", None, 1 << 30)
        phase = replace(phase, new=phase.new or before)
    if phase is None:
        phase = _Phase(_evaluate_begin(learner), "finished", "", new=True)
    whole = (out / MODEL).exists() and (out / REPORT).exists()
    if phase.ended in ("finished", STOPPED) and not phase.new and whole:
        raise RunDirectoryError(
            f"{out} is finished, and there is nothing to resume. Look at it with: tsjax evaluate "
            f"{out}",
            path=out,
        )
    ended, advice = phase.ended, phase.advice
    last = learner.history[-1] if learner.history else None
    if phase.best is None and last is not None and math.isfinite(last.valid_loss):
        warnings.warn(
            f"{options.monitor} had no finite value in any epoch, and cannot decide which is the "
            "best; the model of the last epoch is kept. Monitor valid_loss instead.",
            stacklevel=2,
        )
        phase = replace(phase, best=last)
    if phase.best is None:
        if ended in ("finished", STOPPED):
            blamed = learner.pipeline.blamed
            ended, advice = f"gave no finite {options.monitor}", blamed or UNSTABLE
        raise TrainingError(f"training {ended}, and there is no model to keep. {advice}")
    learner.save(out / MODEL, overwrite=True)
    evaluation = learner.evaluate("test")
    linear = fit_reference(learner.pipeline) if experiment.report.linear else None
    if linear is not None:
        linear.write(out / REFERENCE)
    reference = evaluate_reference(learner, evaluation, linear)
    kept = phase.best if options.keep == "best" or not learner.history else learner.history[-1]
    polished = isinstance(learner.fit_in_progress, PolishFit)
    with replaced_directory(out / REPORT) as fresh:
        figures = write_report(
            learner,
            evaluation,
            fresh,
            experiment.plots(),
            reference=reference,
            kept=None if polished else kept.epoch,
        )
    fit = learner.fit_in_progress
    return RunResult(
        out,
        learner,
        kept,
        evaluation,
        tuple(out / REPORT / path.name for path in figures),
        ended,
        phase.resumable,
        fit.ended if isinstance(fit, PolishFit) else "",
        polished=polished,
        reference=reference,
    )


def evaluate_reference(
    learner: Learner, evaluation: Evaluation, linear: LinearReference | None
) -> NamedEvaluation | None:
    """Return what a linear model gives on the files of `evaluation`, None without any."""
    if linear is None or not evaluation.files:
        return None
    source = learner.pipeline.split(evaluation.split)
    samples = [source[number] for number in range(len(source))]
    scored = score_reference(
        linear,
        evaluation,
        [sample["u"] for sample in samples],
        [sample["y"] for sample in samples],
        learner.evaluator.metrics,
        learner.signals.outputs,
    )
    return NamedEvaluation(linear.name, scored)


@dataclass(frozen=True)
class _Phase:
    """How the epochs, or the iterations of a polish, ended; `new` says whether there was any."""

    best: EpochResult | None
    ended: str
    advice: str
    new: bool
    resumable: bool = False


def _follow_phase(
    learner: Learner,
    options: TrainOptions,
    results: Iterator[EpochResult],
    out: Path,
    folder: str,
    table: str,
    n_epochs: int | None,
    patience: int,
) -> _Phase:
    """Go through `results` with checkpoints in `folder` and a row of `table` for each."""
    keep_best = options.keep == "best"
    checkpoints = Checkpoints(
        out / folder,
        keep_last=options.checkpoints,
        keep_best=int(keep_best),
        monitor=options.monitored,
        mode=options.mode,
    )
    stopping = EarlyStopping(
        patience, options.min_delta, options.monitored, options.mode, restore_best=keep_best
    )
    fit = learner.fit_in_progress
    before = tuple(learner.history[len(learner.history) - fit.done :]) if fit and fit.done else ()
    saved = checkpoints.follow(results, learner)
    safe = stopping.follow(saved, learner)
    shown = follow(safe, n_epochs, lambda: learner.progress)
    ended, advice, resumable, new = "finished", "", False, 0
    try:
        # Wherever an interrupt comes, the best weights are back and the last checkpoint is whole.
        with closing(saved), closing(safe), closing(shown), noticed_interrupts() as was_interrupted:
            for _ in _record_epochs(before, shown, out / table):
                new += 1
                if was_interrupted():
                    raise KeyboardInterrupt  # noqa: TRY301 - as if it had not been lost
                # It is written last, and an old one would make an unfinished run look finished.
                if (out / REPORT).exists():
                    shutil.rmtree(out / REPORT)
    except KeyboardInterrupt:
        steps = "epochs" if n_epochs else "iterations"
        ended, advice = f"interrupted after {len(before) + new} {steps}", "Train for longer."
        resumable = learner.progress < 1.0
    except DivergenceError as error:
        ended, advice = error.what, error.advice
    if ended == "finished" and stopping.stopped:
        ended = STOPPED
    return _Phase(stopping.best, ended, advice, new > 0, resumable)


def _evaluate_begin(learner: Learner) -> EpochResult:
    """Return the validation of a model that no epoch trains, as an epoch before the first."""
    valid = learner.evaluate("valid")
    return EpochResult(-1, math.nan, valid.loss, valid.metrics)


@contextmanager
def noticed_interrupts() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed in the block.

    Ctrl-C raises KeyboardInterrupt as always; but raised within a callback of a compiler, Python
    can do no more than print it, and the training would go on as if nothing had happened. Where
    Ctrl-C does something else, as under `nohup`, nothing is changed.
    """
    pressed = threading.Event()

    def notice(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.signal(signal.SIGINT, notice)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def load_run(path: Path) -> tuple[Experiment, SavedModel]:
    """Return the experiment and the saved model of the run in `path`.

    Raises:
        RunDirectoryError: `path` holds no finished run.
    """
    for name in (EXPERIMENT, MODEL):
        if not (path / name).exists():
            unfinished = (path / EXPERIMENT).exists()
            cure = (
                f"Go on with it: tsjax resume {path}"
                if unfinished
                else "Give the directory that `tsjax train` printed."
            )
            raise RunDirectoryError(
                f"{path} holds no finished run: {name} is missing there. {cure}", path=path
            )
    return load_experiment(path / EXPERIMENT), load_saved(path / MODEL)


def load_learner(path: Path) -> Learner:
    """Return the learner of the run in `path`, with its data and its trained model."""
    experiment, saved = load_run(path)
    # What is identified or drawn is replaced by what was trained.
    learner = experiment.build(identify=False)
    nnx.update(learner.model, nnx.state(saved.model))
    return learner


def _record_epochs(
    before: Iterable[EpochResult], results: Iterable[EpochResult], file: Path
) -> Iterator[EpochResult]:
    """Yield `results`, and write those of `before` and each that arrives as a row of `file`."""
    counter = "iteration" if file.stem == "polish" else "epoch"
    with named_in_errors(file), file.open("w", newline="", encoding="utf-8") as stream:
        writer: csv.DictWriter[str] | None = None
        for known, result in chain(((True, r) for r in before), ((False, r) for r in results)):
            row = _row(result, counter)
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow(row)
            stream.flush()
            if not known:
                yield result


def read_history(file: Path) -> dict[str, list[float]]:
    """Return the columns of `history.csv` or `polish.csv` by name; none of a file that is absent.

    Cells that are no numbers are NaN.
    """
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))

    def number(text: str | None) -> float:
        try:
            return float(text or "nan")
        except ValueError:
            return math.nan

    return {name: [number(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _row(result: EpochResult, counter: str) -> dict[str, Any]:
    row = {
        counter: result.epoch + (counter == "epoch"),
        "seconds": round(result.seconds, 3),
        "train_loss": result.train_loss,
        "valid_loss": result.valid_loss,
        "skipped": result.skipped,
    }
    terms = {f"term_{name}": value for name, value in result.terms.items()}
    terms = terms if len(terms) > 1 else {}
    return row | dict(result.quantities) | dict(result.metrics) | terms


def _write_versions(file: Path) -> None:
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    versions |= {"python": platform.python_version(), "machine": platform.platform()}
    file.write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
