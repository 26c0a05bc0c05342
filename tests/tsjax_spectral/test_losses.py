"""Frequency-domain losses against what is known of spectra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tsjax_spectral as ts
from tsjax_core.errors import ConfigError

MEAN, STD = np.array([1.0, -5.0]), np.array([2.0, 0.1])


def measured(seed, *shape):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) * STD + MEAN


@pytest.mark.parametrize("window", ["hann", "hamming", "rectangular"])
def test_an_error_of_white_noise_has_its_variance(window):
    """In units of the training standard deviation, whatever the window and the frame."""
    target = measured(0, 4, 4000)
    pred = target + 0.3 * STD * np.random.default_rng(1).standard_normal(target.shape)
    for n_fft in (16, 65):
        value = ts.spectral_complex(n_fft, window=window)(pred, target, MEAN, STD)
        np.testing.assert_allclose(value, 0.09, rtol=0.05)


def test_the_magnitude_does_not_see_a_delay_that_the_complex_loss_sees():
    """A tone that is shifted by a quarter of its period."""
    n = np.arange(640)[None, :, None]
    target, pred = (np.sin(2 * np.pi * n / 16 + phase) * np.ones(2) for phase in (0.0, 0.5 * np.pi))
    one = np.ones(2)
    assert ts.spectral_magnitude(64)(pred, target, 0 * one, one) < 1e-9
    assert ts.spectral_complex(64)(pred, target, 0 * one, one) > 0.5
    assert ts.spectral_magnitude(64, log=True)(pred, target, 0 * one, one) < 1e-3
    both = target + 0.01 * np.sin(2 * np.pi * n / 4)
    assert ts.spectral_magnitude(64)(target, both, 0 * one, one) < 1e-4
    assert ts.spectral_magnitude(64, log=True)(target, both, 0 * one, one) > 0.1


@pytest.mark.parametrize("make", [ts.spectral_magnitude, ts.spectral_complex])
def test_frames_with_a_gap_do_not_count(make):
    """Each channel by itself; what else stands in such a frame has no gradient."""
    pred, target = measured(2, 2, 40), measured(3, 2, 40)
    gaps = target.copy()
    gaps[:, 21, 0] = np.nan
    loss = make(8, 8)
    first, second = (
        [loss(p[..., [c]], t[..., [c]], MEAN[[c]], STD[[c]]) for c in range(2)]
        for p, t in ((pred, gaps), (pred, target))
    )
    keep = np.r_[0:16, 24:40]
    np.testing.assert_allclose(
        first[0], loss(pred[:, keep, :1], target[:, keep, :1], MEAN[:1], STD[:1]), rtol=1e-9
    )
    assert first[1] == second[1]
    run = jax.jit(jax.value_and_grad(lambda p, t: loss(p, t, MEAN, STD)))
    value, gradient = run(jnp.asarray(pred), jnp.asarray(gaps))
    np.testing.assert_allclose(value, loss(pred, gaps, MEAN, STD), rtol=1e-4)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[:, 16:24, 0].any()
    assert np.abs(np.asarray(gradient)[:, 16:24, 1]).min() >= 0.0
    value, gradient = run(jnp.asarray(pred), jnp.full(pred.shape, jnp.nan))
    assert value == 0.0
    assert not np.asarray(gradient).any()
    assert np.isnan(loss(pred, np.full_like(pred, np.nan), MEAN, STD))


def test_records_that_are_too_short_and_wrong_options_are_told():
    """With both numbers."""
    short = measured(0, 1, 20)
    with pytest.raises(ConfigError) as caught:
        ts.spectral_complex(64)(short, short, MEAN, STD)
    print(caught.value)
    assert "a signal of 20 samples is too short for n_fft = 64" in str(caught.value)
    for options in ({"n_fft": 1}, {"hop_length": 0}, {"window": "no"}):
        with pytest.raises(ConfigError) as caught:
            ts.spectral_magnitude(**options)
        print(caught.value)
