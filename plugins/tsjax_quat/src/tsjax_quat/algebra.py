"""Quaternions as arrays (..., 4) in the order w, x, y, z.

A unit quaternion q = (w, x, y, z) is the rotation that takes a vector from the sensor's frame to
the earth's, v_earth = q v_sensor q*, with the z axis of the earth upwards. q and -q are the same
rotation (the double cover of SO(3)). Products are Hamilton's, right-handed.

Every function broadcasts over the leading axes. Arrays of NumPy give arrays of NumPy, everything
else arrays of jax. Gradients are finite everywhere: where a formula has no derivative, it is 0.
Source: Solà, Quaternion kinematics for the error-state Kalman filter (2017).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.losses.measured import root
from tsjax_core.types import AnyArray

# Below it the series of sin(x) / x and of arctan(x) / x are exact to single precision, squared.
_SMALL = 1e-6


def library_of(*arrays: Any) -> Any:
    """Return NumPy where all of `arrays` are NumPy's, and else jax.numpy."""
    return np if all(isinstance(array, np.ndarray | np.generic) for array in arrays) else jnp


def largest_part(v: Any) -> Any:
    """Return the largest absolute value along the last axis, as a scale without a derivative."""
    xp = library_of(v)
    largest = xp.max(xp.abs(v), axis=-1, keepdims=True)
    return largest if xp is np else jax.lax.stop_gradient(largest)


def parts_of(q: AnyArray) -> tuple[Any, Any, Any, Any]:
    """Return w, x, y and z of `q` (..., 4), each (...)."""
    return q[..., 0], q[..., 1], q[..., 2], q[..., 3]


def safe_arctan2(xp: Any, y: Any, x: Any) -> Any:
    """Return arctan2(y, x); at the origin it is 0, and so are its derivatives."""
    origin = (x == 0.0) & (y == 0.0)
    return xp.where(origin, 0.0, xp.arctan2(y, xp.where(origin, 1.0, x)))


def identity_like(q: AnyArray) -> AnyArray:
    """Return the identity (1, 0, 0, 0) in the shape and dtype of `q`."""
    xp = library_of(q)
    unit: AnyArray = xp.zeros_like(q) + xp.asarray([1.0, 0.0, 0.0, 0.0], q.dtype)
    return unit


def multiply(p: AnyArray, q: AnyArray) -> AnyArray:
    """Return the product p q, (..., 4): as a rotation, first q and then p."""
    xp = library_of(p, q)
    a, b, c, d = parts_of(xp.asarray(p))
    w, x, y, z = parts_of(xp.asarray(q))
    product: AnyArray = xp.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=-1,
    )
    return product


def conjugate(q: AnyArray) -> AnyArray:
    """Return q* = (w, -x, -y, -z), which is the inverse of a unit quaternion."""
    xp = library_of(q)
    q = xp.asarray(q)
    conjugated: AnyArray = q * xp.asarray([1.0, -1.0, -1.0, -1.0], q.dtype)
    return conjugated


def normalize(q: AnyArray) -> AnyArray:
    """Return q / |q|; the identity where `q` is 0."""
    xp = library_of(q)
    q = xp.asarray(q)
    # Divided by the largest part first, so that no square is too large or too small.
    largest = largest_part(q)
    zero = largest == 0.0
    scaled = q / xp.where(zero, 1.0, largest)
    square = xp.sum(xp.square(scaled), axis=-1, keepdims=True)
    unit: AnyArray = xp.where(zero, identity_like(q), scaled / xp.sqrt(xp.where(zero, 1.0, square)))
    return unit


def rotate(q: AnyArray, v: AnyArray) -> AnyArray:
    """Return the vectors q v q*, (..., 3), of `v` (..., 3) by the unit quaternions `q`."""
    xp = library_of(q, v)
    q, v = xp.asarray(q), xp.asarray(v)
    w, axis = q[..., :1], q[..., 1:]
    turned = 2.0 * xp.cross(axis, v)
    rotated: AnyArray = v + w * turned + xp.cross(axis, turned)
    return rotated


