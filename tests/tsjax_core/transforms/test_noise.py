"""Noise and offsets: their moments, what they share, and what they leave alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tsjax_core import add_bias, add_grouped_noise, add_noise, add_varying_noise
from tsjax_core.errors import ConfigError
from tsjax_core.testing.samples import sample_batch, sample_signals

Z = 5.0
"""Standard errors that a right estimate stays within: it leaves them once in two million times."""

FACTORIES = {
    "noise": lambda p=1.0: add_noise([0.5, 2.0], p=p),
    "varying": lambda p=1.0: add_varying_noise(0.5, p=p),
    "grouped": lambda p=1.0: add_grouped_noise([0.5, 2.0], [0, 1], p=p),
    "bias": lambda p=1.0: add_bias(0.5, p=p),
}


def zeros(batch, time, n_u):
    return {"u": jnp.zeros((batch, time, n_u)), "y": jnp.ones((batch, time, 1))}


def drawn(transform, batch, key=0):
    """Return what is added to the inputs of `batch`."""
    changed = transform(batch, key=jax.random.key(key))
    return np.asarray(changed["u"], np.float64) - np.asarray(batch["u"], np.float64)


def assert_mean_and_std(values, mean, std):
    """The estimates from independent normal draws are within `Z` standard errors.

    These are std / sqrt(n) for the mean and std^2 sqrt(2 / (n - 1)) for the variance.
    """
    n = values.size
    assert abs(values.mean() - mean) < Z * std / math.sqrt(n)
    assert abs(values.var(ddof=1) - std**2) < Z * std**2 * math.sqrt(2.0 / (n - 1))


def test_noise_is_white_and_normal_with_the_given_moments():
    """Per channel; neighbours in time, sequences and channels are not correlated."""
    added = drawn(add_noise(std=[0.1, 3.0], mean=[1.0, -2.0]), zeros(40, 100, 2))
    assert_mean_and_std(added[..., 0], 1.0, 0.1)
    assert_mean_and_std(added[..., 1], -2.0, 3.0)
    x = (added - [1.0, -2.0]) / [0.1, 3.0]
    assert stats.kstest(x.reshape(-1), "norm").pvalue > 1e-4
    pairs = [(x[:, 1:], x[:, :-1]), (x[1:], x[:-1]), (x[..., 0], x[..., 1])]
    for a, b in pairs:
        assert abs(np.mean(a * b)) < Z / math.sqrt(a.size)


def test_a_bias_is_constant_over_time_and_normal_over_sequences():
    """Each sequence and channel has its own."""
    added = drawn(add_bias(std=[0.1, 3.0], mean=1.0), zeros(3000, 4, 2))
    assert (added == added[:, :1]).all()
    assert_mean_and_std(added[:, 0, 0], 1.0, 0.1)
    assert_mean_and_std(added[:, 0, 1], 1.0, 3.0)
    x = (added[:, 0] - 1.0) / [0.1, 3.0]
    assert stats.kstest(x.reshape(-1), "norm").pvalue > 1e-4
    assert abs(np.mean(x[:, 0] * x[:, 1])) < Z / math.sqrt(len(x))


def stds_by_key(transform, n_u):
    """Return standard deviations over each sequence and channel, (keys, 2, n_u)."""
    batch = zeros(2, 300, n_u)
    added = np.array([drawn(transform, batch, key) for key in range(400)])
    return np.sqrt(np.mean(added**2, axis=2))


def assert_equal_stds(a, b):
    """Estimates from 300 draws each of one std differ within `Z` standard errors of their ratio.

    That of the logarithm of an estimate from n draws is sqrt(1 / (2 n)).
    """
    assert np.abs(np.log(a) - np.log(b)).max() < Z * math.sqrt(2 / (2 * 300))


def test_varying_noise_has_one_std_per_batch_from_a_half_normal_distribution():
    """Sequences and channels share it."""
    found = stds_by_key(add_varying_noise(0.4), 2)
    assert_equal_stds(found[:, 0], found[:, 1])
    assert_equal_stds(found[:, :, 0], found[:, :, 1])
    assert stats.kstest(found.mean(axis=(1, 2)) / 0.4, "halfnorm").pvalue > 1e-4


def test_varying_noise_with_a_scale_per_channel_draws_a_std_for_each():
    """Sequences share them, channels do not."""
    found = stds_by_key(add_varying_noise([0.4, 7.0]), 2)
    assert_equal_stds(found[:, 0], found[:, 1])
    each = found.mean(axis=1) / [0.4, 7.0]
    for channel in range(2):
        assert stats.kstest(each[:, channel], "halfnorm").pvalue > 1e-4
    assert abs(stats.spearmanr(*each.T).statistic) < Z / math.sqrt(len(each) - 1)


@pytest.mark.parametrize("std_std", [[0.4, 7.0], 0.4])
def test_grouped_noise_has_one_std_per_group(std_std):
    """Its channels share it, and it is drawn apart from that of other groups."""
    scales = np.broadcast_to(std_std, 2)
    found = stds_by_key(add_grouped_noise(std_std, [1, 0, 0]), 3)
    assert_equal_stds(found[:, 0], found[:, 1])
    assert_equal_stds(found[..., 1], found[..., 2])
    each = found.mean(axis=1)[:, [1, 0]] / scales
    for group in range(2):
        assert stats.kstest(each[:, group], "halfnorm").pvalue > 1e-4
    assert abs(stats.spearmanr(*each.T).statistic) < Z / math.sqrt(len(each) - 1)


@pytest.mark.parametrize("name", FACTORIES)
def test_only_the_inputs_change(name):
    """Everything else is the same array, and the input batch stays as it is."""
    batch = sample_batch(sample_signals(2, 3, n_u_scalar=1, n_y_scalar=1))
    before = {key: np.array(value) for key, value in batch.items()}
    changed = FACTORIES[name]()(batch, key=jax.random.key(3))
    assert list(changed) == list(batch)
    assert all(changed[key] is batch[key] for key in batch if key != "u")
    assert not np.array_equal(changed["u"], batch["u"])
    for key, value in before.items():
        np.testing.assert_array_equal(batch[key], value)


@pytest.mark.parametrize("name", FACTORIES)
def test_the_key_decides(name):
    """Equal keys give equal bits, other keys other noise; the library holds no key of its own."""
    batch, keys = zeros(2, 5, 2), jax.random.split(jax.random.key(1), 3)
    first, again = (
        [np.asarray(transform(batch, key=key)["u"]) for key in keys]
        for transform in (FACTORIES[name](), FACTORIES[name]())
    )
    np.testing.assert_array_equal(first, again)
    assert len({x.tobytes() for x in first}) == 3


@pytest.mark.parametrize("name", FACTORIES)
def test_p_is_the_share_of_batches_that_change_as_a_whole(name):
    """Within `Z` standard errors of the binomial distribution; a batch changes in all sequences."""
    p, n = 0.3, 300
    transform, batch = FACTORIES[name](p), zeros(3, 2, 2)
    whole = np.array([drawn(transform, batch, key) != 0.0 for key in range(n)]).reshape(n, -1)
    assert (whole.all(axis=1) == whole.any(axis=1)).all()
    assert abs(whole.any(axis=1).mean() - p) < Z * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("name", FACTORIES)
def test_the_dtype_of_the_inputs_is_kept(name):
    """Float32 from NumPy too, and float64 with its digits where jax has it."""
    transform = FACTORIES[name]()
    host = {"u": np.zeros((2, 3, 2), np.float32), "y": np.zeros((2, 3, 1), np.float32)}
    assert transform(host, key=jax.random.key(0))["u"].dtype == np.float32
    with jax.enable_x64(True):
        u = transform(zeros(2, 3, 2), key=jax.random.key(0))["u"]
    assert u.dtype == np.float64
    assert (np.asarray(u) != np.asarray(u, np.float32)).all()


def test_std_0_changes_nothing():
    """A sweep over the noise may begin without any."""
    assert not drawn(add_noise(0.0), zeros(2, 3, 2)).any()
    assert not drawn(add_noise(np.zeros(2)), zeros(2, 3, 2)).any()


@pytest.mark.parametrize(
    "make,key,told",
    [
        (lambda: add_noise(-0.1), "std", "add_noise got std = -0.1; give finite numbers, 0 or"),
        (lambda: add_noise([0.1, math.nan]), "std", "std = [0.1, nan]; give finite numbers, 0 or"),
        (lambda: add_noise(mean=math.inf), "mean", "got mean = inf; give finite numbers."),
        (lambda: add_noise("much"), "std", "std = 'much'; give a number, or a list with one per"),
        (lambda: add_noise([[1, 2], [3]]), "std", "std = [[1, 2], [3]]; give a number, or a list"),
        (lambda: add_noise([[1.0]]), "std", "std = [[1.0]]; give a number, or a list"),
        (lambda: add_noise([]), "std", "std = []; give a number, or a list"),
        (lambda: add_noise(True), "std", "std = True; give a number, or a list"),
        (lambda: add_noise(p=1.5), "p", "add_noise got p = 1.5; give a probability from 0 to 1"),
        (lambda: add_noise(p=math.nan), "p", "got p = nan; give a probability from 0 to 1"),
        (lambda: add_noise(p="often"), "p", "got p = 'often'; give a probability from 0 to 1"),
        (lambda: add_bias(-1), "std", "add_bias got std = -1; give finite numbers, 0 or more"),
        (lambda: add_bias(mean=[math.nan]), "mean", "add_bias got mean = [nan]; give finite"),
        (lambda: add_bias(p=-0.1), "p", "add_bias got p = -0.1; give a probability"),
        (lambda: add_varying_noise(-1.0), "std_std", "add_varying_noise got std_std = -1.0; give"),
        (lambda: add_grouped_noise(-1.0, [0]), "std_std", "grouped_noise got std_std = -1.0; give"),
        (lambda: add_grouped_noise(1.0, [0, 2]), "groups", "groups = [0, 2]; give the group of"),
        (lambda: add_grouped_noise(1.0, [1]), "groups", "from 0 without a gap, such as [0, 0, 0,"),
        (lambda: add_grouped_noise(1.0, [-1, 0]), "groups", "groups = [-1, 0]; give the group of"),
        (lambda: add_grouped_noise(1.0, [0.0]), "groups", "groups = [0.0]; give the group of each"),
        (lambda: add_grouped_noise(1.0, []), "groups", "groups = []; give the group of each"),
        (lambda: add_grouped_noise(1.0, 0), "groups", "groups = 0; give the group of each"),
        (
            lambda: add_grouped_noise([1.0, 2.0, 3.0], [0, 1, 1]),
            "std_std",
            "add_grouped_noise got 3 values of std_std for 2 groups; give one number for all",
        ),
    ],
)
def test_wrong_options_are_told_at_once(make, key, told):
    """With the value, before any data are seen."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert told in str(caught.value)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "transform,key,told",
    [
        (
            add_noise([0.1, 0.25]),
            "std",
            "add_noise got 2 values of std (0.1, 0.25), and u has 3 ch",
        ),
        (add_noise(mean=[0.0]), "mean", "add_noise got 1 values of mean (0), and u has 3 channels"),
        (add_bias([0.1] * 4), "std", "add_bias got 4 values of std"),
        (add_bias(mean=[0.1] * 4, p=0.5), "mean", "add_bias got 4 values of mean"),
        (add_varying_noise([0.1] * 4), "std_std", "add_varying_noise got 4 values of std_std"),
        (
            add_grouped_noise(0.1, [0, 1]),
            "groups",
            "add_grouped_noise got the groups of 2 channels, and u has 3 channels; give the group",
        ),
    ],
)
def test_wrong_numbers_of_values_are_told_when_a_step_is_traced(transform, key, told):
    """With both numbers; nothing is broadcast in silence."""
    with pytest.raises(ConfigError) as caught:
        jax.eval_shape(lambda b: transform(b, key=jax.random.key(0)), zeros(2, 5, 3))
    print(caught.value)
    assert told in str(caught.value)
    assert caught.value.key == key


def test_a_batch_without_inputs_is_told():
    """As of a model that reads scalars alone."""
    with pytest.raises(ConfigError) as caught:
        add_noise()({"u_scalar": np.zeros((2, 1)), "y": np.zeros((2, 3, 1))}, key=jax.random.key(0))
    print(caught.value)
    assert "add_noise changes the inputs u, and the batch has only u_scalar, y" in str(caught.value)
