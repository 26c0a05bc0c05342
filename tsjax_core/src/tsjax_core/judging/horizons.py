"""Errors of simulation by the time since its start, and bands that hold a share of them.

Bands are split-conformal (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
2005; Lei et al., Distribution-Free Predictive Inference for Regression, 2018): of n calibration
errors at a horizon, the ceil((n + 1) c)-th smallest magnitude holds a further one with probability
c at least, if both are exchangeable. Neighbouring starts of one record are not quite; the coverage
on other files is what to trust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsjax_core.checks import share, whole_number
from tsjax_core.data.sources import WindowedSource
from tsjax_core.errors import DataError, ModelError
from tsjax_core.types import AnyArray, HostArray

if TYPE_CHECKING:
    from tsjax_core.data.store import Split
    from tsjax_core.training.learner import Learner

_LONGEST = 200
_MOST_STARTS = 300


@dataclass(frozen=True, eq=False)
class Bands:
    """Half the width of bands around simulated outputs, by horizon.

    Args:
        half: (horizon, n_y), in the units of the outputs; horizon 0 is the first sample after those
            from which the state is estimated.
        confidence: Share of the errors that the bands are to hold.
        starts: Calibration errors at each horizon.
    """

    half: HostArray
    confidence: float
    starts: int

    def coverage(self, errors: AnyArray) -> HostArray:
        """Return the share of `errors` (starts, horizon, n_y) in the bands, (horizon, n_y)."""
        values = np.abs(np.asarray(errors, float))[:, : len(self.half)]
        known = np.isfinite(values)
        inside = np.where(known, values <= self.half[: values.shape[1]], False)
        with np.errstate(invalid="ignore"):
            return np.asarray(inside.sum(axis=0) / known.sum(axis=0))


def collect_errors(
    learner: Learner, split: Split, *, horizon: int | None = None, starts: int = _MOST_STARTS
) -> HostArray:
    """Return measured less simulated outputs from many starts, (starts, horizon, n_y).

    Each simulation begins anew within a file, with the state that the initial-state policy of the
    learner estimates from the samples before; NaN where nothing was measured.

    Args:
        learner: The learner.
        split: Whose files are simulated.
        horizon: Samples of each simulation, 200 if not given, or what the shortest file leaves.
        starts: Simulations at most, evenly spread.

    Raises:
        ModelError: The outputs are no sequences.
        DataError: A file is too short for one simulation.
    """
    starts = whole_number("starts", starts, "simulations", least=1)
    if learner.signals.target != "y":
        raise ModelError("the outputs are one value per file, and so have no horizon.")
    records = learner.pipeline.records(split)
    before = max(learner.initial_state.samples, learner.init_window)
    shortest = int(records.lengths.min())
    if horizon is None:
        horizon = min(_LONGEST, max(1, (shortest - before) // 2))
    horizon = whole_number("horizon", horizon, "samples", least=1)
    if before + horizon > shortest:
        raise DataError(
            f"the shortest file of {split} has {shortest} samples, too few for a simulation of "
            f"{horizon} after {before}; give a shorter horizon."
        )
    length = before + horizon
    step = max(1, int((records.lengths - length + 1).sum()) // starts)
    names = records.names
    source = WindowedSource(
        records.store,
        names["u"],
        names["y"],
        win_sz=length,
        stp_sz=step,
        u_scalars=names.get("u_scalar", ()),
        y_scalars=names.get("y_scalar", ()),
        further={key: names[key] for key in names if key in learner.signals.further},
    )
    pred, target = learner.evaluator.simulate_windows(learner.model, source)
    return np.asarray(target[:, before:], float) - pred[:, before:]


def calibrate_bands(errors: AnyArray, *, confidence: float = 0.9) -> Bands:
    """Return bands that hold a share of errors like `errors`, (starts, horizon, n_y).

    Raises:
        DataError: There are too few starts for the confidence.
        ConfigError: `confidence` is out of range.
    """
    share("confidence", confidence, "a probability", ends="()")
    values = np.abs(np.asarray(errors, float))
    known = np.isfinite(values).sum(axis=0)
    fewest = int(known.min())
    if math.ceil((fewest + 1) * confidence) > fewest:
        least = math.ceil(round(confidence / (1.0 - confidence), 6))
        raise DataError(
            f"there are {fewest} errors at a horizon, and a band of {100 * confidence:g} % needs "
            f"{least}; give longer validation files, a shorter horizon, or a smaller confidence."
        )
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=0)
    rank = np.ceil((known + 1) * confidence).astype(int) - 1
    half = np.take_along_axis(ordered, rank[None], axis=0)[0]
    return Bands(half, confidence, fewest)
