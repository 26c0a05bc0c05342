"""Quaternion algebra against SciPy's rotations, on the host and on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import tsjax_quat as tq

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
HALF_TURNS = np.eye(4)[1:]
SPECIAL = np.concatenate([np.eye(4), -np.eye(4), [[0.5, 0.5, -0.5, 0.5], [1.0, 1e-9, 0.0, 0.0]]])

seeds = st.integers(0, 2**32 - 1)


def on(library, function):
    """Compile what runs on the device, whose operations would each be compiled otherwise."""
    return function if library is np else jax.jit(function)


on_both = pytest.mark.parametrize("library", [np, jnp], ids=["host", "device"])


def close(got, expected):
    """In double precision on the host, in single precision on the device."""
    if isinstance(got, np.ndarray):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, atol=1e-12)
    else:
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, atol=3e-6)


@on_both
def test_products_and_rotations_are_those_of_scipy(case, library):
    """Product, conjugate, rotation of vectors, matrix, logarithm and Euler angles, 500 each."""
    p, q = (np.concatenate([case.draw(seed, 490), SPECIAL]) for seed in (0, 1))
    v = np.random.default_rng(2).standard_normal((500, 3))
    first, second, a, b, w = case.scipy(p), case.scipy(q), *map(library.asarray, (p, q, v))
    case.same(on(library, tq.multiply)(a, b), (first * second).as_quat()[:, [3, 0, 1, 2]])
    case.same(on(library, tq.conjugate)(a), first.inv().as_quat()[:, [3, 0, 1, 2]])
    close(on(library, tq.rotate)(a, w), first.apply(v))
    matrices = on(library, tq.to_matrix)(a)
    close(matrices, first.as_matrix())
    case.same(on(library, tq.from_matrix)(matrices), p)
    vectors = on(library, tq.to_rotation_vector)(a)
    close(vectors[:490], first.as_rotvec()[:490])
    case.same(on(library, tq.from_rotation_vector)(vectors), p)
    roll_pitch_yaw = first[:490].as_euler("ZYX")[:, ::-1].copy()
    close(on(library, tq.to_roll_pitch_yaw)(a)[:490], roll_pitch_yaw)
    case.same(on(library, tq.from_roll_pitch_yaw)(library.asarray(roll_pitch_yaw)), p[:490])


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(-6, 1))
def test_exponential_and_logarithm_undo_each_other(seed, exponent):
    """For rotation vectors from 1e-6 rad to pi, to rounding."""
    v = np.random.default_rng(seed).standard_normal((5, 3))
    v *= min(10.0**exponent, 3.14) / np.linalg.norm(v, axis=-1, keepdims=True)
    np.testing.assert_allclose(tq.to_rotation_vector(tq.from_rotation_vector(v)), v, rtol=1e-9)
    np.testing.assert_allclose(
        tq.from_rotation_vector(v), Rotation.from_rotvec(v).as_quat()[:, [3, 0, 1, 2]], atol=1e-14
    )


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_a_rotation_parts_into_inclination_and_heading(seed):
    """By quaternions (a, b, 0, 0) and (c, 0, 0, d), whose product has both angles exactly."""
    rng = np.random.default_rng(seed)
    tilt, turn, direction = rng.uniform(0, 3.1), rng.uniform(-3.1, 3.1), rng.uniform(-3.1, 3.1)
    axis = np.array([np.cos(direction), np.sin(direction), 0.0])
    q = tq.multiply(
        tq.from_rotation_vector(tilt * axis), tq.from_rotation_vector(np.array([0, 0, turn]))
    )
    np.testing.assert_allclose(tq.inclination(q), tilt, atol=1e-12)
    np.testing.assert_allclose(tq.heading(q), turn, atol=1e-9)
    np.testing.assert_allclose(
        np.arccos(np.clip(tq.rotate(q, np.array([0.0, 0.0, 1.0]))[2], -1, 1)), tilt, atol=1e-7
    )
    np.testing.assert_allclose(tq.heading(-3.0 * q), turn, atol=1e-9)
    reference = case_of(rng)
    other = tq.multiply(q, reference)
    np.testing.assert_allclose(tq.inclination(other, reference), tilt, atol=1e-9)
    np.testing.assert_allclose(tq.heading(other, -reference), turn, atol=1e-6)


def case_of(rng):
    q = rng.standard_normal(4)
    return q / np.linalg.norm(q)


def test_the_relative_angle_is_that_of_scipy_and_exact_at_small_angles(case):
    """Its sign and length do not count; 1e-5 rad are not lost in single precision."""
    p, q = case.draw(3, 200), case.draw(4, 200)
    expected = (case.scipy(p) * case.scipy(q).inv()).magnitude()
    np.testing.assert_allclose(tq.relative_angle(p, q), expected, atol=1e-12)
    np.testing.assert_allclose(tq.relative_angle(-2.0 * p, 5.0 * q), expected, atol=1e-12)
    turned = tq.multiply(p, tq.from_rotation_vector(np.tile([1e-5, 0.0, 0.0], (200, 1))))
    got = tq.relative_angle(jnp.asarray(turned, jnp.float32), jnp.asarray(p, jnp.float32))
    assert np.abs(np.asarray(got) - 1e-5).max() < 1e-6


def test_slerp_has_its_ends_and_a_constant_rate_between(case):
    """0.1 to 0.3 rad about z is 0.2 in the middle; the angle grows linearly, the short way."""
    z = [tq.from_rotation_vector(np.array([0.0, 0.0, a])) for a in (0.1, 0.3)]
    np.testing.assert_allclose(tq.to_rotation_vector(tq.slerp(*z, 0.5)), [0, 0, 0.2], atol=1e-14)
    p, q = case.draw(5, 100), case.draw(6, 100)
    total = tq.relative_angle(p, q)
    for t in (0.0, 0.25, 0.5, 1.0):
        for sign in (1.0, -1.0):
            at = tq.slerp(p, sign * q, t)
            np.testing.assert_allclose(tq.relative_angle(at, p), t * total, atol=1e-7)
            np.testing.assert_allclose(tq.relative_angle(at, q), (1 - t) * total, atol=1e-7)
    np.testing.assert_allclose(tq.slerp(p, q, 0.0), p, atol=1e-15)
    case.same(tq.slerp(p, q, 1.0), q, atol=1e-14)
    np.testing.assert_allclose(tq.slerp(p, -p, np.linspace(0, 1, 100)), p, atol=1e-12)


def test_slerp_is_that_of_scipy(case):
    """At random shares of random ways, each with a share of its own."""
    from scipy.spatial.transform import Slerp

    p, q, t = case.draw(7, 50), case.draw(8, 50), np.random.default_rng(9).random(50)
    expected = [
        Slerp([0, 1], case.scipy(np.stack(pair)))(share).as_quat()[[3, 0, 1, 2]]
        for *pair, share in zip(p, q, t, strict=True)
    ]
    case.same(tq.slerp(p, q, t), expected, atol=1e-12)


@on_both
def test_the_average_is_that_of_scipy_whatever_the_signs(case, library):
    """Weighted, along either axis."""
    centre = case.draw(10, 1)
    near = tq.multiply(
        centre, tq.from_rotation_vector(0.4 * np.random.default_rng(1).standard_normal((40, 3)))
    )
    signs = np.sign(np.random.default_rng(2).standard_normal((40, 1)))
    weights = np.random.default_rng(3).random(40)
    expected = case.scipy(near).mean(weights).as_quat()[[3, 0, 1, 2]]
    got = on(library, tq.average)(library.asarray(near * signs), library.asarray(weights))
    case.same(got, expected)
    assert got[0] >= 0.0
    two = library.asarray(np.stack([near, near[::-1]]))
    case.same(
        tq.average(two, axis=1), np.tile(case.scipy(near).mean().as_quat()[[3, 0, 1, 2]], (2, 1))
    )


FUNCTIONS = {
    "normalize": tq.normalize,
    "relative_angle": lambda q: tq.relative_angle(q, jnp.asarray(IDENTITY)),
    "inclination": tq.inclination,
    "heading": tq.heading,
    "to_rotation_vector": tq.to_rotation_vector,
    "to_roll_pitch_yaw": tq.to_roll_pitch_yaw,
    "round trip by the matrix": lambda q: tq.from_matrix(tq.to_matrix(q)),
    "slerp to the identity": lambda q: tq.slerp(q, jnp.asarray(IDENTITY), 0.3),
    "slerp to itself": lambda q: tq.slerp(q, jax.lax.stop_gradient(q), 0.3),
    "slerp to its opposite": lambda q: tq.slerp(q, -jax.lax.stop_gradient(q), 0.3),
    "average": lambda q: tq.average(jnp.stack([q, q, -q])),
    "exponential of the logarithm": lambda q: tq.from_rotation_vector(tq.to_rotation_vector(q)),
    "exponential": lambda q: tq.from_rotation_vector(q[1:]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_finite_everywhere(name):
    """At the identity and its opposite, half turns, gimbal lock, zero and nearly zero."""
    gimbal = np.asarray(tq.from_roll_pitch_yaw(np.array([0.3, np.pi / 2, 0.1])))
    points = np.concatenate([SPECIAL, [gimbal, np.zeros(4), np.full(4, 1e-25), np.full(4, 1e18)]])
    function = FUNCTIONS[name]
    values, jacobians = jax.jit(jax.vmap(lambda q: (function(q), jax.jacrev(function)(q))))(
        jnp.asarray(points, jnp.float32)
    )
    assert np.isfinite(values).all()
    assert np.isfinite(jacobians).all()


def test_the_gradient_of_an_average_is_that_of_a_difference(case):
    """By central differences in double precision."""
    q = case.draw(11, 5)
    weights = np.arange(1.0, 6.0)
    direction = np.random.default_rng(0).standard_normal(4)

    def value(q):
        return tq.average(q, weights) @ direction

    step = 1e-6 * np.random.default_rng(1).standard_normal((5, 4))
    slope = (value(q + step) - value(q - step)) / 2
    gradient = jax.grad(lambda q: tq.average(q, jnp.asarray(weights)) @ direction)(jnp.asarray(q))
    np.testing.assert_allclose(np.sum(np.asarray(gradient) * step), slope, rtol=1e-3)


def test_nothing_is_the_identity_and_directions_keep_theirs():
    """A zero quaternion is normalised to the identity, others to length 1, however long."""
    np.testing.assert_array_equal(tq.normalize(np.zeros((2, 4))), [IDENTITY, IDENTITY])
    for size in (1e-200, 1e-30, 1.0, 1e200):
        np.testing.assert_allclose(
            tq.normalize(size * np.array([0, 3.0, 0, 4.0])), [0, 0.6, 0, 0.8]
        )
