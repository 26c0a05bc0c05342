"""Figures of merit of a predicted orientation, in degrees.

They find the quaternions among the outputs by name, leave out samples with a NaN in their
reference, and do not depend on lengths and signs of the quaternions.
"""

from __future__ import annotations

import math
from typing import Any

from tsjax_core.losses.regression import channelwise, rmse
from tsjax_core.types import AnyArray, Array, Signals
from tsjax_quat.algebra import to_roll_pitch_yaw
from tsjax_quat.angles import heading_of
from tsjax_quat.losses import Stats, inclination_errors, relative_angle_errors
from tsjax_quat.measured import Errors, errors_by, pairs_of


def mean_inclination_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean inclination error in degrees."""
    return _degrees(inclination_errors(pred, target, signals).mean())


def rms_inclination_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean squared inclination error in degrees: the figure for 6D attitude estimation."""
    return _degrees(inclination_errors(pred, target, signals).rms())


def mean_relative_angle_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean relative angle in degrees."""
    return _degrees(relative_angle_errors(pred, target, signals).mean())


def rms_relative_angle_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean square of the relative angle in degrees."""
    return _degrees(relative_angle_errors(pred, target, signals).rms())


def rms_heading_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean squared heading error in degrees."""
    return _degrees(errors_by(heading_of, pred, target, signals, of="rms_heading_deg").rms())


def rms_roll_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean square in degrees of the difference in roll, the shorter way around."""
    return _degrees(_angle_errors(pred, target, signals, 0).rms())


def rms_pitch_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean square in degrees of the difference in pitch."""
    return _degrees(_angle_errors(pred, target, signals, 1).rms())


@channelwise
def rmse_rad_in_deg(
    pred: AnyArray, target: AnyArray, y_mean: Stats = None, y_std: Stats = None
) -> Array:
    """Root mean squared error in degrees of outputs that are angles in rad."""
    return _degrees(rmse(pred, target))


def _degrees(angle: Any) -> Array:
    value: Array = angle * (180.0 / math.pi)
    return value


def _angle_errors(pred: AnyArray, target: AnyArray, signals: Signals, axis: int) -> Errors:
    xp, first, second, measured = pairs_of(pred, target, signals, of="a roll or pitch metric")
    apart = (to_roll_pitch_yaw(first) - to_roll_pitch_yaw(second))[..., axis]
    around = apart - 2.0 * xp.pi * xp.round(apart / (2.0 * xp.pi))
    return Errors(xp, xp.where(measured, around, 0.0), measured)
