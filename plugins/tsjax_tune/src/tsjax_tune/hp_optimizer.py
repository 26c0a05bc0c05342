"""Hyperparameter search over learners, on Ray Tune."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.directories import free_directory, held_directory
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_core.training.learner import Learner
from tsjax_core.training.monitor import Mode
from tsjax_tune.algorithms import draw_configs, make_search, try_points
from tsjax_tune.members import POINT
from tsjax_tune.packing import pack_configs
from tsjax_tune.ray_session import ray_session
from tsjax_tune.repair import repair_search
from tsjax_tune.results import StudyResult, TrialResult, read_results
from tsjax_tune.schedulers import make_scheduler
from tsjax_tune.study_log import StudyLog
from tsjax_tune.trial import CreateLearner, FitOptions, TrialPlan, fit_options

if TYPE_CHECKING:
    from ray.tune import Tuner
    from rich.console import Console

    from tsjax_core.data.pipeline import GrainPipeline

SETTINGS = "study.json"
TRIALS = "trials"
"""Ray's directory within that of the study."""


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
        fit_options: Called with a configuration, returns how it is fitted: those of `lr`,
            `schedule`, `n_epochs`, `patience` and `min_delta` that it has. By default these are the
            keys of the configuration with these names.
        describe: Called with a configuration, returns what of it stands in tables.
        files: Texts by file name that are written beside the results of a study.
    """

    def __init__(
        self,
        create_learner: CreateLearner,
        pipeline: GrainPipeline | None,
        *,
        ray_options: Mapping[str, Any] | None = None,
        fit_options: FitOptions = fit_options,
        describe: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.create_learner = create_learner
        self.pipeline = pipeline
        self.ray_options = dict(ray_options or {})
        self.fit_options = fit_options
        self.describe = describe
        self.files = dict(files or {})

    def optimize(
        self,
        config: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        n_epochs: int = 100,
        metric: str = "valid_loss",
        mode: Mode = "min",
        *,
        num_samples: int = 1,
        scheduler: Any = None,
        search_alg: Any = None,
        mutations: Mapping[str, Any] | None = None,
        pack: int = 1,
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
                `tune.grid_search`, which are drawn, and others, which all trials have. Or a list
                of configurations, each of which is a trial.
            n_epochs: Epochs of every trial, if nothing stops it before.
            metric: What is compared, at the best epoch of each trial: valid_loss, train_loss, or
                the name of a metric or of a loss term of the learner.
            mode: Whether less (min) or more (max) of it is better.
            num_samples: Trials, or for a grid how many times it is run through. -1 goes on until
                the time budget ends.
            scheduler: `none`, `asha` (stops the trials that are behind), `pbt` (lets them go on
                from the checkpoints of better ones, with another learning rate), or a scheduler of
                Ray Tune, whose `time_attr` may be `epoch`.
            search_alg: `random`, `optuna`, or a search algorithm of Ray Tune.
            mutations: What `pbt` changes, by default the range of `lr` in `config`. The checkpoint
                of a learner must fit one with another value.
            pack: Trials that a process trains as one program at most, where they have one shape.
            directory: New directory for everything that is written. By default `studies/study`,
                then `studies/study-2` and so on, in the working directory.
            cpus_per_trial: Processors of a trial, or of a pack, which decide how many run at once.
            gpus_per_trial: Graphics processors of a trial, or the share of one.
            max_concurrent_trials: Trials, or packs, that run at once at most.
            max_failures: How many times a trial is begun again from its last checkpoint after a
                failure that may not come again, such as the loss of a machine of the cluster.
                Errors of tsjax itself would come again, and are not tried again.
            seed: Decides the values that are drawn.
            show_progress: Whether the trials are shown on standard error.
            tune_kwargs: Further arguments of `ray.tune.TuneConfig`, such as `time_budget_s`.

        Raises:
            ConfigError: An argument is wrong.
            RunDirectoryError: `directory` is not empty.
        """
        whole_number("n_epochs", n_epochs, "epochs", least=1)
        whole_number("max_failures", max_failures, "failures")
        whole_number("num_samples", num_samples, "trials, or -1", least=-1)
        whole_number("pack", pack, "trials", least=1)
        positive("cpus_per_trial", cpus_per_trial)
        choice("mode", mode, ("min", "max"))
        if not num_samples or (num_samples < 0 and tune_kwargs.get("time_budget_s") is None):
            raise ConfigError(
                f"num_samples = {num_samples}; give 1 or more, or -1 with a time_budget_s.",
                key="num_samples",
            )
        space = config if isinstance(config, Mapping) else {}
        rate = space.get("lr")
        if mutations is None:
            mutations = {"lr": rate} if hasattr(rate, "sample") else {}
        if scheduler == "none":
            scheduler = None
        population = scheduler == "pbt"
        _check_pack(pack, scheduler, search_alg, num_samples)
        if population and max_concurrent_trials is not None:
            raise ConfigError(
                "scheduler = 'pbt' lets all trials take turns; leave out max_concurrent_trials.",
                key="max_concurrent_trials",
            )
        directory = free_directory(Path("studies/study")) if directory is None else directory
        directory = Path(directory).absolute()
        _check_free(directory)
        with ray_session(self.ray_options):
            from ray import tune

            resources = {"cpu": cpus_per_trial, "gpu": gpus_per_trial}
            points: list[Mapping[str, Any]] | None = None
            if not isinstance(config, Mapping):
                points = list(config)
            if pack > 1 and points is None:
                points = [*draw_configs(space, num_samples, seed)]
            if points is None:
                search = make_search(search_alg, seed, max_concurrent_trials)
            elif population:
                # It refuses any other search.
                entries = pack_configs(self.create_learner, self.pipeline, points, 1, resources)
                search, num_samples = make_search("random", seed, None), 1
                space, mutations = {POINT: tune.grid_search(entries)}, {POINT: dict(mutations)}
            else:
                entries = pack_configs(self.create_learner, self.pipeline, points, pack, resources)
                search, num_samples = try_points(entries, max_concurrent_trials), len(entries)
                space = {}
            made = make_scheduler(scheduler, n_epochs, mutations, seed)
            try:
                tune_config = tune.TuneConfig(
                    metric=metric,
                    mode=mode,
                    num_samples=num_samples,
                    scheduler=made,
                    search_alg=search,
                    **{**_tune_defaults(), **tune_kwargs},
                )
            except TypeError as error:
                raise ConfigError(f"{error}; give arguments of ray.tune.TuneConfig.") from error
            directory.mkdir(parents=True, exist_ok=True)
            settings: dict[str, Any] = {
                "n_epochs": n_epochs,
                "metric": metric,
                "mode": mode,
                "resources": resources,
                "every_epoch": made is not None,
                "current": population,
                "total": None if points is None else len(points),
            }
            with held_directory(directory):
                texts = {**self.files, SETTINGS: json.dumps(settings, indent=2) + "\n"}
                for name, text in texts.items():
                    (directory / name).write_text(text, encoding="utf-8")
                tuner = tune.Tuner(
                    self._trainable(settings),
                    param_space=dict(space),
                    tune_config=tune_config,
                    run_config=_run_config(directory, max_failures, population=population),
                )
                return self._run(tuner, directory, settings, show_progress=show_progress)

    def restore(
        self, directory: str | Path, *, retry_failed: bool = False, show_progress: bool = True
    ) -> StudyResult:
        """Go on with the interrupted study in `directory`, and return what all its trials gave.

        Trials that were running go on from their last checkpoint, and those that ended are not
        trained again; with `retry_failed`, those that Ray has as failed (not by an error of tsjax,
        which would come again) go on from their last checkpoint.

        Raises:
            RunDirectoryError: There is no study in `directory`, or another process runs it.
        """
        directory = Path(directory).absolute()
        with ray_session(self.ray_options):
            from ray import tune

            trials = str(directory / TRIALS)
            if not (directory / SETTINGS).exists() or not tune.Tuner.can_restore(trials):
                raise RunDirectoryError(
                    f"{directory} holds no study to go on with; give the directory of an "
                    "interrupted HPOptimizer.optimize.",
                    path=directory,
                )
            with held_directory(directory):
                settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
                repair_search(directory / TRIALS)
                tuner = tune.Tuner.restore(
                    trials, self._trainable(settings), resume_errored=retry_failed
                )
                return self._run(tuner, directory, settings, show_progress=show_progress)

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

    def _run(
        self, tuner: Tuner, directory: Path, settings: Mapping[str, Any], *, show_progress: bool
    ) -> StudyResult:
        from tsjax_tune.progress import StudyProgress
        from tsjax_tune.relay import listening

        log = StudyLog(directory)
        metric, mode = settings["metric"], settings["mode"]
        console = _error_console() if show_progress else None
        total = settings["total"]
        progress = StudyProgress(log, metric, mode, total, self.describe, console)
        with listening(progress), progress.shown():
            grid = tuner.fit()
        return read_results(grid, log, metric, mode, directory, self.describe)

    def _trainable(self, settings: Mapping[str, Any]) -> Any:
        import jax
        from ray import tune

        from tsjax_tune.worker import train_trial

        given: Any = jax.config
        plan = TrialPlan(
            self.create_learner,
            self.fit_options,
            settings["n_epochs"],
            settings["metric"],
            settings["mode"],
            every_epoch=settings["every_epoch"],
            current=settings["current"],
            compiled=given.jax_compilation_cache_dir,
        )
        shared = tune.with_parameters(train_trial, plan=plan, pipeline=self.pipeline)
        return tune.with_resources(shared, dict(settings["resources"]))


