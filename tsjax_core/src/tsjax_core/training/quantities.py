"""Physical parameters of a model as columns of the history."""

from __future__ import annotations

from typing import Any

from tsjax_core.protocols import MeasuringModel


def measure(model: Any) -> dict[str, float]:
    """Return the physical quantities of a model by name and unit, such as `mass [kg]`."""
    if not isinstance(model, MeasuringModel):
        return {}
    found = model.quantities()
    return {f"{name} [{unit}]": float(value) for name, (value, unit) in found.items()}
