"""Learning-rate schedules: functions of the progress of a fit, 0 at its start and 1 at its end.

A schedule gives the factor on the learning rate, for an array of progress values at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tsjax_core.checks import share
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
        return _half_cosine((progress - pct_start) / (1.0 - pct_start))

    return schedule


def one_cycle(pct_start: float = 0.25, div: float = 25.0, final_div: float = 1e5) -> Schedule:
    """Raise the learning rate from 1/`div` of itself, then anneal it to 1/`final_div` of itself.

    It is reached after the share `pct_start` of the fit; both ways are half a cosine. Smith and
    Topin, Super-convergence (2017).
    """
    if not 0.0 < pct_start < 1.0:
        raise ConfigError(
            f"pct_start = {pct_start} is not the share of the fit in which the rate rises; give a "
            "number between 0 and 1.",
            key="pct_start",
        )
    for key, value in (("div", div), ("final_div", final_div)):
        if not 1.0 <= value < float("inf"):
            raise ConfigError(
                f"{key} = {value} would not lower the learning rate; give 1 or more.", key=key
            )

    def schedule(progress: HostArray) -> HostArray:
        rise = 1.0 - _half_cosine(progress / pct_start)
        fall = _half_cosine((progress - pct_start) / (1.0 - pct_start))
        rising = 1.0 / div + (1.0 - 1.0 / div) * rise
        falling = 1.0 / final_div + (1.0 - 1.0 / final_div) * fall
        return np.where(progress < pct_start, rising, falling)

    return schedule


def warmup_cosine(warmup: float = 0.05, end: float = 0.0, start: float = 0.04) -> Schedule:
    """Raise the learning rate from the factor `start` in a line, then anneal it to `end`.

    It is reached after the share `warmup` of the fit. The annealing is half a cosine: Loshchilov
    and Hutter, SGDR (2017); the warm-up is that of Goyal et al. (2017).
    """
    if not 0.0 <= warmup < 1.0:
        raise ConfigError(
            f"warmup = {warmup} is not a share of the fit; give 0 to below 1.", key="warmup"
        )
    if not 0.0 <= end <= 1.0:
        raise ConfigError(
            f"end = {end} is not a factor that the learning rate can fall to; give 0 to 1.",
            key="end",
        )
    # A first step at the rate 0 would change nothing.
    share("start", start, "a factor", ends="(]")

    def schedule(progress: HostArray) -> HostArray:
        rising = start + (1.0 - start) * progress / warmup if warmup else np.ones_like(progress)
        falling = end + (1.0 - end) * _half_cosine((progress - warmup) / (1.0 - warmup))
        return np.where(progress < warmup, rising, falling)

    return schedule


def _half_cosine(x: HostArray) -> HostArray:
    """Fall from 1 at 0 to 0 at 1, and stay beyond."""
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * np.clip(x, 0.0, 1.0))))


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": constant,
    "flat_cos": flat_cos,
    "one_cycle": one_cycle,
    "warmup_cosine": warmup_cosine,
}
"""Schedules by the name that an experiment gives them."""
