"""The function that Ray runs in a worker: one trial, or a pack of several."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsjax_core.errors import TsjaxError
from tsjax_tune.members import ALONE, MEMBERS, members_of
from tsjax_tune.pack import train_pack
from tsjax_tune.reporter import Reporter
from tsjax_tune.training import TrialTraining
from tsjax_tune.trial import TrialError, TrialPlan

if TYPE_CHECKING:
    from tsjax_core.data.pipeline import GrainPipeline


def train_trial(
    config: Mapping[str, Any], *, plan: TrialPlan, pipeline: GrainPipeline | None
) -> None:
    """Train the learner of `config`, or those of a pack.

    A trial that begins with a checkpoint, its own after an interruption or that of another in
    population-based training, goes on from there with the learning rate of `config`. An error of
    tsjax, which would come again, ends the trial; any other one is for Ray to try again.

    Raises:
        TrialError: The learner cannot be created or trained.
    """
    from ray import tune

    if plan.compiled is not None:
        _keep_compiled_programs(plan.compiled)
    with tempfile.TemporaryDirectory() as folder:
        reporter = Reporter(plan, Path(folder))
        if (checkpoint := tune.get_checkpoint()) is not None:
            with checkpoint.as_directory() as saved:
                shutil.copytree(saved, folder, dirs_exist_ok=True)
        members = members_of(config)
        if MEMBERS in config:
            train_pack(members, plan, pipeline, reporter)
        else:
            _train_one(members[ALONE], plan, pipeline, reporter)


def _train_one(
    config: Mapping[str, Any], plan: TrialPlan, pipeline: GrainPipeline | None, reporter: Reporter
) -> None:
    saved = reporter.folder / ALONE
    training: TrialTraining | None = None
    try:
        learner = plan.create_learner(pipeline, config)
        training = TrialTraining(ALONE, config, learner, plan)
        reporter.trainings.append(training)
        for _ in training.begin(saved if saved.exists() else None):
            reporter.send_epoch([training])
    except TsjaxError as error:
        text = f"{type(error).__name__}: {error}"
        if training is None:
            reporter.ended[ALONE] = text
        else:
            reporter.end(training, text)
        reporter.send()
    except Exception as error:
        # What was trained is not lost, and what another try goes on from.
        if training is not None and training.unsaved:
            reporter.send([training])
        # Errors with further arguments do not survive the way between processes; their text does.
        raise TrialError(f"{type(error).__name__}: {error}") from error
    else:
        reporter.end(training)
        reporter.send()


def _keep_compiled_programs(directory: str) -> None:
    import jax

    settings: dict[str, str | int] = {
        "jax_compilation_cache_dir": directory,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    config: Any = jax.config
    for name, value in settings.items():
        config.update(name, value)
