"""The simulated oscillator against SciPy's integrator, and the data set that is written."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tsjax_core.data.simulated import multisine, simulate_duffing, write_duffing


def test_the_simulation_solves_the_differential_equation():
    """SciPy integrates the same equation interval by interval, to 1e-4 of the output's range."""
    fs, omega, damping, stiffening = 600.0, 2 * np.pi * 50.0, 0.04, 8.0
    u = np.random.default_rng(0).uniform(-0.3, 0.3, 80)
    state, expected = np.zeros(2), []
    for held in u:
        expected.append(state[0])

        def slope(_, x, held=held):
            spring = omega**2 * (held - x[0] - stiffening * x[0] ** 3)
            return [x[1], spring - 2 * damping * omega * x[1]]

        state = solve_ivp(slope, (0.0, 1 / fs), state, rtol=1e-9, atol=1e-12).y[:, -1]
    got = simulate_duffing(u, fs=fs, resonance=50.0, damping=damping, stiffening=stiffening)
    assert np.abs(got - expected).max() < 1e-4 * np.ptp(expected)


def test_a_multisine_has_its_band_and_power():
    """All lines up to the band edge are equally strong, the rest is empty."""
    signal = multisine(np.random.default_rng(1), 1000, rms=0.5, band=100.0, fs=1000.0)
    amplitude = np.abs(np.fft.rfft(signal))
    assert signal.std() == pytest.approx(0.5)
    np.testing.assert_allclose(amplitude[1:101], amplitude[1], rtol=1e-9)
    assert np.all(amplitude[101:] < 1e-9)


def test_the_data_set_is_the_same_for_the_same_seed(tmp_path):
    """Same seed, same bits; another seed, other signals; with rate, units and noise."""
    first, again, other = (
        write_duffing(tmp_path / name, seed=seed, n_train=1, n=128)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    names = sorted(path.relative_to(first) for path in first.rglob("*.hdf5"))
    assert [str(name) for name in names] == [
        "test/arrow.hdf5",
        "test/multisine.hdf5",
        "train/multisine_0.hdf5",
        "valid/multisine.hdf5",
    ]
    for name in names:
        with (
            h5py.File(first / name) as a,
            h5py.File(again / name) as b,
            h5py.File(other / name) as c,
        ):
            assert np.array_equal(a["u"], b["u"])
            assert np.array_equal(a["y"], b["y"])
            assert not np.array_equal(a["u"], c["u"])
            assert a["y"].attrs["units"] == "V"
            assert a.attrs["fs"] == 610.35
            noise = a["y"][:] - simulate_duffing(a["u"][:])
            assert noise.std() == pytest.approx(3e-4, rel=0.2)
