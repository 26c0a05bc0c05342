"""Learning-rate schedules: functions of the progress of a fit, 0 at its start and 1 at its end.

A schedule gives the factor on the learning rate, for an array of progress values at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.types import HostArray

Schedule: TypeAlias = Callable[[HostArray], HostArray]
"""Maps progress values in [0, 1) to factors on the learning rate, elementwise."""


def constant() -> Schedule:
    """Keep the learning rate."""
    return np.ones_like


def flat_cos(pct_start: float = 0.75) -> Schedule:
    """Keep the learning rate for the share `pct_start` of the fit, then anneal it to 0.

    The annealing is half a cosine: Loshchilov and Hutter, SGDR (2017).
    """
    if not 0.0 <= pct_start < 1.0:
        raise ConfigError(
            f"pct_start = {pct_start} is not a share of the fit; give 0 to below 1.",
            key="pct_start",
        )

    def schedule(progress: HostArray) -> HostArray:
        fall = np.clip((progress - pct_start) / (1.0 - pct_start), 0.0, 1.0)
        return np.asarray(0.5 * (1.0 + np.cos(np.pi * fall)))

    return schedule


SCHEDULES: dict[str, Callable[[], Schedule]] = {"constant": constant, "flat_cos": flat_cos}
"""Schedules by the name that an experiment gives them."""
