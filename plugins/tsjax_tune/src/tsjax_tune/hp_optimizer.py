"""Hyperparameter search over learners, on Ray Tune."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.directories import free_directory
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_core.training.learner import Learner
from tsjax_tune.algorithms import make_search
from tsjax_tune.ray_session import ray_session
from tsjax_tune.results import Mode, StudyResult, TrialResult, read_results
from tsjax_tune.trial import CreateLearner, FitOptions, fit_options, train_trial

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from tsjax_core.data.pipeline import GrainPipeline

SETTINGS = "study.json"
CHECKPOINTS_KEPT = 3


class HPOptimizer:
    """Searches for the hyperparameters of a learner.

    Trials run in processes of their own, as many at once as there are processors, on this machine
    or on a Ray cluster. The pipeline is put into Ray's object store once, and not once per trial.

    Args:
        create_learner: Called as `create_learner(pipeline, config)` in the process of each trial,
            returns its learner. A function of a module that workers cannot import is best defined
            in the script itself.
        pipeline: The data of all trials; None where `create_learner` reads them by itself.
        ray_options: Arguments of `ray.init`, for a Ray that is not running: `num_cpus`,
            `object_store_memory` in bytes, or the `address` of a cluster.
        fit_options: Called with the configuration, returns `lr` and `schedule` of its fit. By
            default these are the keys `lr` and `schedule` of the configuration.
    """

    def __init__(
        self,
        create_learner: CreateLearner,
        pipeline: GrainPipeline | None,
        *,
        ray_options: Mapping[str, Any] | None = None,
        fit_options: FitOptions = fit_options,
    ) -> None:
        self.create_learner = create_learner
        self.pipeline = pipeline
        self.ray_options = dict(ray_options or {})
        self.fit_options = fit_options

    def optimize(
        self,
        config: Mapping[str, Any],
        n_epochs: int = 100,
        metric: str = "valid_loss",
        mode: Mode = "min",
        *,
        num_samples: int = 1,
        scheduler: Any = None,
        search_alg: Any = None,
        directory: str | Path | None = None,
        cpus_per_trial: float = 1.0,
        gpus_per_trial: float = 0.0,
        max_concurrent_trials: int | None = None,
        max_failures: int = 0,
        seed: int | None = None,
        show_progress: bool = True,
        **tune_kwargs: Any,
    ) -> StudyResult:
        """Train trials with values of `config`, and return what they gave.

        A trial that fails is a row with its error, and the others go on. An interrupted study goes
        on by `restore`.

        Args:
            config: Values by name: those of Ray Tune such as `tune.choice` and
                `tune.grid_search`, which are drawn, and others, which all trials have.
            n_epochs: Epochs of every trial, if nothing stops it before.
            metric: What is compared, at the best epoch of each trial: valid_loss, train_loss, or
                the name of a metric of the learner.
            mode: Whether less (min) or more (max) of it is better.
            num_samples: Trials, or for a grid how many times it is run through. -1 goes on until
                the time budget ends.
            scheduler: A scheduler of Ray Tune. By default no trial is stopped.
            search_alg: `random`, `optuna`, or a search algorithm of Ray Tune.
            directory: New directory for everything that is written. By default `studies/study`,
                then `studies/study-2` and so on, in the working directory.
            cpus_per_trial: Processors of a trial, which decide how many run at once.
            gpus_per_trial: Graphics processors of a trial, or the share of one.
            max_concurrent_trials: Trials that run at once at most.
            max_failures: How many times a trial that failed is begun again from its last
                checkpoint, as it should be on a cluster whose machines may be lost.
            seed: Decides the values that are drawn.
            show_progress: Whether each trial that ends is printed on standard error.
            tune_kwargs: Further arguments of `ray.tune.TuneConfig`, such as `time_budget_s`.

        Raises:
            ConfigError: An argument is wrong.
            RunDirectoryError: `directory` is not empty.
        """
        whole_number("n_epochs", n_epochs, "epochs", least=1)
        whole_number("max_failures", max_failures, "failures")
        whole_number("num_samples", num_samples, "trials, or -1", least=-1)
        positive("cpus_per_trial", cpus_per_trial)
        choice("mode", mode, ("min", "max"))
        if not num_samples or (num_samples < 0 and tune_kwargs.get("time_budget_s") is None):
            raise ConfigError(
                f"num_samples = {num_samples}; give 1 or more, or -1 with a time_budget_s.",
                key="num_samples",
            )
        directory = free_directory(Path("studies/study")) if directory is None else directory
        directory = Path(directory).absolute()
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise RunDirectoryError(
                f"{directory} exists and is not empty; nothing was written. Choose another "
                "directory, or go on with the study in it by HPOptimizer.restore.",
                path=directory,
            )
        with ray_session(self.ray_options):
            from ray import tune

            search = make_search(search_alg, seed, max_concurrent_trials)
            try:
                tune_config = tune.TuneConfig(
                    metric=metric,
                    mode=mode,
                    num_samples=num_samples,
                    scheduler=scheduler,
                    search_alg=search,
                    **{
                        # A new process for every trial would import and compile everything again.
                        "reuse_actors": True,
                        "trial_name_creator": _name_trial,
                        "trial_dirname_creator": _name_trial,
                        **tune_kwargs,
                    },
                )
            except TypeError as error:
                raise ConfigError(f"{error}; give arguments of ray.tune.TuneConfig.") from error
            directory.mkdir(parents=True, exist_ok=True)
            resources = {"cpu": cpus_per_trial, "gpu": gpus_per_trial}
            settings = {"n_epochs": n_epochs, "metric": metric, "mode": mode}
            text = json.dumps({**settings, "resources": resources}, indent=2)
            (directory / SETTINGS).write_text(f"{text}\n", encoding="utf-8")
            tuner = tune.Tuner(
                self._trainable(resources, n_epochs, metric),
                param_space=dict(config),
                tune_config=tune_config,
                run_config=tune.RunConfig(
                    name=directory.name,
                    storage_path=str(directory.parent),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    checkpoint_config=tune.CheckpointConfig(
                        num_to_keep=CHECKPOINTS_KEPT,
                        checkpoint_score_attribute=metric,
                        checkpoint_score_order=mode,
                    ),
                    callbacks=_callbacks(metric, mode, show_progress=show_progress),
                ),
            )
            return read_results(tuner.fit(), metric, mode, n_epochs, directory)

    def restore(self, directory: str | Path, *, retry_failed: bool = False) -> StudyResult:
        """Go on with the interrupted study in `directory`, and return what all its trials gave.

        Trials that were running go on from their last checkpoint, and those that ended are not
        trained again; with `retry_failed`, those that failed go on from their last checkpoint.

        Raises:
            RunDirectoryError: There is no study in `directory`.
        """
        directory = Path(directory).absolute()
        with ray_session(self.ray_options):
            from ray import tune

            if not (directory / SETTINGS).exists() or not tune.Tuner.can_restore(str(directory)):
                raise RunDirectoryError(
                    f"{directory} holds no study to go on with; give the directory of an "
                    "interrupted HPOptimizer.optimize.",
                    path=directory,
                )
            settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
            n_epochs, metric = settings["n_epochs"], settings["metric"]
            tuner = tune.Tuner.restore(
                str(directory),
                self._trainable(settings["resources"], n_epochs, metric),
                resume_errored=retry_failed,
            )
            return read_results(tuner.fit(), metric, settings["mode"], n_epochs, directory)

    def load_learner(self, trial: TrialResult) -> Learner:
        """Return the learner of `trial`, trained as it was after its best epoch.

        Raises:
            TrainingError: The trial has no checkpoint.
        """
        if trial.checkpoint is None:
            raise TrainingError(
                f"{trial.name} has no checkpoint to load: {trial.error or 'no epoch ended'}."
            )
        learner = self.create_learner(self.pipeline, trial.config)
        # To resume restores the learner; the iterator would train further epochs.
        learner.resume(trial.checkpoint)
        return learner

    def _trainable(self, resources: Mapping[str, float], n_epochs: int, metric: str) -> Any:
        from ray import tune

        shared = tune.with_parameters(
            train_trial,
            create_learner=self.create_learner,
            pipeline=self.pipeline,
            fit_options=self.fit_options,
            n_epochs=n_epochs,
            metric=metric,
        )
        return tune.with_resources(shared, dict(resources))


def _name_trial(trial: Trial) -> str:
    return f"trial_{trial.trial_id}"


def _callbacks(metric: str, mode: Mode, *, show_progress: bool) -> list[Any]:
    from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback

    from tsjax_tune.progress import TrialLines

    # Ray annotates these classes in part only.
    makers: list[Any] = [CSVLoggerCallback, JsonLoggerCallback]
    lines = [TrialLines(metric, mode)] if show_progress else []
    return [*(make() for make in makers), *lines]
