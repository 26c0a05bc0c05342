"""Frequency responses of simulated systems with known noise and nonlinearity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from scipy.stats import f as f_distribution

import tsjax_spectral as ts
from tsjax_core.errors import ConfigError, DataError
from tsjax_spectral.response import _quantile

PERIOD, LINES = 128, np.arange(1, 41)


def multisine(rng, *shape):
    spectrum = np.zeros((*shape, PERIOD // 2 + 1), complex)
    spectrum[..., LINES] = np.exp(2j * np.pi * rng.random((*shape, len(LINES))))
    return np.fft.irfft(spectrum, PERIOD) * PERIOD / np.sqrt(2 * len(LINES))


def exact(sos_or_ba, k):
    return scipy.signal.freqz(*sos_or_ba, worN=2 * np.pi * k / PERIOD)[1]


SYSTEM = scipy.signal.butter(2, 0.4)


def steady(x, system=SYSTEM):
    """Filter periodic signals (..., time) without transients."""
    response = exact(system, np.arange(PERIOD // 2 + 1))
    return np.fft.irfft(np.fft.rfft(x) * response, PERIOD)


def test_a_linear_system_is_found_exactly_after_its_transient():
    """Filtered sample by sample, with the periods of the transient left out."""
    u = np.tile(multisine(np.random.default_rng(0)), 5)
    y = scipy.signal.lfilter(*SYSTEM, u)
    found = ts.estimate_response(u, y, period=PERIOD, dt=0.01, n_transient=2)
    np.testing.assert_allclose(found.frequency, LINES / (PERIOD * 0.01))
    np.testing.assert_allclose(found.response[:, 0, 0], exact(SYSTEM, LINES), atol=1e-9)
    assert found.radius.shape == (40, 1, 1)
    assert np.nanmax(found.noise_std) < 1e-9
    assert np.isnan(found.std).all()


def test_the_circles_hold_the_response_as_often_as_they_say():
    """Over 150 experiments with noise: 90 % within two standard deviations of counting."""
    rng = np.random.default_rng(1)
    truth, inside = exact(SYSTEM, LINES), []
    for _ in range(150):
        u = multisine(rng, 4)
        y = np.repeat(steady(u)[:, None], 2, 1) + 0.2 * rng.standard_normal((4, 2, PERIOD))
        found = ts.estimate_response(
            np.tile(u, 2)[..., None], y.reshape(4, -1)[..., None], period=PERIOD, confidence=0.9
        )
        inside.append(np.abs(found.response[:, 0, 0] - truth) < found.radius[:, 0, 0])
    assert abs(np.mean(inside) - 0.9) < 0.015


def test_noise_and_distortion_are_told_apart():
    """A cubic system: without noise no noise is found, with it as much as there is."""
    rng = np.random.default_rng(2)
    u = multisine(rng, 200)
    # The best linear approximation of x^3 after a Gaussian input of variance 1 has the gain 3.
    y = steady(u) + 0.05 * u**3
    clean = ts.estimate_response(np.tile(u, 2)[..., None], np.tile(y, 2)[..., None], period=PERIOD)
    assert clean.noise_std.max() < 1e-9
    assert clean.distortion_std.mean() > 0.02
    expected = exact(SYSTEM, LINES) + 0.15
    assert np.mean(np.abs(clean.response[:, 0, 0] - expected) < clean.radius[:, 0, 0]) > 0.8
    noisy = np.tile(steady(u), 3) + 0.1 * rng.standard_normal((200, 3 * PERIOD))
    found = ts.estimate_response(np.tile(u, 3)[..., None], noisy[..., None], period=PERIOD)
    amplitude = np.abs(np.fft.rfft(u))[:, LINES].mean()
    per_line = 0.1 * np.sqrt(PERIOD) / amplitude
    np.testing.assert_allclose(found.noise_std, per_line / np.sqrt(600), rtol=0.15)
    assert found.distortion_std.mean() < 0.5 * per_line


def test_several_inputs_and_outputs():
    """Two orthogonal experiments for each realisation separate the inputs."""
    rng = np.random.default_rng(3)
    systems = [
        [scipy.signal.butter(1, w) for w in row] for row in ((0.2, 0.5), (0.7, 0.3), (0.4, 0.6))
    ]
    u = np.swapaxes(multisine(rng, 3, 2, 2), -1, -2)
    y = np.stack([sum(steady(u[..., k], s) for k, s in enumerate(row)) for row in systems], axis=-1)
    found = ts.estimate_response(np.tile(u, (1, 1, 2, 1)), np.tile(y, (1, 1, 2, 1)), period=PERIOD)
    assert found.response.shape == (40, 3, 2)
    for i, row in enumerate(systems):
        for k, system in enumerate(row):
            np.testing.assert_allclose(found.response[:, i, k], exact(system, LINES), atol=1e-8)


def test_the_quantile_is_that_of_the_f_distribution():
    """With 2 and twice as many degrees of freedom, in closed form."""
    for p in (0.5, 0.95, 0.999):
        for freedom in (1, 3, 20):
            np.testing.assert_allclose(_quantile(p, freedom), f_distribution.ppf(p, 2, 2 * freedom))
    assert np.isnan(_quantile(0.9, 0))


@pytest.mark.parametrize(
    "error,arguments,options,text",
    [
        (DataError, (np.ones(100), np.ones(100)), {"period": 64}, "no whole number of periods"),
        (DataError, (np.ones(64), np.ones(32)), {"period": 32}, "give the same realisations"),
        (DataError, (np.ones((64, 2)), np.ones(64)), {"period": 32}, "as many experiments as"),
        (DataError, (np.full(64, np.nan), np.ones(64)), {"period": 32}, "holds NaN"),
        (DataError, (np.zeros(64), np.ones(64)), {"period": 32}, "no excited line"),
        (DataError, (np.ones(64), np.ones(64)), {"period": 32, "lines": [3]}, "not independent"),
        (DataError, (np.ones(64), np.ones(64)), {"period": 32, "lines": [17]}, "no excited line"),
        (ConfigError, (np.ones(64), np.ones(64)), {"period": 32, "confidence": 1.0}, "confidence"),
        (ConfigError, (np.ones(64), np.ones(64)), {"period": 32, "dt": 0.0}, "dt = 0.0"),
    ],
)
def test_measurements_that_do_not_fit_are_told(error, arguments, options, text):
    """With shapes, and what to give."""
    with pytest.raises(error) as caught:
        ts.estimate_response(*arguments, **options)
    print(caught.value)
    assert text in str(caught.value)
