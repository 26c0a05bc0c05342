"""A model on spectrograms, and the spectrogram of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tsjax_spectral as ts
from tsjax_core import GRU, NormStats, Signals
from tsjax_core.errors import ConfigError, ModelError

SIGNALS = Signals(
    ("a", "b"), ("y",), {"u": NormStats([1.0, 5.0], [2.0, 0.1]), "y": NormStats([0.0], [1.0])}, 0.01
)


@dataclass(frozen=True)
class Sum:
    """The sum of the features of the present frame and the one before."""

    reads: ClassVar[tuple[str, ...]] = ("u",)
    receptive_field: ClassVar[int] = 2

    def build(self, signals, *, rngs):
        self.seen.append(signals)
        return SumModel()

    seen: ClassVar[list] = []


class SumModel(nnx.Module):
    def __call__(self, u):
        now = u.sum(-1, keepdims=True)
        return now + jnp.pad(now, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def test_each_sample_sees_the_last_whole_frame():
    """By a loop over samples in NumPy: the frame that ended last, held until the next one."""
    spec = ts.SpectralFrontEnd(Sum(), n_fft=8, hop_length=3, scaling="power")
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    u = np.random.default_rng(0).standard_normal((2, 17, 2)).astype(np.float32)
    x = np.pad((u - [1.0, 5.0]) / [2.0, 0.1], ((0, 0), (7, 0), (0, 0)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(8) / 8)
    sums = [
        (np.abs(np.fft.rfft(x[:, 3 * k : 3 * k + 8] * window[:, None], axis=1)) ** 2).sum((1, 2))
        for k in range(6)
    ]
    expected = [sums[t // 3] + (sums[t // 3 - 1] if t >= 3 else 0.0) for t in range(17)]
    np.testing.assert_allclose(model(u)[..., 0], np.stack(expected, 1), rtol=1e-5)
    assert spec.receptive_field == model.receptive_field == 3 + 8 + 2
    inside = Sum.seen[-1]
    assert inside.inputs[:6] == ("a@0", "a@1", "a@2", "a@3", "a@4", "b@0")
    assert inside.dt == pytest.approx(0.03)


def test_an_output_depends_on_its_receptive_field_and_on_nothing_else():
    """By the Jacobian, at every place of a sample within its frame."""
    spec = ts.SpectralFrontEnd(Sum(), n_fft=8, hop_length=3, window="rectangular")
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    u = np.random.default_rng(1).standard_normal((30, 2)).astype(np.float32)
    influence = np.abs(jax.jit(jax.jacobian(lambda u: model(u[None])[0]))(u)).max((1, 3))
    age = np.subtract.outer(np.arange(30), np.arange(30))
    assert not influence[(age < 0) | (age >= spec.receptive_field)].any()
    assert influence[29, 29 - (spec.receptive_field - 1)] > 0.0


@pytest.mark.parametrize("scaling", ["log", "power", "magnitude"])
def test_noise_is_of_order_one_inside(scaling):
    """White noise has features of mean 0 and standard deviation 1 after the scale of the spec."""
    spec = ts.SpectralFrontEnd(GRU(), n_fft=32, scaling=scaling)
    x = np.random.default_rng(0).standard_normal(60000)
    s = ts.spectrogram(x, 32, 32, power=1.0 if scaling == "magnitude" else 2.0, center=False)
    features = (ts.log_power(s) if scaling == "log" else s)[2:-2]
    mean, std = spec.scale
    assert abs((features.mean() - mean) / std) < 0.05
    assert abs(features.std() / std - 1.0) < 0.05


def test_centered_frames_serve_both_sides():
    """As many outputs as samples, of any odd length, and no receptive field that looks back."""
    spec = ts.SpectralFrontEnd(Sum(), n_fft=8, hop_length=3, centered=True)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    run = nnx.jit(lambda model, u: model(u))
    for length in (5, 17):
        assert run(model, jnp.ones((2, length, 2))).shape == (2, length, 1)
    assert spec.receptive_field is None


def test_a_front_end_that_does_not_fit_is_told():
    """A model that reads something else, and options out of range."""

    class Reader(GRU):
        reads = ("u", "y")

    with pytest.raises(ModelError) as caught:
        ts.SpectralFrontEnd(Reader()).build(SIGNALS, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "got Reader, which reads u, y" in str(caught.value)
    for options in ({"n_fft": 1}, {"hop_length": 0}, {"scaling": "db"}, {"window": "no"}):
        with pytest.raises(ConfigError) as caught:
            ts.SpectralFrontEnd(GRU(), **options)
        print(caught.value)
        assert next(iter(options)) in str(caught.value)


def test_the_spectrogram_of_a_batch_is_a_further_key():
    """Frame by frame, channel after channel, with the logarithm of the power."""
    u = np.random.default_rng(0).standard_normal((2, 41, 3)).astype(np.float32)
    batch = {"u": u, "y": u[..., :1]}
    out = ts.add_spectrogram(n_fft=10, hop_length=4, to="s")(batch)
    assert set(out) == {"u", "y", "s"}
    assert out["s"].shape == (2, 11, 18)
    expected = np.log10(ts.spectrogram(u[1, :, 2], 10, 4) + 1e-10).T
    np.testing.assert_allclose(out["s"][1, :, 12:], expected, atol=1e-3)
    for options in ({"key": "v"}, {"to": "y"}):
        with pytest.raises(ConfigError) as caught:
            ts.add_spectrogram(n_fft=10, **options)(batch)
        print(caught.value)
        assert "and the batch has u, y" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        ts.add_spectrogram(scaling="db")
    print(caught.value)
