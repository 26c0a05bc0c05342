"""Losses and metrics against SciPy, with gaps, masks, signs and several quaternions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tsjax_quat as tq
from tsjax_core.errors import ConfigError

LOSSES = {
    tq.inclination_loss: lambda i, r: np.sqrt(np.mean((1 - np.cos(i / 2)) ** 2)),
    tq.inclination_loss_abs: lambda i, r: np.mean(1 - np.cos(i / 2)),
    tq.inclination_loss_squared: lambda i, r: np.mean((1 - np.cos(i / 2)) ** 2),
    tq.inclination_loss_smooth: lambda i, r: np.mean(0.5 * (1 - np.cos(i / 2)) ** 2),
    tq.abs_inclination_rad: lambda i, r: np.mean(i),
    tq.ms_inclination_rad2: lambda i, r: np.mean(i**2),
    tq.rms_inclination_rad: lambda i, r: np.sqrt(np.mean(i**2)),
    tq.smooth_inclination_rad: lambda i, r: np.mean(np.where(i < 1, i**2 / 2, i - 0.5)),
    tq.angle_loss: lambda i, r: np.mean(1 - np.cos(r / 2)),
    tq.abs_relative_angle_rad: lambda i, r: np.mean(r),
    tq.ms_relative_angle_rad2: lambda i, r: np.mean(r**2),
    tq.rms_relative_angle_rad: lambda i, r: np.sqrt(np.mean(r**2)),
    tq.mean_inclination_deg: lambda i, r: np.degrees(np.mean(i)),
    tq.rms_inclination_deg: lambda i, r: np.degrees(np.sqrt(np.mean(i**2))),
    tq.mean_relative_angle_deg: lambda i, r: np.degrees(np.mean(r)),
    tq.rms_relative_angle_deg: lambda i, r: np.degrees(np.sqrt(np.mean(r**2))),
}
every = pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)


def angles(case, pred, target):
    """Inclination and relative angle by SciPy, of the vertical axes and of the whole rotation."""
    apart = case.scipy(pred) * case.scipy(target).inv()
    vertical = apart.apply([0.0, 0.0, 1.0])
    return np.arctan2(np.hypot(*vertical[:, :2].T), vertical[:, 2]), apart.magnitude()


@every
def test_values_are_those_of_scipy(case, loss):
    """In double precision; lengths do not count."""
    pred, target = case.draw(0, 3, 20), case.draw(1, 3, 20)
    expected = LOSSES[loss](*angles(case, pred, target))
    got = loss(2.0 * pred, target, None, None, signals=case.signals)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


ORDER = [3, 0, 2, 1]
GRADED = (tq.inclination_loss, tq.rms_inclination_rad, tq.angle_loss, tq.rms_relative_angle_rad)


def wide(q):
    """The channels in another order, beside one that is no quaternion."""
    return np.concatenate([q[..., ORDER], np.full((*q.shape[:-1], 1), 7.0)], axis=-1)


@pytest.fixture(scope="module")
def graded(case):
    """Return values and gradients of a loss of each kind, compiled once."""
    signals = case.signals_of((*[case.quat[i] for i in ORDER], "speed"))

    def run(pred, target):
        return {
            f: jax.value_and_grad(lambda p, f=f: f(p, target, None, None, signals=signals))(pred)
            for f in GRADED
        }

    return jax.jit(lambda p, t: [run(p, t)[f] for f in GRADED])


def test_signs_order_and_gaps_do_not_count(case, graded):
    """Q is -q; channels are found by name in any order beside others; NaN is left out."""
    pred, target = case.draw(2, 2, 15), case.draw(3, 2, 15)
    flipped = target * np.where(np.arange(15) % 2, 1.0, -1.0)[:, None]
    flipped[:, 12:, 1] = np.nan
    signals = case.signals_of((*[case.quat[i] for i in ORDER], "speed"))
    on_device = graded(jnp.asarray(wide(pred)), jnp.asarray(wide(flipped)))
    for loss, (value, gradient) in zip(GRADED, on_device, strict=True):
        expected = loss(pred[:, :12], target[:, :12], None, None, signals=case.signals)
        got = loss(wide(pred), wide(flipped), None, None, signals=signals)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.isfinite(gradient).all()
        assert not np.asarray(gradient)[:, 12:].any()
        assert not np.asarray(gradient)[..., 4].any()


def test_gradients_are_finite_at_identical_opposite_and_empty_targets(case, graded):
    """Also half a turn away, upside down, and where nothing was measured, which is 0."""
    q = case.draw(4, 2, 15)
    one, zero = np.zeros_like(q) + np.eye(4)[0], np.zeros_like(q)
    empty = np.full_like(q, np.nan)
    for target in (q, -q, tq.multiply(np.eye(4)[1], q), zero + np.eye(4)[1], zero, empty):
        for pred in (q, one, zero):
            for value, gradient in graded(jnp.asarray(wide(pred)), jnp.asarray(wide(target))):
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
                assert value == 0.0 or target is not empty
    for loss in LOSSES:
        assert np.isnan(loss(q, empty, None, None, signals=case.signals))


def test_roll_pitch_and_heading_are_told_apart(case):
    """Each metric sees its own angle, the shorter way round."""
    zero = np.zeros((1, 5, 3))
    target = tq.from_roll_pitch_yaw(zero + np.array([3.1, 0.2, -3.1]))
    for axis, metric in enumerate((tq.rms_roll_deg, tq.rms_pitch_deg, tq.rms_heading_deg)):
        pred = tq.from_roll_pitch_yaw(
            zero + np.array([3.1, 0.2, -3.1]) + np.eye(3)[axis] * [0.1, 0.1, -0.1]
        )
        got = metric(pred, target, None, None, signals=case.signals)
        np.testing.assert_allclose(got, np.degrees(0.1), rtol=1e-9)
    level = tq.from_roll_pitch_yaw(zero)
    pred = tq.from_roll_pitch_yaw(zero + np.array([0.0, 0.0, 3.0]))
    assert tq.rms_inclination_deg(pred, level, None, None, signals=case.signals) < 1e-6


def test_several_quaternions_count_together(case):
    """A sample of one sensor that is missing leaves the other's."""
    names = tuple(f"{stem}{axis}" for axis in "wxyz" for stem in ("thigh.", "shank."))
    pred, target = case.draw(5, 2, 9, 2), case.draw(6, 2, 9, 2)
    target[0, :4, 1] = np.nan
    known = ~np.isnan(target[..., 0])
    expected = np.sqrt(np.mean(tq.inclination(pred[known], target[known]) ** 2))

    def side_by_side(q):
        return np.swapaxes(q, -1, -2).reshape(2, 9, 8)

    got = tq.rms_inclination_rad(
        side_by_side(pred), side_by_side(target), None, None, signals=case.signals_of(names)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_the_regularizer_is_about_lengths(case):
    """Mean of (1 - |q|)^2 of the prediction, or of what the head normalised."""
    q = case.draw(7, 2, 6) * np.array([1.0, 2.0])[:, None, None]
    loss = tq.quaternion_regularizer()
    np.testing.assert_allclose(loss(q, q, None, None, signals=case.signals), 0.5, rtol=1e-12)
    aux = {"quaternion_norm": jnp.full((2, 6, 1), 3.0)}
    head = tq.quaternion_regularizer("quaternion_norm")
    np.testing.assert_allclose(head(q, q, None, None, aux=aux, signals=case.signals), 4.0)
    gradient = jax.grad(lambda p: loss(p, p, None, None, signals=case.signals))(
        jnp.zeros((1, 2, 4))
    )
    assert np.isfinite(gradient).all()
    with pytest.raises(ConfigError) as caught:
        tq.quaternion_regularizer("length")
    print(caught.value)
    assert "give one of 'prediction', 'quaternion_norm'" in str(caught.value)


def test_angles_in_rad_have_an_error_in_degrees():
    """For models whose targets are inclinations."""
    pred, target = np.zeros((1, 4, 2)), np.full((1, 4, 2), 0.1)
    target[0, 0] = np.nan
    np.testing.assert_allclose(tq.rmse_rad_in_deg(pred, target), np.degrees(0.1))
    assert tq.rmse_rad_in_deg.channelwise


def test_outputs_without_a_quaternion_are_told(case):
    """With their names, and how to name them."""
    three = np.zeros((1, 2, 3))
    with pytest.raises(ConfigError) as caught:
        tq.angle_loss(three, three, None, None, signals=case.signals_of(("a", "b", "c")))
    print(caught.value)
    assert "no quaternion among the outputs a, b, c" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        tq.angle_loss(three, three, None, None, signals=case.signals)
    print(caught.value)
    assert "got 3 of the outputs quat_w, quat_x, quat_y, quat_z" in str(caught.value)
    four = np.tile([1.0, 0.0, 0.0, 0.0], (1, 2, 1))
    assert tq.angle_loss(four, four, None, None, signals=case.signals_of(("a", "b", "c", "d"))) == 0
