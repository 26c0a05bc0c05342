"""Losses that know nothing of missing samples, computed on the others alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core import ignore_nan, mse, normalized_mse, nrmse


def geometric(pred, target, y_mean, y_std):
    """A mean over samples of both channels together."""
    xp = np if isinstance(pred, np.ndarray) else jnp
    return xp.mean(xp.sqrt(xp.sum(((pred - target) / y_std) ** 2, -1)))


def worst(pred, target, y_mean=None, y_std=None):
    """A metric that is no mean."""
    return np.max(np.abs(pred - target))


def rows(example):
    seen = ~np.isnan(example.target).any(-1)
    return (example.pred[seen][None], example.target[seen][None], *example[2:])


def test_it_is_the_loss_of_the_measured_samples(gappy):
    """Of those all of whose channels were measured, chosen by NumPy's indexing."""
    for loss in (geometric, normalized_mse):
        expected = float(loss(*rows(gappy)))
        np.testing.assert_allclose(ignore_nan(loss)(*gappy), expected, rtol=1e-12)
        on_device = jax.jit(ignore_nan(loss))(*map(jnp.asarray, gappy))
        np.testing.assert_allclose(on_device, expected, rtol=1e-6)


def test_a_metric_in_host_memory_may_be_anything(gappy):
    """A maximum, or a figure relative to the spread of all measured samples."""
    for metric in (worst, nrmse):
        assert float(ignore_nan(metric)(*gappy)) == float(metric(*rows(gappy)))
    nothing = np.full_like(gappy.target, np.nan)
    assert np.isnan(ignore_nan(worst)(gappy.pred, nothing))


def test_without_gaps_nothing_changes(whole):
    """And a loss that ignores NaN already does so."""
    assert float(ignore_nan(worst)(*whole)) == float(worst(*whole))
    twice = ignore_nan(ignore_nan(geometric))
    assert float(twice(*whole)) == float(ignore_nan(geometric)(*whole))


def test_scalar_targets_may_be_missing():
    """A file without a measurement does not count."""
    pred, target = np.float32([[1.0], [2.0]]), np.float32([[np.nan], [0.0]])
    assert float(ignore_nan(mse)(pred, target)) == 4.0
    assert float(ignore_nan(mse)(jnp.asarray(pred), jnp.asarray(target))) == 4.0
