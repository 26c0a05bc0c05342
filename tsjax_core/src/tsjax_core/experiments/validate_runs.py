"""A validation report of runs as one page: what `tsjax report` does."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.data.store import SPLITS
from tsjax_core.directories import check_new_directory
from tsjax_core.errors import ConfigError, DataError, ModelError
from tsjax_core.experiments.compare_runs import align_files, compare_runs, comparison_rows
from tsjax_core.experiments.describe_model import describe_model, info_rows
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.experiments.new_files import learner_on
from tsjax_core.experiments.page import Page
from tsjax_core.experiments.report import NamedEvaluation, early_errors, flat_outputs
from tsjax_core.experiments.run import (
    EXPERIMENT,
    REFERENCE,
    evaluate_reference,
    load_learner,
    read_history,
)
from tsjax_core.judging.horizons import calibrate_bands, collect_errors
from tsjax_core.judging.reference import describe_reference, read_reference
from tsjax_core.judging.residuals import check_residuals, describe_tests
from tsjax_core.judging.shows import describe_file
from tsjax_core.judging.spectra import estimate_spectra
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner
from tsjax_core.types import HostArray

_CONFIDENCE = 0.9


@dataclass(frozen=True, eq=False)
class _Run:
    """A run with what it is judged by; `of` says which files were simulated."""

    path: Path
    learner: Learner
    evaluation: Evaluation
    reference: NamedEvaluation | None
    of: str

    @property
    def inputs(self) -> list[HostArray]:
        """The inputs of each file, the samples that count."""
        source = self.learner.pipeline.split("test")
        return [
            source[number]["u"][-len(pred) :]
            for number, (_, pred, _) in enumerate(self.evaluation.paired_files)
        ]

    @property
    def residuals(self) -> list[HostArray]:
        """Measured less simulated outputs of each file."""
        return [target.astype(float) - pred for _, pred, target in self.evaluation.paired_files]


def validate_runs(runs: Sequence[Path], out: Path, *, files: Sequence[Path] = ()) -> Path:
    """Write a validation report of `runs` into the new directory `out`; return the page's path.

    Args:
        runs: Finished runs of the same outputs; with several, they are compared first.
        out: New directory for the page and its figures.
        files: Files to judge on, in the place of the test files of the runs.

    Raises:
        RunDirectoryError: One of `runs` is no finished run, or `out` is not empty.
        ConfigError: matplotlib is not installed, or there is no run.
        ModelError: The outputs are no sequences.
        DataError: Files do not fit, or are too short to judge on.
    """
    check_new_directory(out)
    if not runs:
        raise ConfigError("give the directory of at least one run.", key="run")
    if find_spec("matplotlib") is None:
        raise ConfigError(
            'a report has figures; install matplotlib with pip install "tsjax-core[viz]"',
            key="report",
        )
    names = ", ".join(str(run) for run in runs)
    page = Page(f"Validation of {names}")
    if len(runs) > 1:
        _compare(page, runs, files)
    for path in runs:
        run = _judge(path, files)
        if len(runs) > 1:
            page.begin_section(f"Run {path}")
        _describe_run(page, run)
    return page.write(out)


def _judge(path: Path, files: Sequence[Path]) -> _Run:
    learner = learner_on(path, files) if files else load_learner(path)
    if learner.signals.target != "y":
        raise ModelError(
            f"{path} predicts one value per file, and a report judges output sequences; see its "
            "scores with tsjax evaluate."
        )
    evaluation = learner.evaluate("test")
    reference = evaluate_reference(learner, evaluation, read_reference(path / REFERENCE))
    return _Run(path, learner, evaluation, reference, "the files given" if files else "test")


def _compare(page: Page, runs: Sequence[Path], files: Sequence[Path]) -> None:
    from tsjax_core.judging.figures import plot_comparison

    comparison = compare_runs(runs, files=files)
    page.begin_section("Comparison of the runs")
    columns, rows = comparison_rows(comparison)
    page.add_table("RMSE, with the fit in %; * marks the best", columns, rows)
    signals = comparison.signals
    for file, (target, simulated) in align_files(comparison).items():
        by_run = dict(zip(comparison.evaluations, simulated, strict=True))
        figure = plot_comparison(target, by_run, outputs=signals.outputs, dt=signals.dt, title=file)
        caption = f"All runs on {file}: where they are worst, and their errors."
        page.add_figure(f"comparison_{_stem(file)}", figure, caption)


def _describe_run(page: Page, run: _Run) -> None:
    findings = _findings(run)
    page.begin_section("What the figures mean")
    place = page.reserve_place()
    _add_data(page, run)
    _add_training(page, run)
    _add_simulation(page, run)
    findings += _add_horizons(page, run)
    findings += _add_residuals(page, run)
    findings += _add_amplitudes(page, run)
    _add_model(page, run)
    page.add_findings(findings, place)


def _findings(run: _Run) -> list[str]:
    """Return what scores say in sentences."""
    sentences = []
    signals = run.learner.signals
    rows = _score_rows(run.evaluation, signals.outputs)
    for name, (rmse, _, fit, _) in rows[-len(signals.outputs) :]:
        unit = f" {signals.units[name]}" if name in signals.units else ""
        sentences.append(
            f"On {run.of}, {name} is simulated with an RMSE of {rmse:.4g}{unit}, a fit of "
            f"{fit:.2f} %."
        )
    if run.reference is not None:
        worse = describe_reference(run.evaluation, run.reference.evaluation, run.reference.name)
        better = f"It is better than the {run.reference.name} model of the same data."
        sentences.append(f"{worse[:1].upper()}{worse[1:]}" if worse else better)
    sentences += [
        f"{text[:1].upper()}{text[1:]}"
        for text in (early_errors(run.evaluation), flat_outputs(run.evaluation))
        if text
    ]
    return sentences


def _score_rows(
    evaluation: Evaluation, outputs: Sequence[str]
) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return RMSE, NRMSE, fit and VAF of each output: in each file, and in all files together."""
    files = [(pred[0], target[0]) for pred, target in evaluation.pairs]
    together = tuple(np.concatenate(each) for each in zip(*files, strict=True))
    parts = files if len(files) == 1 else [*files, together]
    return [
        (name, _score(pred[:, number], target[:, number]))
        for pred, target in parts
        for number, name in enumerate(outputs)
    ]


