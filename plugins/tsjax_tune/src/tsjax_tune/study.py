"""A study from its file to its results: what `tsjax tune` runs.

A study directory holds `study.toml` (complete, readable from anywhere), `study.json` and `trials/`
(what Ray needs to go on), `epochs.jsonl` (every epoch of every trial), and in the end `trials.csv`,
`best.toml`, the run `best/`, and `plots/`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tsjax_core.data.pipeline import GrainPipeline
from tsjax_core.directories import replaced_directory
from tsjax_core.errors import ConfigError, RunDirectoryError
from tsjax_core.experiments.experiment import Experiment
from tsjax_core.experiments.report import write_report
from tsjax_core.experiments.run import EXPERIMENT, MODEL, REPORT
from tsjax_core.experiments.write_experiment import write_experiment
from tsjax_core.training.evaluation import Evaluation
from tsjax_core.training.learner import Learner
from tsjax_core.training.schedules import SCHEDULES
from tsjax_tune.hp_optimizer import SETTINGS, HPOptimizer
from tsjax_tune.results import StudyResult
from tsjax_tune.space import flatten
from tsjax_tune.study_file import TRIALS, Study, load_study, mutations_of

STUDY = "study.toml"
TABLE = "trials.csv"
BEST = "best.toml"
BEST_RUN = "best"
PLOTS = "plots"


@dataclass(frozen=True)
class StudyLearner:
    """Creates the learner of a trial of `study`, and says how it is fitted; workers get it whole.

    Args:
        study: The study.
        data: The table of the data that the shared pipeline was made of.
    """

    study: Study
    data: Mapping[str, Any]

    def create(self, pipeline: GrainPipeline | None, config: Mapping[str, Any]) -> Learner:
        """Return the learner, on the shared pipeline unless other data are drawn."""
        experiment = self.study.experiment(config)
        if pipeline is None or _without_seed(experiment.data) != _without_seed(self.data):
            return experiment.build()
        seed = experiment.data.get("seed", experiment.train.seed)
        return experiment.build(replace(pipeline, seed=seed) if seed != pipeline.seed else pipeline)

    def fit_options(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return how a trial is fitted."""
        options = self.study.experiment(config).train
        return {
            "lr": options.lr,
            "schedule": SCHEDULES[options.schedule](),
            "n_epochs": options.epochs,
            "patience": options.patience,
            "min_delta": options.min_delta,
        }

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that were drawn, by the keys of the experiment."""
        return flatten(self.study.space.assign(config))


@dataclass(frozen=True)
class Outcome:
    """What a study ended with: its trials, and the best of them as a run with its test scores."""

    study: StudyResult
    directory: Path
    evaluation: Evaluation
    figures: tuple[Path, ...]


def run_study(study: Study, out: Path, address: str | None, console: Console) -> Outcome:
    """Search as `study` says in the new directory `out`.

    Raises:
        RunDirectoryError: `out` exists and is not empty.
        ConfigError, DataError: The experiment is wrong; nothing has been written then.
        TrainingError: No trial has a finite value.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        cure = f", or go on with it: tsjax tune --resume {out}" if (out / SETTINGS).exists() else ""
        raise RunDirectoryError(
            f"{out} exists and is not empty; nothing was written. Choose another directory with "
            f"--out{cure}.",
            path=out,
        )
    optimizer, experiment = _make_optimizer(study, address, console)
    search = study.search
    try:
        config, options = _search_options(study)
        result = optimizer.optimize(
            config,
            experiment.train.epochs,
            study.metric,
            study.mode,
            directory=out,
            scheduler=search.scheduler,
            pack=search.pack,
            cpus_per_trial=search.cpus_per_trial,
            max_concurrent_trials=search.max_concurrent,
            max_failures=search.max_failures,
            seed=search.seed,
            time_budget_s=search.time_budget,
            **options,
        )
    except ConfigError as error:
        raise _located(error, study) from error
    return _complete(result, study, optimizer, out)


def resume_study(directory: Path, address: str | None, console: Console) -> Outcome:
    """Go on with the study in `directory`, and write its results.

    Raises:
        RunDirectoryError: There is no study, or another process runs it.
    """
    for name in (STUDY, SETTINGS):
        if not (directory / name).exists():
            raise RunDirectoryError(
                f"{directory} holds no study to go on with: {name} is missing there. Give the "
                "directory that `tsjax tune` wrote to.",
                path=directory,
            )
    study = load_study(directory / STUDY)
    optimizer, _ = _make_optimizer(study, address, console)
    result = optimizer.restore(directory)
    return _complete(result, study, optimizer, directory)


def _make_optimizer(
    study: Study, address: str | None, console: Console
) -> tuple[HPOptimizer, Experiment]:
    experiment = study.experiment()
    # What the data or the shapes are to blame for is reported before anything is started.
    learner = experiment.build()
    pipeline = learner.pipeline
    console.print(pipeline.summary())
    makes = StudyLearner(study, experiment.data)
    for values, key in study.space.probes():
        if key == "model" or key.startswith("model.name"):
            makes.create(pipeline, values)
    given = {"address": address} if address is not None else {}
    optimizer = HPOptimizer(
        makes.create,
        pipeline,
        ray_options=given,
        fit_options=makes.fit_options,
        describe=makes.describe,
        files={STUDY: study.to_toml()},
    )
    return optimizer, experiment


def _search_options(study: Study) -> tuple[Any, dict[str, Any]]:
    """Return the configurations to try, and how Ray searches for them."""
    from tsjax_tune.algorithms import make_optuna

    search, space = study.search, study.space
    trials = search.trials or TRIALS
    if search.algorithm == "grid":
        return space.grid(), {"mutations": _mutations(study)}
    if search.algorithm == "optuna":
        at_once = search.max_concurrent or os.cpu_count()
        found = make_optuna(
            search.seed,
            at_once,
            space=space.suggest,
            metric=study.metric,
            mode=study.mode,
            key="algorithm",
        )
        options = {"search_alg": found, "num_samples": trials, "mutations": _mutations(study)}
        return {}, options
    rng = np.random.default_rng(search.seed)
    return [space.draw(rng) for _ in range(trials)], {"mutations": _mutations(study)}


def _mutations(study: Study) -> dict[str, Any]:
    return mutations_of(study.space) if study.search.scheduler == "pbt" else {}


def _located(error: ConfigError, study: Study) -> ConfigError:
    if error.file is not None:
        return error
    return ConfigError(f"{study.file}: [search] {error}", key=error.key, file=study.file)


def _complete(
    result: StudyResult, study: Study, optimizer: HPOptimizer, directory: Path
) -> Outcome:
    """Write table, best experiment, best run and plots."""
    result.write_csv(directory / TABLE)
    best = result.best
    learner = optimizer.load_learner(best)
    experiment = study.experiment(best.config)
    with replaced_directory(directory / BEST_RUN) as fresh:
        write_experiment(fresh / EXPERIMENT, experiment, learner)
        learner.save(fresh / MODEL)
        evaluation = learner.evaluate("test")
        write_report(learner, evaluation, fresh / REPORT, experiment.plots())
        shutil.copy(fresh / EXPERIMENT, directory / BEST)
    figures: tuple[Path, ...] = ()
    with suppress(ImportError):
        from tsjax_tune.study_plots import write_plots

        with replaced_directory(directory / PLOTS) as fresh:
            figures = tuple(directory / PLOTS / path.name for path in write_plots(result, fresh))
    return Outcome(result, directory, evaluation, figures)


def _without_seed(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "seed"}
