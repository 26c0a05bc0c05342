"""Signals, a mass-spring-damper in files, and the command `tsjax` in-process."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsjax_core import cli
from tsjax_core.testing.samples import sample_batch, sample_signals

MASS, DAMPING, STIFFNESS, DT = 1.0, 0.6, 4.0, 0.05


def simulate(force, n, x, v):
    """Return position and velocity (n, 2) under a force that is a function of time."""
    state, out = np.array([x, v]), []

    def slope(s, t):
        return np.array([s[1], (force(t) - DAMPING * s[1] - STIFFNESS * s[0]) / MASS])

    for t in DT * np.arange(n):
        out.append(state)
        a = slope(state, t)
        b = slope(state + DT / 2 * a, t + DT / 2)
        c = slope(state + DT / 2 * b, t + DT / 2)
        state = state + DT / 6 * (a + 2 * b + 2 * c + slope(state + DT * c, t + DT))
    return np.array(out)


def write_files(folder, lengths, rng):
    """Write files of a mass-spring-damper that begins anywhere, each length a file."""
    for split, counts in lengths.items():
        (folder / split).mkdir(parents=True)
        for number, n in enumerate(counts):
            phases, tones = rng.uniform(0, 6.28, 3), rng.uniform(0.5, 4.0, 3)

            def force(t, phases=phases, tones=tones):
                return np.sin(tones * np.asarray(t)[..., None] + phases).sum(-1)

            states = simulate(force, n, *rng.normal(0.0, 0.5, 2))
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                file.attrs["dt"] = DT
                file["force"] = force(DT * np.arange(n)).astype("f4")
                file["position"] = states[:, 0].astype("f4")
                file["velocity"] = states[:, 1].astype("f4")


@pytest.fixture(scope="session")
def write_oscillator():
    """Return the function that writes such files, of a folder, lengths by split, a generator."""
    return write_files


@pytest.fixture(scope="session")
def oscillator(tmp_path_factory) -> Path:
    """Return files of unequal and odd length."""
    folder = tmp_path_factory.mktemp("oscillator")
    lengths = {"train": (131, 87, 65), "valid": (71, 50), "test": (61, 40)}
    write_files(folder, lengths, np.random.default_rng(0))
    return folder


@pytest.fixture(scope="session")
def signals():
    """Return signals of two inputs and three outputs."""
    return sample_signals(2, 3)


@pytest.fixture(scope="session")
def batch(signals):
    """Return three sequences of 20 samples."""
    return sample_batch(signals, time=20)


@pytest.fixture
def tsjax(monkeypatch, capsys):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out = capsys.readouterr()
        print(out.out, out.err, sep="\n")
        code = left.value.code
        return (code if isinstance(code, int) else 0), out.out, out.err

    return run
