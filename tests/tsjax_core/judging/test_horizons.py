"""Errors by horizon and conformal bands, spectra, and the spread of several models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from tsjax_core import create_grain_dls, fit_population, make_learner, predict
from tsjax_core.errors import ConfigError, DataError
from tsjax_core.judging.horizons import Bands, calibrate_bands, collect_errors
from tsjax_core.judging.spectra import estimate_spectra
from tsjax_core.judging.spread import measure_spread


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_a_band_holds_its_share_of_further_errors(confidence):
    """Of any distribution, for each horizon and output; within what chance allows."""
    rng = np.random.default_rng(0)
    scale = np.linspace(0.1, 3.0, 12)[:, None] * [1.0, 20.0]
    draw = rng.standard_t(3, (500, 12, 2)) * scale
    bands = calibrate_bands(draw, confidence=confidence)
    covered = bands.coverage(rng.standard_t(3, (4000, 12, 2)) * scale)
    low, high = binom.ppf([1e-4, 1 - 1e-4], 500, confidence) / 500
    assert ((covered > low - 0.03) & (covered < high + 0.03)).all()
    assert covered.mean() == pytest.approx(confidence, abs=0.02)


def test_the_band_is_the_order_statistic():
    """The ceil((n + 1) c)-th smallest magnitude; NaN were not measured."""
    errors = np.arange(1.0, 20.0)[:, None, None] * -1.0
    assert calibrate_bands(errors, confidence=0.9).half.item() == 18.0
    gaps = np.concatenate([errors, np.full((5, 1, 1), np.nan)])
    assert calibrate_bands(gaps, confidence=0.9).half.item() == 18.0
    assert np.isnan(Bands(np.ones((1, 1)), 0.9, 1).coverage(np.full((3, 1, 1), np.nan))).all()


def test_too_few_starts_are_refused():
    """With how many are needed."""
    with pytest.raises(DataError, match="a band of 90 % needs 9") as caught:
        calibrate_bands(np.ones((8, 3, 1)))
    print(caught.value)
    assert calibrate_bands(np.ones((9, 3, 1))).starts == 9
    with pytest.raises(ConfigError, match="confidence"):
        calibrate_bands(np.ones((9, 3, 1)), confidence=1.0)


def test_errors_are_those_of_simulations_from_each_start(oscillator):
    """With the state that the policy estimates from the samples before."""
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=60, stp_sz=20)
    learner = make_learner(
        data, "core/linear", order=2, initial_state="window", init_samples=15, n_skip=15
    )
    errors = collect_errors(learner, "test", horizon=40, starts=7)
    sample = data.records("test")[0]
    end = 15 + 40
    y = predict(
        learner.model,
        sample["u"][:end],
        initial_state="window",
        init_samples=15,
        y=sample["y"][:end],
    )
    np.testing.assert_allclose(
        errors[0, :, 0], sample["y"][15:end, 0] - y[15:].reshape(-1), atol=1e-5
    )
    assert errors.shape[1:] == (40, 1)
    assert len(errors) >= 7
    with pytest.raises(DataError, match="give a shorter horizon") as caught:
        collect_errors(learner, "test", horizon=10**6)
    print(caught.value)


def test_a_spectrum_has_the_power_of_the_signal():
    """Its integral is the variance, and a tone stands at its frequency."""
    rng = np.random.default_rng(0)
    time = np.arange(6000) * 0.01
    tone = np.sin(2 * np.pi * 12.5 * time)
    records = [np.stack([rng.standard_normal(6000), tone], 1), rng.standard_normal((2000, 2))]
    frequencies, density = estimate_spectra(records[:1], 0.01)
    power = density.sum(0) * (frequencies[1] - frequencies[0])
    np.testing.assert_allclose(power, [1.0, 0.5], rtol=0.1)
    assert frequencies[np.argmax(density[:, 1])] == pytest.approx(12.5, abs=0.2)
    both, _ = estimate_spectra(records)
    assert both[-1] == 0.5


def test_the_spread_of_a_population(oscillator):
    """Is that of its members' simulations."""
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=60, stp_sz=60)
    learners = [make_learner(data, "core/rnn", hidden_size=3, seed=seed) for seed in (0, 1, 2)]
    u = data.records("test")[0]["u"][:50]
    models = [learner.model for learner in learners]
    spread = measure_spread(models, u)
    each = np.stack([predict(model, u) for model in models])
    np.testing.assert_allclose(spread.mean, each.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(spread.std, each.std(0), rtol=1e-4, atol=1e-7)
    assert (spread.low <= spread.mean).all()
    with pytest.raises(ConfigError, match="needs two or more") as caught:
        measure_spread(models[:1], u)
    print(caught.value)
    assert fit_population is not None
