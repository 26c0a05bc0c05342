"""Losses of a predicted orientation against a reference.

All take `pred` and `target` (batch, time, n_y) with the quaternions among the channels that
`signals` names, in any number; their lengths and signs do not count. What they are about stands in
the name: the relative angle is that of the whole rotation between both, the inclination that of its
part about a horizontal axis, which does not see the heading. `_rad` and `_rad2` say the unit; those
without are of half angles and have none. A sample with a NaN in its reference does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp

from tsjax_core.checks import choice
from tsjax_core.losses.regression import squares_of
from tsjax_core.types import AnyArray, Array, Signals
from tsjax_quat.algebra import library_of, parts_of
from tsjax_quat.angles import angle_of, inclination_of
from tsjax_quat.channels import quaternions_in
from tsjax_quat.measured import Errors, errors_by, pairs_of

Stats: TypeAlias = AnyArray | None


def inclination_errors(pred: AnyArray, target: AnyArray, signals: Signals) -> Errors:
    """Return the inclination of the difference at every sample, in rad."""
    return errors_by(inclination_of, pred, target, signals, of="an inclination loss")


def relative_angle_errors(pred: AnyArray, target: AnyArray, signals: Signals) -> Errors:
    """Return the angle of the difference at every sample, in rad."""
    return errors_by(angle_of, pred, target, signals, of="a relative-angle loss")


def _half_inclination(pred: AnyArray, target: AnyArray, signals: Signals) -> Errors:
    def one_less_cosine(unit: AnyArray) -> Any:
        xp = library_of(unit)
        _, x, y, _ = parts_of(unit)
        square = xp.clip(x * x + y * y, 0.0, 1.0)
        # 1 - c = s^2 / (1 + c), where the left side has no digits at small angles. The cosine is 0
        # upside down, where the root has no derivative.
        rest = 1.0 - square
        upside_down = rest == 0.0
        cosine = xp.where(upside_down, 0.0, xp.sqrt(xp.where(upside_down, 1.0, rest)))
        return square / (1.0 + cosine)

    return errors_by(one_less_cosine, pred, target, signals, of="an inclination loss")


def _huber(xp: Any) -> Callable[[Any], Any]:
    def huber(error: Any) -> Any:
        size = xp.abs(error)
        return xp.where(size < 1.0, 0.5 * xp.square(error), size - 0.5)

    return huber


def inclination_loss(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean square of 1 - cos(half the inclination error)."""
    value: Array = _half_inclination(pred, target, signals).rms()
    return value


def inclination_loss_abs(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean of 1 - cos(half the inclination error)."""
    value: Array = _half_inclination(pred, target, signals).mean()
    return value


def inclination_loss_squared(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean square of 1 - cos(half the inclination error)."""
    errors = _half_inclination(pred, target, signals)
    value: Array = errors.mean(errors.xp.square)
    return value


def inclination_loss_smooth(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean Huber loss, with its corner at 1, of 1 - cos(half the inclination error)."""
    errors = _half_inclination(pred, target, signals)
    value: Array = errors.mean(_huber(errors.xp))
    return value


def abs_inclination_rad(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean inclination error in rad."""
    value: Array = inclination_errors(pred, target, signals).mean()
    return value


def _inclinations(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Any:
    return inclination_errors(pred, target, signals).values


@squares_of(_inclinations)
def ms_inclination_rad2(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean squared inclination error in rad^2."""
    errors = inclination_errors(pred, target, signals)
    value: Array = errors.mean(errors.xp.square)
    return value


def rms_inclination_rad(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean squared inclination error in rad."""
    value: Array = inclination_errors(pred, target, signals).rms()
    return value


def smooth_inclination_rad(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean Huber loss, with its corner at 1 rad, of the inclination error in rad."""
    errors = inclination_errors(pred, target, signals)
    value: Array = errors.mean(_huber(errors.xp))
    return value


def angle_loss(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean of 1 - cos(half the relative angle), which is 1 - |w| of the difference."""

    def one_less_cosine(unit: AnyArray) -> Any:
        xp = library_of(unit)
        w, x, y, z = parts_of(unit)
        return (x * x + y * y + z * z) / (1.0 + xp.abs(w))

    value: Array = errors_by(one_less_cosine, pred, target, signals, of="angle_loss").mean()
    return value


def abs_relative_angle_rad(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean relative angle in rad."""
    value: Array = relative_angle_errors(pred, target, signals).mean()
    return value


def _relative_angles(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Any:
    return relative_angle_errors(pred, target, signals).values


@squares_of(_relative_angles)
def ms_relative_angle_rad2(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Mean squared relative angle in rad^2."""
    errors = relative_angle_errors(pred, target, signals)
    value: Array = errors.mean(errors.xp.square)
    return value


def rms_relative_angle_rad(
    pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
) -> Array:
    """Root mean square of the relative angle in rad."""
    value: Array = relative_angle_errors(pred, target, signals).rms()
    return value


def quaternion_regularizer(
    of: Literal["prediction", "quaternion_norm"] = "prediction",
) -> Callable[..., Array]:
    """Mean squared distance of the length of the quaternions from 1: a term beside another loss.

    Args:
        of: Whose length: `prediction` is that of the output of a model without a unit-quaternion
            head; `quaternion_norm` that before the normalisation by `quat/unit`, whose output has
            the length 1 always.
    """
    choice("of", of, ("prediction", "quaternion_norm"))

    def unit_norm(
        pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, signals: Signals
    ) -> Array:
        """Mean of (1 - |q|)^2 over the quaternions of the prediction."""
        _, q, _, _ = pairs_of(pred, pred, signals, of="quat/regularizer")
        xp = library_of(q)
        square = xp.sum(xp.square(q), axis=-1)
        zero = square == 0.0
        norm = xp.where(zero, 0.0, xp.sqrt(xp.where(zero, 1.0, square)))
        value: Array = xp.mean(xp.square(1.0 - norm))
        return value

    def unit_norm_of_head(
        pred: AnyArray, target: AnyArray, y_mean: Stats, y_std: Stats, *, aux: Any, signals: Signals
    ) -> Array:
        """Mean of (1 - |q|)^2 over the quaternions before their normalisation."""
        quaternions_in(signals, pred.shape[-1], of="quat/regularizer")
        value: Array = jnp.mean(jnp.square(1.0 - aux["quaternion_norm"]))
        return value

    return unit_norm if of == "prediction" else unit_norm_of_head
