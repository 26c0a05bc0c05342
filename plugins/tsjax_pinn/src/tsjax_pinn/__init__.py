"""Physics-informed models: known equations as a part of the loss."""

from tsjax_pinn.collocation import collocation_loss
from tsjax_pinn.consistency import consistency
from tsjax_pinn.derivatives import (
    diff1_central,
    diff1_central4_double,
    diff1_forward,
    diff1_forward_double,
    diff2_central,
    diff2_central_double,
    diff2_forward,
    diff3_central,
    diff3_forward,
)
from tsjax_pinn.exact import state_derivatives, time_derivatives
from tsjax_pinn.excitation import excitation_signals
from tsjax_pinn.factory import PIRNNLearner
from tsjax_pinn.physics import physics_loss
from tsjax_pinn.pirnn import PIRNN, Auxiliary
from tsjax_pinn.residual import Constant, Derivatives

__all__ = [
    "PIRNN",
    "Auxiliary",
    "Constant",
    "Derivatives",
    "PIRNNLearner",
    "collocation_loss",
    "consistency",
    "diff1_central",
    "diff1_central4_double",
    "diff1_forward",
    "diff1_forward_double",
    "diff2_central",
    "diff2_central_double",
    "diff2_forward",
    "diff3_central",
    "diff3_forward",
    "excitation_signals",
    "physics_loss",
    "state_derivatives",
    "time_derivatives",
]
