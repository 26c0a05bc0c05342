"""Physics-informed models: known equations as a part of the loss or of the model."""

from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.balance import balance_gradients
from tsjax_pinn.collocation import collocation_loss
from tsjax_pinn.consistency import consistency
from tsjax_pinn.ddpinn import DDPINN
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
from tsjax_pinn.exact import ExactDerivatives, state_derivatives, time_derivatives
from tsjax_pinn.excitation import excitation_signals
from tsjax_pinn.factory import DDPINNLearner, GreyBoxLearner, PINCLearner, PIRNNLearner
from tsjax_pinn.grey_box import GreyBox
from tsjax_pinn.physics import physics_loss
from tsjax_pinn.pinc import PINC
from tsjax_pinn.pirnn import PIRNN
from tsjax_pinn.residual import Constant, Derivatives
from tsjax_pinn.surrogate_loss import surrogate_loss

__all__ = [
    "DDPINN",
    "PINC",
    "PIRNN",
    "Auxiliary",
    "Constant",
    "DDPINNLearner",
    "Derivatives",
    "ExactDerivatives",
    "GreyBox",
    "GreyBoxLearner",
    "PINCLearner",
    "PIRNNLearner",
    "balance_gradients",
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
    "surrogate_loss",
    "time_derivatives",
]