def _check_pack(pack: int, scheduler: Any, search_alg: Any, num_samples: int) -> None:
    if pack > 1 and (scheduler is not None or search_alg not in (None, "random")):
        raise ConfigError(
            f"pack = {pack} trains trials together from their beginning to their end; leave out "
            "the scheduler and any search but 'random', or give pack = 1.",
            key="pack",
        )
    if pack > 1 and num_samples < 0:
        raise ConfigError(
            f"pack = {pack} draws all trials before it trains; give num_samples of 1 or more.",
            key="num_samples",
        )


def _check_free(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunDirectoryError(
            f"{directory} exists and is not empty; nothing was written. Choose another "
            "directory, or go on with the study in it by HPOptimizer.restore.",
            path=directory,
        )


def _tune_defaults() -> dict[str, Any]:
    from tsjax_tune.members import name_of_trial

    return {
        # A new process for every trial would import and compile everything again.
        "reuse_actors": True,
        "trial_name_creator": name_of_trial,
        "trial_dirname_creator": name_of_trial,
    }


def _run_config(directory: Path, max_failures: int, *, population: bool) -> Any:
    from ray import tune

    from tsjax_tune.relay import Relay

    return tune.RunConfig(
        name=TRIALS,
        storage_path=str(directory),
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=max_failures),
        # One holds the best epoch too. In a population another trial may still need an old one.
        checkpoint_config=tune.CheckpointConfig(num_to_keep=None if population else 1),
        callbacks=[Relay()],
    )


def _error_console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)
