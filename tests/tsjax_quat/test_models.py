"""The strap-down model and the unit-quaternion head against what they are made of."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.spatial.transform import Rotation

import tsjax_quat as tq
from tsjax_core import GRU, predict
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.protocols import FiniteMemory, ModelSpec
from tsjax_quat.strapdown import tilt_to_vertical


def test_rates_integrate_as_scipy_multiplies(case):
    """Sample by sample, from the identity and from another start, in a batch."""
    rates, start = np.random.default_rng(0).standard_normal((2, 30, 3)), case.draw(0, 2)
    for first in (None, start):
        got = tq.integrate_rates(rates, 0.1, first)
        for row in range(2):
            q = Rotation.identity() if first is None else case.scipy(first[row])[0]
            for t in range(30):
                q = q * Rotation.from_rotvec(0.1 * rates[row, t])
                case.same(got[row, t], q.as_quat()[[3, 0, 1, 2]], atol=1e-5)


def reference(u, dt, tau, bias, calibration):
    """One sequence in NumPy, by rotation matrices, without the frame that is tilted each time."""
    out, q, first, second = [], Rotation.identity(), 0.0, 0.0
    for n, row in enumerate(u.astype(np.float64)):
        rate = row[:3] + row[:3] @ calibration - bias
        q = q * Rotation.from_rotvec(dt * rate)
        gain = 1 - np.exp(-dt / tau)
        gain += (1 - gain) / (n + 1)
        force = q.apply(row[3:])
        first = first + gain * (force - first)
        second = second + gain * (first - second)
        unit = second / np.linalg.norm(second)
        axis = np.cross(unit, [0.0, 0.0, 1.0])
        angle = np.arctan2(np.linalg.norm(axis), unit[2])
        out.append((Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)) * q).as_quat())
    return np.array(out)[:, [3, 0, 1, 2]]


def test_the_model_is_the_filter_of_its_equations(case):
    """The inclination of a filter in a frame that only the gyroscope turns, to 1e-5 rad."""
    spec = tq.StrapDown(hidden_size=0, time_constant=0.3)
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    calibration = 0.05 * np.random.default_rng(1).standard_normal((3, 3))
    model.bias.set_value(jnp.array([1.0, -2.0, 3.0]))
    model.calibration.set_value(jnp.asarray(calibration))
    rng = np.random.default_rng(2)
    u = np.concatenate(
        [rng.standard_normal((60, 3)), np.array([0, 0, 9.8]) + rng.standard_normal((60, 3))], 1
    )
    got = predict(model, u.astype(np.float32))
    expected = reference(u, case.dt, 0.3, 0.01 * np.array([1.0, -2.0, 3.0]), calibration)
    assert np.max(tq.inclination(got.astype(np.float64), expected)) < 1e-5
    value, unit = model.quantities()["bias_z"]
    np.testing.assert_allclose(value, 0.03)
    assert unit == "rad/s"
    degrees = replace(spec, gyr_unit="deg/s").build(case.signals, rngs=nnx.Rngs(0))
    nnx.update(degrees, nnx.state(model, nnx.Param))
    scaled = u * np.where(np.arange(6) < 3, np.degrees(1.0), 1.0)
    np.testing.assert_allclose(predict(degrees, scaled.astype(np.float32)), got, atol=1e-5)


def test_a_resting_sensor_has_the_inclination_of_its_force(case):
    """From the first sample on, however it is mounted, upside down too, with finite gradients."""
    q = np.concatenate([case.draw(3, 5), np.eye(4)])
    force = np.asarray(tq.rotate(tq.conjugate(q), np.array([0.0, 0.0, 9.81])))
    u = np.repeat(np.concatenate([np.zeros((9, 3)), force], 1)[:, None], 6, axis=1)
    model = tq.StrapDown(hidden_size=2).build(case.signals, rngs=nnx.Rngs(0))
    y = predict(model, u.astype(np.float32))
    target = np.repeat(q[:, None], 6, axis=1)
    assert np.max(tq.inclination(y.astype(np.float64), target)) < 1e-3
    graphdef, params = nnx.split(model)
    loss = lambda p: tq.ms_inclination_rad2(  # noqa: E731 - the shortest form
        nnx.merge(graphdef, p)(jnp.asarray(u, jnp.float32)),
        target,
        None,
        None,
        signals=case.signals,
    )
    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(leaf).all()


def test_the_smallest_rotation_to_the_vertical():
    """It turns any direction up; straight down by half a turn, and nothing by nothing."""
    v = np.concatenate([np.random.default_rng(0).standard_normal((50, 3)), np.eye(3), -np.eye(3)])
    q = tilt_to_vertical(v)
    np.testing.assert_allclose(tq.rotate(q, v)[:, 2], np.linalg.norm(v, axis=-1), rtol=1e-9)
    np.testing.assert_array_equal(q[:, 3], 0.0)
    np.testing.assert_array_equal(tilt_to_vertical(np.zeros(3)), [1.0, 0.0, 0.0, 0.0])


def test_what_a_strap_down_needs_is_told(case):
    """A sampling time, one quaternion, the inputs of both sensors."""

    def told(error, signals, spec=None):
        with pytest.raises(error) as caught:
            (spec or tq.StrapDown(hidden_size=0)).build(signals, rngs=nnx.Rngs(0))
        print(caught.value)
        return str(caught.value)

    assert "sampling time is not known" in told(ModelError, replace(case.signals, dt=None))
    assert "the outputs are a, b, c, d, e" in told(
        ConfigError, case.signals_of(("a", "b", "c", "d", "e"))
    ).replace("no quaternion among the outputs", "the outputs are")
    both = case.signals_of((*case.quat, "speed"))
    assert "gives one quaternion, and the outputs are" in told(ModelError, both)
    few = case.signals_of(inputs=("gyr_x", "gyr_y", "gyr_z"))
    assert "no inputs acc_x, acc_y and acc_z" in told(ConfigError, few)
    wrong = tq.StrapDown(gyr=("gyr_x", "gyr_y", "oops"))
    assert "names the channel 'oops'" in told(ConfigError, case.signals, wrong)
    for options, text in (
        ({"gyr": ("a",)}, "give the names of three inputs"),
        ({"time_constant": 0.0}, "time_constant = 0.0"),
        ({"hidden_size": -1}, "hidden_size = -1"),
        ({"gyr_unit": "rpm"}, "gyr_unit = 'rpm'"),
    ):
        with pytest.raises(ConfigError) as caught:
            tq.StrapDown(**options)
        print(caught.value)
        assert text in str(caught.value)


def test_the_head_divides_quaternions_by_their_length_and_hands_on_the_rest(case):
    """In any order of the channels, with the values of the model inside and the lengths."""
    signals = case.signals_of(("speed", "quat_z", "quat_w", "quat_x", "quat_y"))
    model = tq.UnitQuaternion(GRU(hidden_size=3)).build(signals, rngs=nnx.Rngs(0))
    u = np.random.default_rng(0).standard_normal((2, 9, 6)).astype(np.float32)
    raw = np.array(model.inner(u))
    raw[..., 2] += 1.0
    length = np.linalg.norm(raw[..., 1:], axis=-1, keepdims=True)
    y, aux = model.call_with_aux(u)
    np.testing.assert_allclose(
        y, np.concatenate([raw[..., :1], raw[..., 1:] / length], -1), atol=1e-5
    )
    np.testing.assert_allclose(aux["quaternion_norm"], length, atol=1e-5)
    assert aux["hidden"].shape == (2, 9, 3)
    assert not isinstance(tq.UnitQuaternion(GRU()).model, FiniteMemory)
    assert tq.UnitQuaternion(GRU()).receptive_field is None
    assert isinstance(tq.UnitQuaternion(GRU()), ModelSpec)


def test_a_model_that_reads_outputs_is_told(case):
    """The head stands around models of inputs alone."""

    class Reader(GRU):
        init_window = 5

    with pytest.raises(ModelError) as caught:
        tq.UnitQuaternion(Reader()).build(case.signals, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "reads the measured output at the start" in str(caught.value)
