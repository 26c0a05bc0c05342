"""From records to the linear model that a nonlinear one begins as."""

from __future__ import annotations

import numpy as np

from tsjax_core.models.subspace import Records, StateSpaceMatrices
from tsjax_core.types import HostArray, Signals


def normalize_records(records: Records, signals: Signals) -> list[tuple[HostArray, HostArray]]:
    """Return pairs of inputs and outputs in standard deviations around the mean."""
    u, y = signals.stats["u"], signals.stats["y"]
    return [
        ((np.asarray(one, float) - u.mean) / u.std, (np.asarray(other, float) - y.mean) / y.std)
        for one, other in records
    ]


def scale_states(matrices: StateSpaceMatrices, inputs: list[HostArray]) -> StateSpaceMatrices:
    """Return the same model with states of unit spread, for `inputs` (time, n_in) from rest."""
    states = np.concatenate([matrices.simulate_states(each) for each in inputs])
    spread = states.std(0)
    spread = np.where(spread > 0.0, spread, 1.0)
    return StateSpaceMatrices(
        matrices.a * spread / spread[:, None],
        matrices.b / spread[:, None],
        matrices.c * spread,
        matrices.d,
        matrices.offset,
    )
