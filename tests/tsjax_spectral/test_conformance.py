"""The components of the plugin keep their contracts."""

from __future__ import annotations

import tsjax_spectral as ts
from tsjax_core import GRU
from tsjax_core.testing import LossConformance, ModelConformance, TransformConformance


class TestFrontEnd(ModelConformance):
    spec = ts.SpectralFrontEnd(model=GRU(hidden_size=2), n_fft=6, hop_length=3)
    causal = True


class TestCenteredFrontEndForScalars(ModelConformance):
    spec = ts.SpectralFrontEnd(
        model=GRU(hidden_size=2, output="last"),
        n_fft=7,
        hop_length=4,
        scaling="magnitude",
        centered=True,
    )
    causal = False
    target = "y_scalar"


class TestMagnitude(LossConformance):
    loss = ts.spectral_magnitude(n_fft=8)


class TestLogMagnitude(LossConformance):
    loss = ts.spectral_magnitude(n_fft=9, hop_length=2, window="rectangular", log=True)


class TestComplex(LossConformance):
    loss = ts.spectral_complex(n_fft=8, hop_length=3)


class TestSpectrogram(TransformConformance):
    transform = ts.add_spectrogram(n_fft=8)