def _score(pred: HostArray, target: HostArray) -> tuple[float, float, float, float]:
    known = np.isfinite(target)
    if not known.any():
        return (math.nan,) * 4
    y = target[known].astype(float)
    with np.errstate(over="ignore", invalid="ignore"):
        error = y - pred[known]
        rmse = float(np.sqrt(np.mean(error**2)))
        spread = float(y.std())
        if spread == 0.0:
            return rmse, math.nan, math.nan, math.nan
        vaf = 100.0 * (1.0 - float(np.var(error)) / spread**2)
    return rmse, rmse / spread, 100.0 * (1.0 - rmse / spread), vaf


def _add_data(page: Page, run: _Run) -> None:
    page.begin_section("Data")
    pipeline, signals = run.learner.pipeline, run.learner.signals
    dt = signals.dt
    rate = (
        "The sampling time is not known."
        if dt is None
        else (f"The sampling time is {dt:.6g} s ({1 / dt:.6g} Hz).")
    )
    division = "" if pipeline.division is None else f" The records are cut: {pipeline.division}."
    page.add_text(f"{rate}{division}")
    rows = []
    for split in ("test",) if run.of != "test" else SPLITS:
        records = pipeline.records(split)
        total = int(records.lengths.sum())
        time = "" if dt is None else f"{total * dt:.4g} s"
        rows.append([run.of if split == "test" else split, str(len(records)), str(total), time])
    page.add_table("Files of each part", ["part", "files", "samples", "time"], rows)
    rows = []
    for key, names in (("u", signals.inputs), ("y", signals.outputs)):
        kind, stats = "input" if key == "u" else "output", signals.stats[key]
        for name, mean, std in zip(names, stats.mean, stats.std, strict=True):
            cells = [name, kind, signals.units.get(name, ""), f"{mean:.5g}", f"{std:.5g}"]
            rows.append(cells)
    columns = ["signal", "kind", "unit", "mean in training", "standard deviation"]
    page.add_table("Signals", columns, rows)


