"""Another mounting of the sensor leaves what happens in the world as it is."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import tsjax_quat as tq
from tsjax_core import Signals
from tsjax_core.errors import ConfigError


def turned(case, seed=0, **options):
    """Return a batch of an IMU before and after, and the pieces of each."""
    rng = np.random.default_rng(seed)
    batch = {
        "u": rng.standard_normal((4, 7, 6)).astype(np.float32),
        "y": case.draw(seed, 4, 7).astype(np.float32),
    }
    batch["y"][1, 3] = np.nan
    transform = tq.quaternion_augmentation(**options)
    after = transform(batch, key=jax.random.key(seed), signals=case.signals)
    return batch, {key: np.asarray(value) for key, value in after.items()}


def test_lengths_and_vectors_in_the_world_stay(case):
    """Gyroscope and accelerometer, turned into the earth's frame by the turned quaternion."""
    before, after = turned(case)
    for part in (slice(0, 3), slice(3, 6)):
        v, w = before["u"][..., part], after["u"][..., part]
        assert np.abs(v - w).max() > 0.1
        np.testing.assert_allclose(
            np.linalg.norm(v, axis=-1), np.linalg.norm(w, axis=-1), rtol=1e-5
        )
        world = tq.rotate(before["y"], v)
        np.testing.assert_allclose(tq.rotate(after["y"], w), world, atol=1e-5)
    assert np.array_equal(np.isnan(before["y"]), np.isnan(after["y"]))


def test_errors_between_prediction_and_target_stay(case):
    """A prediction that turns with the sensor has the same inclination and relative angle."""
    r = tq.random_quaternions(jax.random.key(3), (5, 1))
    pred, target = case.draw(1, 5, 6), case.draw(2, 5, 6)
    for angle in (tq.inclination, tq.relative_angle, tq.heading):
        moved = angle(tq.multiply(pred, r), tq.multiply(target, r))
        np.testing.assert_allclose(moved, angle(pred, target), atol=2e-5)


def test_one_rotation_for_each_sample_and_all_its_times(case):
    """Rows turn differently; within a row all vectors turn by one rotation."""
    before, after = turned(case, seed=1)
    r = tq.multiply(tq.conjugate(before["y"]), after["y"])
    sign = np.sign(r[..., :1])
    for row in range(4):
        rows = (r * sign)[row][~np.isnan(r[row, :, 0])]
        np.testing.assert_allclose(rows, np.tile(rows[:1], (len(rows), 1)), atol=1e-5)
    assert np.abs(np.sum(r[0, 0] * r[2, 0])) < 0.999


def test_mountings_are_uniform_over_all_rotations():
    """The mean of 4000 matrices is 0, and each entry has the variance 1 / 3."""
    matrices = np.asarray(
        tq.to_matrix(np.asarray(tq.random_quaternions(jax.random.key(0), (4000,))))
    )
    assert np.abs(matrices.mean(0)).max() < 0.04
    np.testing.assert_allclose(np.square(matrices).mean(0), 1 / 3, atol=0.03)


def test_named_groups_turn_wherever_they_are(case):
    """Only those named: a vector among the targets, a quaternion among further signals."""
    signals = Signals(
        ("a", "b", "c", "d_x", "d_y", "d_z"), ("v1", "v2", "v3"), further={"ref": case.quat}
    )
    rng = np.random.default_rng(0)
    batch = {
        "u": rng.standard_normal((2, 5, 6)),
        "y": rng.standard_normal((2, 5, 3)),
        "ref": case.draw(0, 2, 5),
    }
    transform = tq.quaternion_augmentation(vectors=(("c", "a", "b"), ("v1", "v2", "v3")))
    after = transform(batch, key=jax.random.key(0), signals=signals)
    np.testing.assert_array_equal(after["u"][..., 3:], batch["u"][..., 3:].astype(np.float32))
    for key, part in (("u", [2, 0, 1]), ("y", [0, 1, 2])):
        world = tq.rotate(batch["ref"], batch[key][..., part])
        got = tq.rotate(np.asarray(after["ref"]), np.asarray(after[key])[..., part])
        np.testing.assert_allclose(got, world, atol=1e-5)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"vectors": (("gyr_x", "gyr_y"),)}, ["channels gyr_x, gyr_y", "give 3 different names"]),
        ({"vectors": (("gyr_x", "gyr_y", "oops"),)}, ["gyr_x, gyr_y, oops", "do not stand"]),
        ({"vectors": (("gyr_x", "quat_y", "quat_z"),)}, ["do not stand together"]),
        ({"quaternions": (("quat_w", "quat_x", "quat_y"),)}, ["give 4 different"]),
    ],
    ids=str,
)
def test_groups_that_do_not_fit_are_told(case, options, parts):
    """With the names that there are."""
    with pytest.raises(ConfigError) as caught:
        turned(case, **options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_inputs_without_a_vector_are_told(case):
    """A rotation that turns nothing would be a silent mistake."""
    transform = tq.quaternion_augmentation()
    with pytest.raises(ConfigError) as caught:
        transform(
            {"u": np.zeros((1, 2, 1))}, key=jax.random.key(0), signals=Signals(("a",), ("b",))
        )
    print(caught.value)
    assert "found no vector among the inputs a" in str(caught.value)
