"""Numbers that are taken off signals before these become the 32-bit numbers of models."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tsjax_core.checks import is_number
from tsjax_core.errors import ConfigError
from tsjax_core.types import Signals

_LOST = 1e-3
"""Share of a signal's standard deviation that may be lost between two 32-bit numbers."""


def find_levels(signals: Signals) -> dict[str, float]:
    """Return the levels of measured signals beside which their changes are small, by name.

    Between two 32-bit numbers near such a level lies more than a thousandth of the standard
    deviation.
    """
    levels = {}
    for key in ("u", "y"):
        stats = signals.stats.get(key)
        if stats is None:
            continue
        for name, mean, std in zip(signals.names[key], stats.mean, stats.std, strict=True):
            if float(np.spacing(np.float32(abs(mean)))) > _LOST * std:
                levels[name] = float(f"{mean:.6g}")
    return levels


def warn_of_levels(signals: Signals) -> None:
    """Warn of signals that lose precision beside their level."""
    for name, level in find_levels(signals).items():
        spacing = float(np.spacing(np.float32(abs(level))))
        warnings.warn(
            f"{name!r} lies near {level:.9g}, where 32-bit numbers stand {spacing:.3g} apart. Take "
            f"the level off: offsets = {{{name!r} = {level:.9g}}}.",
            LevelWarning,
            stacklevel=3,
        )


class LevelWarning(UserWarning):
    """A signal loses precision beside its level."""


def check_offsets(offsets: Any) -> dict[str, float]:
    """Return offsets by signal; ConfigError unless each is a finite number."""
    if offsets is None:
        return {}
    if not isinstance(offsets, Mapping):
        raise ConfigError(
            f"offsets is {offsets!r}; give numbers by signal, such as {{pressure = 101325}}.",
            key="offsets",
        )
    for name, value in offsets.items():
        if not is_number(value) or not math.isfinite(value):
            raise ConfigError(
                f"offsets has {value!r} for {name!r}; give a finite number.", key="offsets"
            )
    return {str(name): float(value) for name, value in offsets.items()}