def _add_training(page: Page, run: _Run) -> None:
    from tsjax_core.viz import plot_losses

    for table, what in (("history.csv", "epoch"), ("polish.csv", "iteration")):
        history = read_history(run.path / table)
        if not history.get("train_loss"):
            continue
        if what == "epoch":
            page.begin_section("Training")
        losses = {
            "train": history["train_loss"],
            "valid": history["valid_loss"],
            **{
                f"train, {name.removeprefix('term_')}": values
                for name, values in history.items()
                if name.startswith("term_")
            },
        }
        kept = _kept_step(run.path, history, what)
        figure = plot_losses(history[what], losses, what=what, kept=kept)
        page.add_figure(table.removesuffix(".csv"), figure, f"Losses over the {what}s.")


def _kept_step(path: Path, history: dict[str, list[float]], what: str) -> int | None:
    """Return the epoch, or the iteration, whose model was kept; None where a polish followed."""
    options = load_experiment(path / EXPERIMENT).train
    values = history.get(options.monitored, [])
    polished = what == "epoch" and (path / "polish.csv").is_file()
    if options.keep != "best" or polished or not np.isfinite(values).any():
        return None
    pick = np.nanargmin if options.mode == "min" else np.nanargmax
    return int(history[what][int(pick(values))])


def _add_simulation(page: Page, run: _Run) -> None:
    page.begin_section("Simulation against measurement")
    learner, evaluation = run.learner, run.evaluation
    page.add_text(
        f"Outputs are simulated from the inputs alone. Initial state: {evaluation.initial_state}."
    )
    outputs = learner.signals.outputs
    files = [file for file, _, _ in evaluation.paired_files]
    places = files if len(files) == 1 else [*files, "all"]
    labels = [file for file in places for _ in outputs]
    own = _score_rows(evaluation, outputs)
    linear = _score_rows(run.reference.evaluation, outputs) if run.reference else []
    rows = []
    for number, (file, (name, scores)) in enumerate(zip(labels, own, strict=True)):
        rows.append([file, name, "this model", *_numbers(scores)])
        if run.reference is not None:
            rows.append([file, name, run.reference.name, *_numbers(linear[number][1])])
    columns = ["file", "output", "model", "RMSE", "NRMSE", "fit in %", "VAF in %"]
    page.add_table("Scores of each file", columns, rows)
    experiment_plots = load_experiment(run.path / EXPERIMENT).plots()
    source = learner.pipeline.split("test")
    simulated = [pred[0] for pred, _ in run.reference.evaluation.pairs] if run.reference else []
    for number, (file, pred, target) in enumerate(evaluation.paired_files):
        given = describe_file(learner, run.of, file)
        given["reference"] = simulated[number] if simulated else None
        given["batch"] = source[number]
        for name, plot in experiment_plots.items():
            short = name.rpartition("/")[2]
            caption = f"{file}: measured and simulated outputs ({short})."
            page.add_figure(f"{short}_{_stem(file)}", plot(pred, target, given=given), caption)


def _numbers(scores: tuple[float, float, float, float]) -> list[str]:
    rmse, nrmse, fit, vaf = scores
    return [f"{rmse:.4g}", f"{nrmse:.4g}", f"{fit:.2f}", f"{vaf:.2f}"]


