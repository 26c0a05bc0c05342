"""The frequency response of the Silverbox, an electronic oscillator with a hardening spring.

Source of the data: Wigren and Schoukens, Three free data sets for development and benchmarking in
nonlinear system identification (2013). Realisations of an odd multisine of 8192 samples follow each
other at a distance of 8692.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import tsjax_spectral as ts

PERIOD, DISTANCE, FIRST = 8192, 8692, 304
LINES = np.arange(67, 2013, 2)  # odd lines from 5 to 150 Hz


def test_five_realisations_predict_the_sixth():
    """With the resonance of 70 Hz, and mostly within the circles of confidence."""
    file = Path(os.environ.get("TSJAX_DATA", "")) / "silverbox" / "train" / "train.hdf5"
    if "TSJAX_DATA" not in os.environ or not file.exists():
        pytest.skip("set TSJAX_DATA to a folder with the data set silverbox")
    with h5py.File(file) as data:
        u, y, fs = data["u"][:], data["y"][:], float(data.attrs["fs"])
    starts = FIRST + DISTANCE * np.arange(6)
    u, y = (np.stack([x[s : s + PERIOD, None] for s in starts]) for x in (u, y))
    found = ts.estimate_response(u[:5], y[:5], period=PERIOD, dt=1.0 / fs, lines=LINES)
    response = found.response[:, 0, 0]
    resonance = found.frequency[np.abs(response).argmax()]
    given, answer = (np.fft.rfft(x[5, :, 0])[LINES] for x in (u, y))
    error = np.linalg.norm(answer - response * given) / np.linalg.norm(answer)
    # One more realisation differs from the mean of five by their distortions, too.
    spread = found.radius[:, 0, 0] * np.sqrt(5 + 1)
    inside = np.mean(np.abs(answer / given - response) < spread)
    print(f"resonance {resonance:.1f} Hz, error {100 * error:.1f} %, inside {100 * inside:.0f} %")
    assert 68.0 < resonance < 72.0
    assert error < 0.15
    assert inside > 0.9
