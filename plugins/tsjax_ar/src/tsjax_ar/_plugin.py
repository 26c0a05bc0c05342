"""What the plugin `ar` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `ar`."""
    from tsjax_ar.autoregression import AR
    from tsjax_ar.fransys import FranSys

    return {"ar": AR, "fransys": FranSys}


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `ar`."""
    from tsjax_ar import smoothness, synchronisation

    return {
        "state_sync": synchronisation.state_sync,
        "diagnosis_loss": synchronisation.diagnosis_loss,
        "one_step_sync": synchronisation.one_step_sync,
        "one_step_loss": synchronisation.one_step_loss,
        "temporal_activation": synchronisation.temporal_activation,
        "consistency": smoothness.consistency,
        "transition_smoothness": smoothness.transition_smoothness,
    }
