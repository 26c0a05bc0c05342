"""Figures of spectrograms and responses."""

from __future__ import annotations

import numpy as np
import pytest

import tsjax_spectral as ts

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("length", [1, 3, 700])
def test_spectrograms_of_every_output_have_a_row(length, tmp_path):
    """Measured, simulated and error in decibels, with gaps and records of any length."""
    rng = np.random.default_rng(0)
    pred, target = rng.standard_normal((2, length, 2))
    target[-1] = np.nan
    figure = ts.plot_spectrogram(pred, target, outputs=["p", "q"], dt=0.01, start=50, title="test")
    figure.savefig(tmp_path / "figure.png")
    images = [axis for axis in figure.axes if axis.images]
    assert [a.get_title() for a in images[:3]] == ["measured, p", "simulated, p", "error, p"]
    assert len(images) == 6
    np.testing.assert_allclose(images[0].images[0].get_extent(), [0.5, 0.5 + 0.01 * length, 0, 50])
    assert images[3].get_ylabel() == "frequency in Hz"
    assert images[-1].get_xlabel() == "time in s"
    alone = ts.plot_spectrogram(pred, target)
    assert alone.axes[0].get_title() == "measured, y0"


def test_a_response_is_drawn_with_its_uncertainty(tmp_path):
    """Magnitude above phase for each pair of output and input; what is not known is left out."""
    rng = np.random.default_rng(0)
    u = np.tile(rng.standard_normal((3, 32, 1)), (1, 2, 1))
    found = ts.estimate_response(u, np.repeat(u, 2, -1), period=32, dt=0.1)
    figure = ts.plot_response(found, title="test")
    figure.savefig(tmp_path / "figure.png")
    assert len(figure.axes) == 4
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == ["response", "95 % radius", "noise", "distortion"]
    assert figure.axes[1].get_title() == "output 1, input 0"
