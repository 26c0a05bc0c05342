"""Simulated measurements of a nonlinear system, for demonstrations and tests.

The system is an electronic Duffing oscillator in the manner of the Silverbox (Wigren and
Schoukens, Three free data sets for development and benchmarking in nonlinear system
identification, 2013): a lightly damped resonance whose spring hardens with the output.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.types import Array, HostArray

SAMPLING_RATE = 610.35
"""Hz, that of the Silverbox."""

_SUBSTEPS = 8


def simulate_duffing(
    u: HostArray,
    *,
    fs: float = SAMPLING_RATE,
    resonance: float = 60.0,
    damping: float = 0.05,
    stiffening: float = 5.0,
) -> HostArray:
    """Return the output voltage (time,) of the oscillator for the input voltage `u` (time,).

    y'' + 2 d w y' + w^2 (y + s y^3) = w^2 u with w = 2 pi `resonance` (Hz), d = `damping`
    (relative) and s = `stiffening` (1/V^2), from rest; `u` is held over each sampling interval
    (`fs` in Hz), which a fourth-order Runge-Kutta method crosses in 8 steps. y_t is the output at
    the beginning of the interval in which u_t acts.
    """
    omega = 2.0 * np.pi * resonance
    step = 1.0 / (fs * _SUBSTEPS)

    def slope(state: Array, held: Array) -> Array:
        y, v = state
        spring = omega**2 * (held - y - stiffening * y**3)
        return jnp.stack([v, spring - 2.0 * damping * omega * v])

    def interval(state: Array, held: Array) -> tuple[Array, Array]:
        def runge_kutta(_: int, x: Array) -> Array:
            k1 = slope(x, held)
            k2 = slope(x + step / 2 * k1, held)
            k3 = slope(x + step / 2 * k2, held)
            k4 = slope(x + step * k3, held)
            return x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        return jax.lax.fori_loop(0, _SUBSTEPS, runge_kutta, state), state[0]

    run = jax.jit(lambda u: jax.lax.scan(interval, jnp.zeros(2), u)[1])
    return np.asarray(run(jnp.asarray(u, jnp.float32)))


def multisine(rng: np.random.Generator, n: int, *, rms: float, band: float, fs: float) -> HostArray:
    """Return `n` samples of a random-phase multisine, all lines up to `band` Hz equally strong."""
    spectrum = np.zeros(n // 2 + 1, complex)
    lines = slice(1, int(band / fs * n) + 1)
    phases = rng.uniform(0.0, 2.0 * np.pi, spectrum[lines].shape)
    spectrum[lines] = np.exp(1j * phases)
    signal = np.fft.irfft(spectrum, n)
    return np.asarray(rms * signal / signal.std())


def write_duffing(
    folder: Path, *, seed: int = 0, noise: float = 3e-4, n_train: int = 8, n: int = 4096
) -> Path:
    """Write noisy measurements of the oscillator as HDF5 below `folder`, and return `folder`.

    `train/` has `n_train` multisines of `n` samples, `valid/` one; `test/` has another multisine
    and an arrow, a noise whose amplitude grows from zero. `noise` is the standard deviation of
    the output's measurement noise in V. Files carry `fs` in Hz, data sets their `units`.
    """
    import h5py

    rng = np.random.default_rng(seed)
    fs, band, rms = SAMPLING_RATE, 150.0, 0.03
    records = {
        f"train/multisine_{i}": multisine(rng, n, rms=rms, band=band, fs=fs) for i in range(n_train)
    }
    records["valid/multisine"] = multisine(rng, n, rms=rms, band=band, fs=fs)
    records["test/multisine"] = multisine(rng, n, rms=rms, band=band, fs=fs)
    records["test/arrow"] = multisine(rng, 2 * n, rms=1.7 * rms, band=band, fs=fs) * np.linspace(
        0.0, 1.0, 2 * n
    )
    for name, u in records.items():
        y = simulate_duffing(u) + noise * rng.standard_normal(len(u))
        path = folder / f"{name}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["fs"] = fs
            for key, signal in (("u", u), ("y", y)):
                file.create_dataset(key, data=signal.astype(np.float32)).attrs["units"] = "V"
    return folder
