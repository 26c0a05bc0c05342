"""Schedulers of Ray Tune by their short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tsjax_core.checks import choice
from tsjax_core.errors import ConfigError

SCHEDULERS = ("none", "asha", "pbt")
THIRD = 3


def make_scheduler(
    scheduler: Any, n_epochs: int, mutations: Mapping[str, Any], seed: int | None
) -> Any:
    """Return the scheduler that `scheduler` names, or itself where it is one.

    `asha` lets the better third of the trials go on after a ninth, and after a third of the epochs:
    Li et al., A system for massively parallel hyperparameter tuning (2020). `pbt` lets the worst
    quarter go on from the checkpoints of the best after each tenth of the epochs, with other values
    of `mutations`: Jaderberg et al., Population based training of neural networks (2017).

    Raises:
        ConfigError: The name is unknown, or `pbt` has nothing that it can change.
    """
    if scheduler is not None and not isinstance(scheduler, str):
        return scheduler
    choice("scheduler", scheduler or "none", SCHEDULERS)
    if scheduler == "asha":
        from ray.tune.schedulers import ASHAScheduler

        first = max(1, n_epochs // THIRD**2)
        return ASHAScheduler(
            time_attr="epoch",
            max_t=n_epochs,
            grace_period=first,
            reduction_factor=THIRD,
            # They end by themselves, and are no trials that were stopped.
            stop_last_trials=False,
        )
    if scheduler == "pbt":
        from ray.tune.schedulers import PopulationBasedTraining

        if not any(mutations.values()):
            raise ConfigError(
                "scheduler = 'pbt' changes the learning rate while trials run, and the search has "
                "no range for it. Give lr a range or a choice, or another scheduler.",
                key="scheduler",
            )
        population = PopulationBasedTraining(
            time_attr="epoch",
            perturbation_interval=max(2, n_epochs // 10),
            hyperparam_mutations=dict(mutations),
            log_config=False,
        )
        _seed(seed)
        return population
    return None


def _seed(seed: int | None) -> None:
    # Population-based training draws from the generators of the process.
    if seed is not None:
        import random

        import numpy as np

        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the generator that Ray uses
