"""One fit: what was asked for, and how far it is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of
from tsjax_core.training.schedules import Schedule, warmup_cosine
from tsjax_core.types import HostArray


@dataclass
class Fit:
    """The plan of a fit, and what passes from one of its epochs to the next.

    `rates` has the learning rate of every step, (n_epochs * steps,), `lr` times its factor. `done`
    counts the epochs that ended. `opt_state` is the optimizer's state, None before the first. `raw`
    holds the parameters that training goes on from where the model holds others: their average.
    Parameters that are in the model are taken from there, so that a loop may change them between
    two epochs. Every fit has a `name` of its own.
    """

    n_epochs: int
    rates: HostArray
    lr: float
    done: int = 0
    opt_state: Any = None
    raw: Any = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def take_over(self, other: Fit) -> None:
        """Go on from where `other` is, a copy of this fit made at another moment."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in each epoch."""
        return len(self.rates) // self.n_epochs

    def rates_of(self, epoch: int) -> HostArray:
        """Return the learning rate at each step of `epoch`."""
        return self.rates[self._part(epoch)]

    def progress_of(self, epoch: int) -> HostArray:
        """Return the progress of the fit, 0 to 1, at each step of `epoch`."""
        return _progress(len(self.rates))[self._part(epoch)]

    def _part(self, epoch: int) -> slice:
        return slice(epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch)


def plan_fit(n_epochs: int, rate: float, schedule: Schedule | None, steps_per_epoch: int) -> Fit:
    """Return the fit of `n_epochs` at the learning rate `rate` times the factor of `schedule`.

    The schedule is `warmup_cosine()` unless given.

    Raises:
        ConfigError: `n_epochs` is not positive, or the schedule gives something else than factors.
    """
    n_epochs = whole_number("n_epochs", n_epochs, "epochs", least=1)
    progress = _progress(steps_per_epoch * n_epochs)
    factors = schedule or warmup_cosine()
    rates = np.asarray(rate * factors(progress), np.float32)
    if rates.shape != progress.shape or not np.isfinite(rates).all():
        raise ConfigError(
            f"schedule {name_of(factors)!r} returned shape {rates.shape} for "
            f"progress of shape {progress.shape}; return one factor per value, all finite.",
            key="schedule",
        )
    return Fit(n_epochs, rates, rate)


def _progress(n_steps: int) -> HostArray:
    return np.arange(n_steps, dtype=np.float32) / n_steps
