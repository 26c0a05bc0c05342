"""Quaternions for attitude estimation: algebra, augmentation, losses, metrics, models and plots.

Quaternions are arrays (..., 4) in the order w, x, y, z, and rotate from the sensor's frame to the
earth's; `tsjax_quat.algebra` states the convention in full.
"""

from tsjax_quat.algebra import (
    conjugate,
    from_matrix,
    from_roll_pitch_yaw,
    from_rotation_vector,
    multiply,
    normalize,
    rotate,
    to_matrix,
    to_roll_pitch_yaw,
    to_rotation_vector,
)
from tsjax_quat.angles import difference, heading, inclination, relative_angle
from tsjax_quat.augmentation import quaternion_augmentation, random_quaternions
from tsjax_quat.factory import StrapDownLearner, UnitQuaternionLearner
from tsjax_quat.interpolation import average, slerp
from tsjax_quat.losses import (
    abs_inclination_rad,
    abs_relative_angle_rad,
    angle_loss,
    inclination_loss,
    inclination_loss_abs,
    inclination_loss_smooth,
    inclination_loss_squared,
    ms_inclination_rad2,
    ms_relative_angle_rad2,
    quaternion_regularizer,
    rms_inclination_rad,
    rms_relative_angle_rad,
    smooth_inclination_rad,
)
from tsjax_quat.masks import score_where
from tsjax_quat.metrics import (
    mean_inclination_deg,
    mean_relative_angle_deg,
    rms_heading_deg,
    rms_inclination_deg,
    rms_pitch_deg,
    rms_relative_angle_deg,
    rms_roll_deg,
    rmse_rad_in_deg,
)
from tsjax_quat.plots import plot_heading, plot_inclination, plot_quaternion, plot_relative_angle
from tsjax_quat.store import QuaternionStore
from tsjax_quat.strapdown import StrapDown, integrate_rates
from tsjax_quat.unit import UnitQuaternion

__all__ = [
    "QuaternionStore",
    "StrapDown",
    "StrapDownLearner",
    "UnitQuaternion",
    "UnitQuaternionLearner",
    "abs_inclination_rad",
    "abs_relative_angle_rad",
    "angle_loss",
    "average",
    "conjugate",
    "difference",
    "from_matrix",
    "from_roll_pitch_yaw",
    "from_rotation_vector",
    "heading",
    "inclination",
    "inclination_loss",
    "inclination_loss_abs",
    "inclination_loss_smooth",
    "inclination_loss_squared",
    "integrate_rates",
    "mean_inclination_deg",
    "mean_relative_angle_deg",
    "ms_inclination_rad2",
    "ms_relative_angle_rad2",
    "multiply",
    "normalize",
    "plot_heading",
    "plot_inclination",
    "plot_quaternion",
    "plot_relative_angle",
    "quaternion_augmentation",
    "quaternion_regularizer",
    "random_quaternions",
    "relative_angle",
    "rms_heading_deg",
    "rms_inclination_deg",
    "rms_inclination_rad",
    "rms_pitch_deg",
    "rms_relative_angle_deg",
    "rms_relative_angle_rad",
    "rms_roll_deg",
    "rmse_rad_in_deg",
    "rotate",
    "score_where",
    "slerp",
    "smooth_inclination_rad",
    "to_matrix",
    "to_roll_pitch_yaw",
    "to_rotation_vector",
]
