"""What the steps of an epoch reported, as the result of the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tsjax_core.training.progress import EpochResult
from tsjax_core.training.step.engine import StepReport
from tsjax_core.types import HostArray


@dataclass(frozen=True)
class StepRecord:
    """The weighted loss terms of every step, each (..., steps), and which steps were skipped."""

    terms: Mapping[str, HostArray]
    skipped: HostArray

    def of_member(self, number: int) -> StepRecord:
        """Return the record of one of several models, which the first axis counts."""
        return StepRecord({k: x[number] for k, x in self.terms.items()}, self.skipped[number])

    def result(self, epoch: int) -> EpochResult:
        """Return what the epoch gave, without its validation."""
        values = np.stack(list(self.terms.values()), axis=1).astype(np.float64)
        losses = values.sum(axis=1)
        finite = values[np.isfinite(losses)]
        means = finite.mean(axis=0) if len(finite) else np.full(values.shape[1], np.nan)
        return EpochResult(
            epoch=epoch,
            train_loss=float(means.sum()),
            valid_loss=float("nan"),
            terms=dict(zip(self.terms, means.tolist(), strict=True)),
            skipped=int(self.skipped.sum()),
            step_losses=losses,
        )


def join_reports(fetched: Sequence[StepReport], steps: int, names: Sequence[str]) -> StepRecord:
    """Return the record of the first `steps` steps of consecutive runs, each (..., capacity).

    `names` are the terms in their order, which a device does not keep. Runs that are not full end
    an epoch, so that what fills them up is at the end.
    """

    def all_of(parts: Sequence[HostArray]) -> HostArray:
        return np.concatenate(parts, axis=-1)[..., :steps]

    terms = {name: all_of([np.asarray(r.terms[name]) for r in fetched]) for name in names}
    return StepRecord(terms, all_of([np.asarray(r.skipped) for r in fetched]))
