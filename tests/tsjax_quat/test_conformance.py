"""The components of the plugin keep their contracts."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

import tsjax_quat as tq
from tsjax_core import GRU
from tsjax_core.testing import (
    LossConformance,
    MetricConformance,
    StatefulModelConformance,
    TransformConformance,
)


class OfQuaternions(LossConformance):
    n_outputs = 4


class TestInclinationLoss(OfQuaternions):
    loss = tq.inclination_loss


class TestInclinationLossAbs(OfQuaternions):
    loss = tq.inclination_loss_abs


class TestInclinationLossSquared(OfQuaternions):
    loss = tq.inclination_loss_squared


class TestInclinationLossSmooth(OfQuaternions):
    loss = tq.inclination_loss_smooth


class TestAbsInclination(OfQuaternions):
    loss = tq.abs_inclination_rad


class TestMsInclination(OfQuaternions):
    loss = tq.ms_inclination_rad2


class TestRmsInclination(OfQuaternions):
    loss = tq.rms_inclination_rad


class TestSmoothInclination(OfQuaternions):
    loss = tq.smooth_inclination_rad


class TestAngleLoss(OfQuaternions):
    loss = tq.angle_loss


class TestAbsRelativeAngle(OfQuaternions):
    loss = tq.abs_relative_angle_rad


class TestMsRelativeAngle(OfQuaternions):
    loss = tq.ms_relative_angle_rad2


class TestRmsRelativeAngle(OfQuaternions):
    loss = tq.rms_relative_angle_rad


class TestRegularizer(OfQuaternions):
    loss = tq.quaternion_regularizer()
    minimum = None


class TestRegularizerOfTheHead(OfQuaternions):
    loss = tq.quaternion_regularizer("quaternion_norm")
    minimum = None
    aux = {"quaternion_norm": jnp.linspace(0.5, 1.5, 30).reshape(3, 10, 1)}


class OfDegrees(MetricConformance):
    n_outputs = 4
    best = 0.0


class TestMeanInclinationDeg(OfDegrees):
    metric = tq.mean_inclination_deg


class TestRmsInclinationDeg(OfDegrees):
    metric = tq.rms_inclination_deg


class TestMeanRelativeAngleDeg(OfDegrees):
    metric = tq.mean_relative_angle_deg


class TestRmsRelativeAngleDeg(OfDegrees):
    metric = tq.rms_relative_angle_deg


class TestRmsHeadingDeg(OfDegrees):
    metric = tq.rms_heading_deg


class TestRmsRollDeg(OfDegrees):
    metric = tq.rms_roll_deg


class TestRmsPitchDeg(OfDegrees):
    metric = tq.rms_pitch_deg


class TestRmseRadInDeg(MetricConformance):
    metric = tq.rmse_rad_in_deg
    best = 0.0


class TestRotate(TransformConformance):
    transform = tq.quaternion_augmentation(
        vectors=(("u_0", "u_1", "u_2"),), quaternions=(("y_0", "y_1", "y_2", "y_3"),)
    )
    changes_targets = True
    n_outputs = 4


class TestScoreWhere(TransformConformance):
    transform = tq.score_where("moves")
    changes_targets = True
    further = {"moves": ("m",)}


VECTORS = {"gyr": ("u_0", "u_1", "u_2"), "acc": ("u_3", "u_4", "u_5")}


@pytest.mark.slow
class TestStrapDown(StatefulModelConformance):
    spec = tq.StrapDown(hidden_size=2, time_constant=0.3, **VECTORS)
    causal = True
    channels = ((6, 4), (7, 4))

    @pytest.mark.xfail(reason="rates are in rad/s, and the length of a quaternion is 1")
    def test_units_of_the_data_scale_the_output(self):
        super().test_units_of_the_data_scale_the_output()


class TestUnitAroundAStatefulModel(StatefulModelConformance):
    spec = tq.UnitQuaternion(model=GRU(hidden_size=2))
    causal = True
    channels = ((2, 4), (1, 4))

    @pytest.mark.xfail(reason="the length of a quaternion is 1")
    def test_units_of_the_data_scale_the_output(self):
        super().test_units_of_the_data_scale_the_output()
