"""Tests of residuals against direct sums, white noise, and systems with known faults."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from tsjax_core.errors import ConfigError, DataError
from tsjax_core.judging.residuals import check_residuals, describe_tests


def test_correlations_are_the_sums_written_out():
    """Of two records of unequal length with a gap, two inputs and two outputs."""
    rng = np.random.default_rng(0)
    us = [rng.standard_normal((n, 2)) for n in (70, 41)]
    es = [rng.standard_normal((n, 2)) for n in (70, 41)]
    es[0][20:23, 1] = np.nan
    found = check_residuals(us, es, lags=5)
    mean_u, mean_e = np.concatenate(us).mean(0), np.nanmean(np.concatenate(es), 0)

    def mean_product(first, second, lag):
        products = [
            a[t] * b[t + lag]
            for a, b in zip(first, second, strict=True)
            for t in range(len(a))
            if 0 <= t + lag < len(b) and np.isfinite(a[t] * b[t + lag])
        ]
        return np.mean(products)

    for i in range(2):
        e = [each[:, i] - mean_e[i] for each in es]
        for lag in range(1, 6):
            expected = mean_product(e, e, lag) / mean_product(e, e, 0)
            assert found.whiteness[i].values[lag - 1] == pytest.approx(expected, abs=1e-12)
        for k in range(2):
            u = [each[:, k] - mean_u[k] for each in us]
            scale = np.sqrt(mean_product(e, e, 0) * mean_product(u, u, 0))
            for place, lag in enumerate(range(-5, 6)):
                expected = mean_product(u, e, lag) / scale
                got = found.independence[i][k].values[place]
                assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("colour", [0.0, 0.8])
def test_the_bands_hold_what_they_say(colour):
    """Of 200 records of independent noises, 1 % of the lags lie outside of 99 %.

    A cross-correlation of two coloured signals scatters more than one of white ones.
    """
    outside, own, failed = [], [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        u, e = signal.lfilter([1.0], [1.0, -colour], rng.standard_normal((2, 1000)))
        found = check_residuals([u[:, None]], [e[:, None]])
        outside.append(found.independence[0][0].outside)
        own.append(found.whiteness[0].outside)
        failed += not found.independence[0][0].passed
    assert np.mean(outside) == pytest.approx(0.01, abs=0.005)
    if not colour:
        assert np.mean(own) == pytest.approx(0.01, abs=0.005)
        assert failed <= 8
    else:
        assert np.mean(own) > 0.1


def test_missing_dynamics_are_found_with_their_frequency():
    """A model that lacks a resonance at 3 Hz leaves it in the residuals, at later lags."""
    rng = np.random.default_rng(0)
    dt = 0.02
    u = rng.standard_normal((5000, 2))
    pole = 0.97 * np.exp(2j * np.pi * 3.0 * dt)
    left = signal.lfilter([0.05], np.poly([pole, pole.conj()]).real, u[:, 0])
    noise = 0.3 * rng.standard_normal((5000, 2))
    e = noise + np.c_[left, np.zeros(5000)]
    found = check_residuals([u], [e])
    assert [[t.passed for t in row] for row in found.independence] == [[False, True], [True, True]]
    assert found.strongest[0, 0] / dt == pytest.approx(3.0, abs=0.5)
    (sentence,) = describe_tests(found, ["force", "load"], ["x", "v"], dt)
    assert sentence.startswith("The residuals of x still contain the input force (correlation ")
    assert "the model misses dynamics around" in sentence
    assert sentence.endswith("Hz.")
    assert "per sample" in describe_tests(found, ["force", "load"], ["x", "v"], None)[0]


def test_a_closed_loop_is_not_missing_dynamics():
    """Where the input follows the residual, they correlate at negative lags."""
    rng = np.random.default_rng(0)
    e = rng.standard_normal(4000)
    u = np.concatenate([np.zeros(3), -0.8 * e[:-3]]) + rng.standard_normal(4000)
    found = check_residuals([u[:, None]], [e[:, None]])
    (sentence,) = describe_tests(found, ["u"], ["y"], 0.1)
    assert "as in a closed loop" in sentence


def test_coloured_noise_leaves_a_model_valid_for_simulation():
    """And nothing at all has a sentence too."""
    rng = np.random.default_rng(1)
    u, w = rng.standard_normal((2, 3000))
    e = signal.lfilter([1.0], [1.0, -0.9], w)
    (sentence,) = describe_tests(check_residuals([u[:, None]], [e[:, None]]), ["u"], ["y"], None)
    assert "not white, but independent of the inputs" in sentence
    (sentence,) = describe_tests(check_residuals([u[:, None]], [w[:, None]]), ["u"], ["y"], None)
    assert sentence == "The residuals are white and contain nothing of the inputs."


def test_what_does_not_fit_is_refused():
    """Numbers of records, shapes, records that are too short, and options."""
    u = np.zeros((50, 1))
    for inputs, residuals, part in (
        ([u], [], "1 records of inputs and 0 of residuals"),
        ([u], [u[:40]], r"inputs of shape \(50, 1\) and residuals of shape \(40, 1\)"),
        ([u[:2]], [u[:2]], "the longest record has 2 samples"),
    ):
        with pytest.raises(DataError, match=part) as caught:
            check_residuals(inputs, residuals)
        print(caught.value)
    with pytest.raises(DataError, match="too few for correlations over 25 lags"):
        check_residuals([u], [u], lags=25)
    with pytest.raises(ConfigError, match="lags = 0"):
        check_residuals([u], [u], lags=0)
