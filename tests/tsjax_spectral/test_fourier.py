"""The short-time Fourier transform against SciPy, PyTorch, and what is known of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import tsjax_spectral as ts
from tsjax_core.errors import ConfigError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


OPTIONS = [
    {"n_fft": 16},
    {"n_fft": 16, "hop_length": 5},
    {"n_fft": 15, "hop_length": 4, "window": "hamming"},
    {"n_fft": 20, "win_length": 13, "hop_length": 6},
    {"n_fft": 12, "window": "rectangular", "hop_length": 7},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("length", [50, 61])
def test_the_transform_is_that_of_scipy(options, length):
    """Reflected ends, one-sided, to 1e-5 on the device and to rounding on the host."""
    x = noise(2, 3, length)
    n_fft, win = options["n_fft"], options.get("win_length", options["n_fft"])
    hop = options.get("hop_length", win // 2)
    window = scipy.signal.get_window(
        {"rectangular": "boxcar"}.get(options.get("window", "hann"), options.get("window", "hann")),
        win,
    )
    before = (n_fft - win) // 2
    window = np.pad(window, (before, n_fft - win - before))
    padded = np.pad(x, ((0, 0), (0, 0), (n_fft // 2, n_fft // 2)), mode="reflect")
    _, _, z = scipy.signal.stft(
        padded, window=window, nperseg=n_fft, noverlap=n_fft - hop, boundary=None, padded=False
    )
    expected = z * window.sum()
    got = ts.stft(x, **options)
    assert got.shape == (2, 3, n_fft // 2 + 1, 1 + (length - n_fft % 2) // hop)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    np.testing.assert_allclose(ts.stft(jnp.asarray(x), **options), expected, atol=1e-5)
    np.testing.assert_allclose(
        ts.spectrogram(x, **options, normalized=True),
        np.abs(expected) ** 2 / np.sum(window**2),
        atol=1e-12,
    )


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_the_transform_is_that_of_pytorch(options):
    """With the options of `torch.stft`, to 1e-5."""
    torch = pytest.importorskip("torch")
    x = noise(3, 70).astype(np.float32)
    win = options.get("win_length", options["n_fft"])
    hop = options.get("hop_length", win // 2)
    kind = {"hann": torch.hann_window, "hamming": torch.hamming_window}
    expected = torch.stft(
        torch.tensor(x),
        options["n_fft"],
        hop,
        win,
        kind[options.get("window", "hann")](win),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    np.testing.assert_allclose(ts.stft(jnp.asarray(x), **options), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(0, 60), st.integers(0, 2**31))
def test_the_energy_of_frames_is_that_of_the_spectrum(n_fft, more, seed):
    """Parseval for each frame under the Hann window, of any even or odd length."""
    x = noise(n_fft + more, seed=seed)
    z = ts.stft(x, n_fft, center=False)
    window = scipy.signal.get_window("hann", n_fft)
    hop = n_fft // 2
    weights = np.full(n_fft // 2 + 1, 2.0)
    weights[0] = 1.0
    if n_fft % 2 == 0:
        weights[-1] = 1.0
    for k in range(z.shape[-1]):
        frame = x[k * hop : k * hop + n_fft] * window
        np.testing.assert_allclose(
            weights @ np.abs(z[:, k]) ** 2 / n_fft, np.sum(frame**2), rtol=1e-9, atol=1e-12
        )


def test_a_tone_stands_in_its_line_and_silence_at_the_floor():
    """The largest power is where the tone is, and the logarithm of nothing is that of 1e-10."""
    n, line = np.arange(400), 12
    s = ts.spectrogram(np.sin(2 * np.pi * line / 64 * n), 64)
    assert np.all(s[:, 1:-1].argmax(0) == line)
    np.testing.assert_allclose(s[line, 2:-2], (0.5 * 32.0) ** 2, rtol=1e-3)
    silence = ts.log_power(ts.spectrogram(jnp.zeros(400), 64))
    np.testing.assert_allclose(silence, -10.0, rtol=1e-6)


def test_powers_pads_and_gradients():
    """Magnitude is the root of the power, zeros are padded, gradients are finite at silence."""
    x = noise(2, 80)
    complex_ = ts.spectrogram(x, 16, power=None)
    assert np.iscomplexobj(complex_)
    for power in (0.5, 1.0, 2.0, 3.0):
        np.testing.assert_allclose(
            ts.spectrogram(x, 16, power=power), np.abs(complex_) ** power, rtol=1e-9
        )
    np.testing.assert_allclose(
        ts.spectrogram(x, 16, pad=8), ts.spectrogram(np.pad(x, ((0, 0), (8, 8))), 16)
    )
    for power in (1.0, 2.0):
        gradient = jax.grad(lambda x, p=power: ts.spectrogram(x, 16, power=p).sum())(jnp.zeros(40))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "options,text",
    [
        ({"n_fft": 200}, "a signal of 50 samples is too short for n_fft = 200 with reflected ends"),
        ({"n_fft": 60, "center": False}, "too short for n_fft = 60, which takes 60"),
        ({"n_fft": 16, "win_length": 20}, "win_length = 20 is longer than the frame"),
        ({"n_fft": 1}, "n_fft = 1"),
        ({"n_fft": 16, "hop_length": 0}, "hop_length = 0"),
        ({"n_fft": 16, "window": "han"}, "Did you mean 'hann'?"),
        ({"n_fft": 16, "power": 0.0}, "power = 0.0; give a number above 0"),
        ({"n_fft": 16, "pad": -1}, "pad = -1"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_told(options, text):
    """With the number, and what to give."""
    with pytest.raises(ConfigError) as caught:
        ts.spectrogram(np.zeros(50), **options)
    print(caught.value)
    assert text in str(caught.value)
