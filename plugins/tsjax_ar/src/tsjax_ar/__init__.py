"""Autoregressive models: past outputs, measured or predicted, are inputs too."""

from tsjax_ar.autoregression import AR
from tsjax_ar.factory import ARLearner, FranSysLearner
from tsjax_ar.fransys import FranSys
from tsjax_ar.regularizer import fransys_losses
from tsjax_ar.smoothness import consistency, transition_smoothness
from tsjax_ar.synchronisation import (
    diagnosis_loss,
    one_step_loss,
    one_step_sync,
    state_sync,
    temporal_activation,
)

__all__ = [
    "AR",
    "ARLearner",
    "FranSys",
    "FranSysLearner",
    "consistency",
    "diagnosis_loss",
    "fransys_losses",
    "one_step_loss",
    "one_step_sync",
    "state_sync",
    "temporal_activation",
    "transition_smoothness",
]
