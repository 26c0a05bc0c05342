"""Numbers that are taken off signals before these become the 32-bit numbers of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tsjax_core.checks import is_number
from tsjax_core.errors import ConfigError


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
