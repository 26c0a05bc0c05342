"""The period of an input, and the best linear approximation of a record by name."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

import tsjax_spectral as ts
from tsjax_core import NormStats, Signals
from tsjax_core.signatures import declare

SIGNALS = Signals(
    ("u",), ("p", "q"), {"u": NormStats([0], [1]), "y": NormStats([0, 0], [1, 1])}, 0.01
)


def multisine(period, periods, seed=0):
    rng = np.random.default_rng(seed)
    spectrum = np.zeros(period // 2 + 1, complex)
    lines = np.arange(1, period // 3)
    spectrum[lines] = np.exp(2j * np.pi * rng.uniform(size=len(lines)))
    return np.tile(np.fft.irfft(spectrum, period), periods)


@pytest.mark.parametrize("period", [16, 100, 333, 1024])
@pytest.mark.parametrize("rest", [0, 7])
def test_the_period_is_that_of_the_input(period, rest):
    """Also with a part of a period at the end, with several inputs, and with little noise."""
    u = multisine(period, 4)[: 4 * period - rest]
    assert ts.find_period(u) == period
    both = np.stack([u, np.roll(u, 3) ** 2], 1)
    assert ts.find_period(both) == period
    noisy = u + 1e-3 * u.std() * np.random.default_rng(0).standard_normal(len(u))
    assert ts.find_period(noisy) == period


def test_what_does_not_repeat_has_no_period():
    """Noise, one period, a constant, and records with gaps."""
    rng = np.random.default_rng(0)
    assert ts.find_period(rng.standard_normal(2000)) is None
    assert ts.find_period(multisine(500, 1)) is None
    assert ts.find_period(np.ones(100)) is None
    gap = multisine(100, 4)
    gap[5] = np.nan
    assert ts.find_period(gap) is None


def test_the_approximation_is_drawn_where_the_input_repeats():
    """At the excited lines, of a linear system exactly; else a sentence says why not."""
    pytest.importorskip("matplotlib")
    u = multisine(200, 6)
    y = np.stack([lfilter([0.2], [1, -0.8], u), lfilter([0.0, 0.5], [1, -0.5], u)], 1)
    plot = declare("plot", ts.plot_best_linear_approximation)
    given = {"batch": {"u": u[:, None]}, "signals": SIGNALS, "start": 0, "title": "test"}
    figure = plot(0.5 * y, y, given=given)
    gain = figure.axes[0]
    measured, simulated = gain.lines[:2]
    frequency = measured.get_xdata()
    expected = 0.2 / (1.0 - 0.8 * np.exp(-2j * np.pi * frequency * 0.01))
    np.testing.assert_allclose(measured.get_ydata(), 20 * np.log10(np.abs(expected)), atol=1e-3)
    np.testing.assert_allclose(simulated.get_ydata() - measured.get_ydata(), -6.0206, atol=1e-3)
    assert "6 periods of 200 samples" in figure.get_suptitle()
    rng = np.random.default_rng(0)
    for change, reason in (
        ({"batch": {"u": rng.standard_normal((1200, 1))}}, "the input does not repeat"),
        ({"batch": {"u": np.stack([u, u], 1)}}, "there are 2 inputs"),
    ):
        text = plot(y, y, given={**given, **change}).texts[0].get_text()
        assert f"No best linear approximation: {reason}" in text
    gap = y.copy()
    gap[3] = np.nan
    assert "samples are missing" in plot(y, gap, given=given).texts[0].get_text()
