"""Angles of orientations, and of the difference between two of them, in rad.

The difference of `q` and `reference` is the rotation q reference* in the earth's frame. It parts
into an inclination, about a horizontal axis, which gyroscope and accelerometer can measure, and a
heading about the vertical, which they cannot. Source: Laidig and Seel, VQF (2023).
"""

from __future__ import annotations

from tsjax_core.losses.measured import root
from tsjax_core.types import AnyArray
from tsjax_quat.algebra import (
    conjugate,
    library_of,
    multiply,
    normalize,
    parts_of,
    safe_arctan2,
)


def difference(q: AnyArray, reference: AnyArray) -> AnyArray:
    """Return the unit quaternion q reference*, (..., 4); the lengths of both do not count."""
    return multiply(normalize(q), conjugate(normalize(reference)))


def relative_angle(q: AnyArray, reference: AnyArray) -> AnyArray:
    """Return the angle between two orientations in rad, from 0 to pi."""
    return angle_of(difference(q, reference))


def inclination(q: AnyArray, reference: AnyArray | None = None) -> AnyArray:
    """Return the angle in rad, 0 to pi, by which `q` tilts the vertical.

    With `reference` it is that of the difference: the angle between the vertical axes of both.
    """
    return inclination_of(normalize(q) if reference is None else difference(q, reference))


def heading(q: AnyArray, reference: AnyArray | None = None) -> AnyArray:
    """Return the angle in rad, -pi to pi, by which `q` turns about the vertical.

    With `reference` it is that of the difference. It is the angle that is left when the smallest
    rotation about a horizontal axis is taken off, and 0 for a `q` upside down.
    """
    return heading_of(normalize(q) if reference is None else difference(q, reference))


def angle_of(unit: AnyArray) -> AnyArray:
    """Return the rotation angle of unit quaternions in rad, 0 to pi."""
    xp = library_of(unit)
    w, x, y, z = parts_of(unit)
    # By arctan2, because the arccosine has no digits left at small angles.
    angle: AnyArray = 2.0 * safe_arctan2(xp, root(xp, x * x + y * y + z * z), xp.abs(w))
    return angle


def inclination_of(unit: AnyArray) -> AnyArray:
    """Return the part about a horizontal axis of unit quaternions in rad, 0 to pi."""
    xp = library_of(unit)
    w, x, y, z = parts_of(unit)
    angle: AnyArray = 2.0 * safe_arctan2(xp, root(xp, x * x + y * y), root(xp, w * w + z * z))
    return angle


def heading_of(unit: AnyArray) -> AnyArray:
    """Return the part about the vertical of unit quaternions in rad, -pi to pi."""
    xp = library_of(unit)
    w, _, _, z = parts_of(unit)
    angle: AnyArray = 2.0 * safe_arctan2(xp, xp.where(w < 0.0, -z, z), xp.abs(w))
    return angle
