"""Averaged frequency responses against SciPy, a known system, and their own scatter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

import tsjax_spectral as ts
from tsjax_core.errors import DataError

DT = 0.01
A, B = np.array([1.0, -1.5, 0.7]), np.array([0.2, 0.1, 0.0])


def simulate(seed: int, n: int, noise: float = 0.0):
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(n)
    return u, signal.lfilter(B, A, u) + noise * rng.standard_normal(n)


def test_one_input_and_output_is_what_scipy_gives():
    """Cross spectrum over the spectrum of the input, and the coherence, at every line."""
    u, y = simulate(0, 4096, noise=0.3)
    found = ts.average_response(u, y, dt=DT, n_fft=256)
    options = {"fs": 1 / DT, "window": "hann", "nperseg": 256, "detrend": "constant"}
    frequency, cross = signal.csd(u, y, **options)
    _, power = signal.welch(u, **options)
    _, coherence = signal.coherence(u, y, **options)
    np.testing.assert_allclose(found.frequency, frequency[1:])
    np.testing.assert_allclose(found.response[:, 0, 0], (cross / power)[1:], rtol=1e-9)
    np.testing.assert_allclose(found.coherence[:, 0], coherence[1:], rtol=1e-9)


def test_two_inputs_and_outputs_are_told_apart():
    """Inputs that are correlated act on each output by their own system."""
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((2, 60_000))
    u = np.stack([common, 0.6 * common + own], axis=1)
    y = np.stack(
        [signal.lfilter(B, A, u[:, 0]) - 0.5 * u[:, 1], signal.lfilter([1.0, 0.5], [1.0], u[:, 1])],
        axis=1,
    )
    found = ts.average_response(u, y, dt=DT, n_fft=512)
    _, first = signal.freqz(B, A, worN=2 * np.pi * found.frequency * DT)
    _, second = signal.freqz([1.0, 0.5], [1.0], worN=2 * np.pi * found.frequency * DT)
    np.testing.assert_allclose(found.response[:, 0, 0], first, atol=0.06)
    np.testing.assert_allclose(found.response[:, 0, 1], -0.5, atol=0.06)
    np.testing.assert_allclose(found.response[:, 1, 1], second, atol=0.06)
    assert found.coherence.min() > 0.98


def test_the_standard_deviation_is_that_of_repeated_experiments():
    """Over 200 records, in the mean of the lines at which the response is well above it."""
    gains, stds = [], []
    for seed in range(200):
        found = ts.average_response(*simulate(seed, 2048, noise=0.5), dt=DT, n_fft=64)
        gains.append(np.abs(found.response[:, 0, 0]))
        stds.append(found.std[:, 0, 0])
    spread, claimed = np.std(gains, axis=0), np.sqrt(np.mean(np.square(stds), axis=0))
    # Elsewhere a magnitude, which is never below 0, scatters less than its two parts.
    clear = np.mean(gains, axis=0) > 4.0 * claimed
    assert clear.sum() > 10
    assert np.mean(claimed[clear] / spread[clear]) == pytest.approx(1.0, abs=0.1)


def test_gaps_are_left_out_and_short_records_refused():
    """A segment with a missing sample counts nowhere; what remains is as without it."""
    u, y = simulate(0, 1024)
    y[500] = np.nan
    found = ts.average_response(u, y, n_fft=64)
    assert np.isfinite(found.response).all()
    for length, part in ((16, "3 segments of 8 samples"), (7, "0 segments of 8 samples")):
        with pytest.raises(DataError, match=part) as caught:
            ts.average_response(u[:length], y[:length])
        print(caught.value)
    with pytest.raises(DataError, match="u has 10 samples and y 9") as caught:
        ts.average_response(u[:10], y[:9])
    print(caught.value)


def test_the_figure_shows_measured_and_simulated(tmp_path):
    """A column for each pair, magnitude, phase and coherence; short records have a sentence."""
    pytest.importorskip("matplotlib")
    from tsjax_core import NormStats, Signals

    signals = Signals(("a", "b"), ("p",), {"u": NormStats([0, 0], [1, 1])}, DT)
    rng = np.random.default_rng(0)
    u = rng.standard_normal((3000, 2))
    y = signal.lfilter(B, A, u[:, :1], axis=0) + u[:, 1:]
    figure = ts.plot_frequency_response(0.9 * y, y, batch={"u": u}, signals=signals, title="test")
    figure.savefig(tmp_path / "figure.png")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["a to p", "b to p"]
    assert figure.axes[4].get_xlabel() == "frequency in Hz"
    measured, simulated = figure.axes[1].get_lines()
    np.testing.assert_allclose(
        simulated.get_ydata() - measured.get_ydata(), 20 * np.log10(0.9), atol=1e-6
    )
    short = ts.plot_frequency_response(y[:9], y[:9], batch={"u": u[:9]}, signals=signals)
    short.savefig(tmp_path / "short.png")
    assert "No frequency response" in short.texts[0].get_text()


def test_lines_that_the_record_does_not_show_are_not_drawn():
    """An input that ends at a tenth of the highest frequency says nothing about what is above."""
    pytest.importorskip("matplotlib")
    from tsjax_core import NormStats, Signals

    signals = Signals(("a",), ("p",), {"u": NormStats([0], [1]), "y": NormStats([0], [1])}, 1.0)
    rng = np.random.default_rng(0)
    u = signal.sosfiltfilt(signal.butter(8, 0.1, output="sos"), rng.standard_normal(6000))
    y = signal.lfilter([0.3], [1.0, -0.7], u) + 1e-3 * rng.standard_normal(6000)
    figure = ts.plot_frequency_response(
        y[:, None], y[:, None], batch={"u": u[:, None]}, signals=signals
    )
    gain, phase = figure.axes[:2]
    line = gain.get_lines()[0]
    frequency, drawn = line.get_xdata(), np.isfinite(line.get_ydata())
    assert drawn[frequency < 0.04].all()
    assert drawn[frequency > 0.15].mean() < 0.1
    np.testing.assert_array_equal(np.isfinite(phase.get_lines()[0].get_ydata()), drawn)