def from_rotation_vector(v: AnyArray) -> AnyArray:
    """Return the unit quaternion of a rotation by |v| rad about `v` (..., 3): its exponential."""
    xp = library_of(v)
    half = 0.5 * xp.asarray(v)
    square = xp.sum(xp.square(half), axis=-1, keepdims=True)
    small = square < _SMALL
    angle = xp.sqrt(xp.where(small, 1.0, square))
    cosine = xp.where(small, 1.0 - square / 2.0, xp.cos(angle))
    ratio = xp.where(small, 1.0 - square / 6.0, xp.sin(angle) / angle)
    q: AnyArray = xp.concatenate([cosine, ratio * half], axis=-1)
    return q


def to_rotation_vector(q: AnyArray) -> AnyArray:
    """Return the rotation vector (..., 3) of `q` in rad, at most pi long: its logarithm."""
    xp = library_of(q)
    q = normalize(q)
    w, axis = xp.abs(q[..., :1]), xp.where(q[..., :1] < 0.0, -q[..., 1:], q[..., 1:])
    square = xp.sum(xp.square(axis), axis=-1, keepdims=True)
    small = square < _SMALL
    sine = xp.sqrt(xp.where(small, 1.0, square))
    factor = xp.where(
        small,
        2.0 / xp.where(small, w, 1.0) * (1.0 - square / 3.0),
        2.0 * xp.arctan2(sine, w) / sine,
    )
    v: AnyArray = factor * axis
    return v


def to_matrix(q: AnyArray) -> AnyArray:
    """Return the rotation matrix R (..., 3, 3) of `q`, with R v = q v q*."""
    xp = library_of(q)
    w, x, y, z = parts_of(normalize(q))
    rows = [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
    matrix: AnyArray = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
    return matrix


def from_matrix(matrix: AnyArray) -> AnyArray:
    """Return the unit quaternion (..., 4), w 0 or more, of rotation matrices (..., 3, 3)."""
    xp = library_of(matrix)
    m = xp.asarray(matrix)
    (a, b, c), (d, e, f), (g, h, i) = ([m[..., r, k] for k in range(3)] for r in range(3))
    # The rows are 4 w q, 4 x q, 4 y q and 4 z q; the one with the largest factor is exact.
    rows = [
        [1.0 + a + e + i, h - f, c - g, d - b],
        [h - f, 1.0 + a - e - i, b + d, c + g],
        [c - g, b + d, 1.0 - a + e - i, f + h],
        [d - b, c + g, f + h, 1.0 - a - e + i],
    ]
    stacked = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
    diagonal = xp.stack([row[k] for k, row in enumerate(rows)], axis=-1)
    best = xp.argmax(diagonal, axis=-1)[..., None, None]
    q = normalize(xp.take_along_axis(stacked, best, axis=-2)[..., 0, :])
    positive: AnyArray = xp.where(q[..., :1] < 0.0, -q, q)
    return positive


def to_roll_pitch_yaw(q: AnyArray) -> AnyArray:
    """Return roll, pitch and yaw (..., 3) in rad: R = Rz(yaw) Ry(pitch) Rx(roll).

    The pitch is from -pi/2 to pi/2. At its ends roll and yaw turn about one axis, and both are 0
    or a multiple of pi.
    """
    xp = library_of(q)
    w, x, y, z = parts_of(normalize(q))
    forward, left = w * w + x * x - y * y - z * z, 2.0 * (x * y + w * z)
    roll = safe_arctan2(xp, 2.0 * (y * z + w * x), w * w - x * x - y * y + z * z)
    pitch = xp.arctan2(2.0 * (w * y - x * z), root(xp, forward**2 + left**2))
    angles: AnyArray = xp.stack([roll, pitch, safe_arctan2(xp, left, forward)], axis=-1)
    return angles


def from_roll_pitch_yaw(angles: AnyArray) -> AnyArray:
    """Return the unit quaternion of roll, pitch and yaw (..., 3) in rad, yaw turning last."""
    xp = library_of(angles)
    half = 0.5 * xp.asarray(angles)
    cosine, sine = xp.cos(half), xp.sin(half)
    zero = xp.zeros_like(half[..., 0])
    roll, pitch, yaw = (
        xp.stack(
            [cosine[..., k], *(sine[..., k] if axis == k else zero for axis in range(3))], axis=-1
        )
        for k in range(3)
    )
    return multiply(multiply(yaw, pitch), roll)