def _add_horizons(page: Page, run: _Run) -> list[str]:
    """Add errors by horizon and their bands, and return what they mean."""
    from tsjax_core.judging.report_figures import plot_horizons

    page.begin_section("Error by horizon, and its band")
    learner = run.learner
    if run.of != "test":
        page.add_text("Bands are calibrated on the validation files of the run, not given here.")
        return []
    try:
        tested = collect_errors(learner, "test")
        bands = calibrate_bands(
            collect_errors(learner, "valid", horizon=tested.shape[1]), confidence=_CONFIDENCE
        )
    except (DataError, ModelError) as error:
        page.add_text(f"There are no bands: {error}")
        return []
    outputs, dt = learner.signals.outputs, learner.signals.dt
    covered = bands.coverage(tested)
    page.add_figure(
        "horizons",
        plot_horizons(bands, tested, outputs, dt),
        f"Half the width of the band that held {100 * _CONFIDENCE:g} % of the errors on "
        "validation, and the RMSE on test, over the time since a simulation began.",
    )
    steps = sorted({0, len(bands.half) // 10, len(bands.half) // 2, len(bands.half) - 1})
    with np.errstate(invalid="ignore"):
        rmse = np.sqrt(np.nanmean(np.square(tested), axis=0))
    rows = [
        [
            f"{step + 1}" if dt is None else f"{(step + 1) * dt:.4g} s",
            name,
            f"{rmse[step, number]:.4g}",
            f"{bands.half[step, number]:.4g}",
            f"{100 * covered[step, number]:.0f}",
        ]
        for step in steps
        for number, name in enumerate(outputs)
    ]
    columns = ["horizon", "output", "RMSE on test", "band +-", "inside on test in %"]
    page.add_table(f"Errors by horizon, from {bands.starts} starts or more", columns, rows)
    return [
        f"Bands that hold {100 * _CONFIDENCE:g} % of the errors on validation hold "
        f"{100 * float(np.nanmean(covered[:, number])):.0f} % of those on test for {name}."
        for number, name in enumerate(outputs)
    ]


def _add_residuals(page: Page, run: _Run) -> list[str]:
    """Add the tests and spectra of the residuals, and return what they mean."""
    from tsjax_core.judging.report_figures import plot_correlations, plot_spectra

    page.begin_section("Residuals")
    signals = run.learner.signals
    try:
        tests = check_residuals(run.inputs, run.residuals)
    except DataError as error:
        page.add_text(f"There are no tests: {error}")
        return []
    sentences = describe_tests(tests, signals.inputs, signals.outputs, signals.dt)
    page.add_text(
        "Correlations of the residuals with their own past, and with each input. In the grey band "
        "lie 99 % of the correlations of independent signals; lags below 0 mean that the output "
        "acts back on the input."
    )
    page.add_figure(
        "residuals",
        plot_correlations(tests, signals.inputs, signals.outputs),
        "Correlations of the residuals. " + " ".join(sentences),
    )
    targets = [target for _, _, target in run.evaluation.paired_files]
    frequencies, measured = estimate_spectra(targets, signals.dt)
    _, residual = estimate_spectra(run.residuals, signals.dt)
    page.add_figure(
        "spectra",
        plot_spectra(frequencies, measured, residual, signals.outputs, signals.dt),
        "Power density of the residuals beside that of the measured outputs: where the curves come "
        "close, the model explains nothing.",
    )
    return sentences


def _add_amplitudes(page: Page, run: _Run) -> list[str]:
    """Add how often values occur in training and in test, and return what is extrapolated."""
    from tsjax_core.judging.report_figures import plot_amplitudes

    page.begin_section("Amplitudes")
    learner, signals = run.learner, run.learner.signals
    if run.of != "test":
        page.add_text("The training files of the run are not read here.")
        return []
    names = [*signals.inputs, *signals.outputs]
    records = {
        split: [np.concatenate([x["u"], x["y"]], axis=1) for x in _samples(learner, split)]
        for split in ("train", "test")
    }
    figure = plot_amplitudes(records["train"], records["test"], names, run.of)
    page.add_figure(
        "amplitudes", figure, "How often each value occurs in the training files and in the others."
    )
    sentences = []
    train, test = (np.concatenate(records[split]) for split in ("train", "test"))
    for number, name in enumerate(names):
        low, high = np.nanmin(train[:, number]), np.nanmax(train[:, number])
        values = test[:, number][np.isfinite(test[:, number])]
        outside = float(np.mean((values < low) | (values > high))) if len(values) else 0.0
        if outside > 0.001:
            sentences.append(
                f"{100 * outside:.1f} % of the samples of {name} on test lie outside of the range "
                f"of training, {low:.4g} to {high:.4g}: there the model extrapolates."
            )
    return sentences


def _samples(learner: Learner, split: Any) -> list[Any]:
    records = learner.pipeline.records(split)
    return [records[number] for number in range(len(records))]


def _add_model(page: Page, run: _Run) -> None:
    page.begin_section("Model and run")
    page.add_table(
        "What the model is",
        ["property", "value"],
        [list(row) for row in info_rows(describe_model(run.path))],
    )
    text = (run.path / EXPERIMENT).read_text(encoding="utf-8")
    page.add_text(
        f"The same again: tsjax train {shlex.quote(str(run.path / EXPERIMENT))} (seed "
        f"{run.learner.seed})."
    )
    page.add_source("Experiment, complete", text)


def _stem(file: str) -> str:
    return Path(file).with_suffix("").as_posix().replace("/", "_")
