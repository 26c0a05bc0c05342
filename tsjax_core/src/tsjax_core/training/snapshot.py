"""One moment of a training: what it changes in a learner, held so that one can go back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsjax_core.training.fit import Fit
from tsjax_core.training.progress import EpochResult


@dataclass(frozen=True)
class TrainingSnapshot:
    """What training changes in a learner, as it was at one moment.

    `model` holds all variables of the model. `fit` is a copy of the fit in progress, and `running`
    the fit itself, which goes on from `fit` after `Learner.restore`.
    """

    model: Any
    steps: int
    epochs_done: int
    history: tuple[EpochResult, ...]
    fit: Fit | None = None
    running: Fit | None = None
    resumed_from: Path | None = None
