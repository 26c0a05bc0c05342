"""Many models of one shape, trained as one program: other seeds, rates, loss weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from tsjax_core.errors import ConfigError, DivergenceError
from tsjax_core.training.learner import Learner
from tsjax_core.training.monitor import Keep, Mode, Monitor, check_keep
from tsjax_core.training.population.same_shape import check_same_shape
from tsjax_core.training.population.together import FitTogether
from tsjax_core.training.progress import EpochResult, follow
from tsjax_core.training.schedules import Schedule
from tsjax_core.types import HostArray


class Ensemble(NamedTuple):
    """What the members of a population say, in the axes and units of one prediction.

    `std` is the standard deviation over the members, 0 where there is one: the spread of a deep
    ensemble (Lakshminarayanan et al., 2017). `members` has a first axis of members.
    """

    mean: HostArray
    std: HostArray
    members: HostArray


@dataclass(frozen=True)
class Population:
    """Learners that were trained together; each is as its own `fit` would have left it.

    Args:
        learners: All members, in the order in which they were given.
        failures: Why the training of a member ended early, by its place. It keeps the parameters
            of an epoch before it diverged, and is no part of a prediction.
        kept: What the epoch gave whose weights the member has, for each but those that failed.
    """

    learners: tuple[Learner, ...]
    failures: Mapping[int, DivergenceError]
    kept: Mapping[int, EpochResult]

    @property
    def trained(self) -> tuple[Learner, ...]:
        """The members that did not diverge."""
        return tuple(x for number, x in enumerate(self.learners) if number not in self.failures)

    @property
    def histories(self) -> tuple[tuple[EpochResult, ...], ...]:
        """The history of each member."""
        return tuple(tuple(learner.history) for learner in self.learners)

    def best(self, monitor: str = "valid_loss", mode: Mode = "min") -> Learner:
        """Return the member that is best in the epoch whose weights it has.

        `monitor` is `valid_loss`, `train_loss`, or the name of a metric or of a loss term, of which
        less (min) or more (max) is better. Losses of different weights do not compare; give a
        metric then. Raises ConfigError where the members have no such value.
        """
        value = Monitor(monitor, mode)
        for learner in self.trained:
            value.check(learner.metrics, learner.loss_weights)
        number = min(self.kept, key=lambda number: value.cost(self.kept[number]))
        return self.learners[number]

    def predict(self, u: Any, *further: Any) -> Ensemble:
        """Return mean and spread of the members' outputs for `u`, in raw units.

        Inputs are those of `tsjax_core.predict`; mean and spread have the shape of its result.
        """
        members = np.stack([learner.predict(u, *further) for learner in self.trained])
        return Ensemble(members.mean(axis=0), members.std(axis=0), members)


def fit_population(
    learners: Sequence[Learner],
    n_epochs: int,
    lr: float | Sequence[float] | None = None,
    schedule: Schedule | None = None,
    *,
    keep: Keep = "best",
    show_progress: bool = True,
) -> Population:
    """Train all `learners` for `n_epochs` as one program.

    Each of them ends as its own `fit` would leave it, to rounding, with a history of its own. They
    may differ in seed, learning rate, weights of the loss terms, metrics, and in the seed of their
    pipelines; loss terms, transform and optimizer are equal in all of them. Members are spread over
    the learners' `devices`. One that diverges leaves the others alone.

    Args:
        learners: Learners of one model structure, on one data set.
        n_epochs: Epochs of each.
        lr: Learning rate of all, or one for each.
        schedule: How the rates change over the fit, as in `Learner.fit`.
        keep: Whether members have the weights of their best epoch in the end, or of the last.
        show_progress: Print after each epoch the result of the member that is best in it.

    Raises:
        ConfigError: The learners are not of one shape, or `lr` has not one rate for each.
        DivergenceError: The last members diverged.
    """
    together = _begin(learners, n_epochs, lr, schedule, keep)
    best = (min(results.values(), key=Monitor().cost) for results in together.epochs())
    for _ in follow(best, n_epochs, together.progress) if show_progress else best:
        pass
    return Population(tuple(learners), together.failures, together.kept())


def fit_population_iter(
    learners: Sequence[Learner],
    n_epochs: int,
    lr: float | Sequence[float] | None = None,
    schedule: Schedule | None = None,
    *,
    keep: Keep = "best",
) -> Iterator[Mapping[int, EpochResult]]:
    """Train as `fit_population`, yielding after each epoch the result of every member by its place.

    A member that diverged is missing from then on. Leave the loop to stop early: members then have
    the weights that `keep` says.

    Raises:
        ConfigError: As of `fit_population`.
        DivergenceError: While the epochs run: the last members diverged.
    """
    return _begin(learners, n_epochs, lr, schedule, keep).epochs()


def _begin(
    learners: Sequence[Learner],
    n_epochs: int,
    lr: float | Sequence[float] | None,
    schedule: Schedule | None,
    keep: Keep,
) -> FitTogether:
    members = tuple(learners)
    check_keep(keep)
    check_same_shape(members)
    if jax.process_count() > 1:
        raise ConfigError(
            f"fit_population trains in one process, and there are {jax.process_count()}. Give "
            "each process a part of the learners, without jax.distributed.",
            key="learners",
        )
    return FitTogether(members, n_epochs, _rates(lr, len(members)), schedule, keep)


def _rates(lr: float | Sequence[float] | None, n: int) -> list[float | None]:
    if lr is None or np.ndim(lr) == 0:
        one: Any = lr
        return [one] * n
    rates: list[Any] = list(np.asarray(lr).tolist())
    if len(rates) != n:
        raise ConfigError(
            f"fit_population got {len(rates)} learning rates for {n} learners; give one rate, or "
            "one for each.",
            key="lr",
        )
    return rates
