"""Simulated systems of every kind, signals, slow references, and the command `tsjax` in-process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from tsjax_core import NormStats, Signals, cli, create_grain_dls
from tsjax_core.models.subspace import StateSpaceMatrices

LENGTHS = {"train": (1100, 700), "valid": (500,), "test": (600,)}
FAST, SLOW = 0.7 * np.exp(1.0j), 0.9 * np.exp(0.3j)

STATISTICS = {
    "u": NormStats([1.0, -20.0], [2.0, 30.0]),
    "y": NormStats([3.0, 0.1, -5.0], [0.5, 10.0, 1.0]),
}


def bend(w: np.ndarray) -> np.ndarray:
    """The nonlinearity of all simulated systems: saturating, not odd."""
    return np.tanh(1.2 * w + 0.3) + 0.15 * w


def make_block(poles, n_in: int, n_out: int, seed: int) -> StateSpaceMatrices:
    """Return a linear model with conjugate poles, whose outputs have unit spread."""
    rng = np.random.default_rng(seed)
    n = 2 * len(poles)
    a = np.zeros((n, n))
    for i, p in enumerate(poles):
        a[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[p.real, -p.imag], [p.imag, p.real]]
    b, c = rng.normal(size=(n, n_in)), rng.normal(size=(n_out, n))
    d = 0.5 * rng.normal(size=(n_out, n_in))
    model = StateSpaceMatrices(a, b, c, d, np.zeros(n_out))
    spread = model.simulate(rng.normal(size=(5000, n_in))).std(0)[:, None]
    return StateSpaceMatrices(a, b, c / spread, d / spread, np.zeros(n_out))


def make_simulation(kind: str, n_u: int, n_y: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from inputs (time, n_u) to outputs (time, n_y) of a system."""
    if kind == "wiener_hammerstein":
        before, behind = make_block([SLOW], n_u, n_y, 5), make_block([FAST], n_y, n_y, 6)
        return lambda u: behind.simulate(bend(before.simulate(u)))
    block = make_block([SLOW, FAST], n_u, n_y, 5)
    if kind == "wiener":
        return lambda u: bend(block.simulate(u))
    return lambda u: block.simulate(bend(u))


@pytest.fixture(scope="session")
def system() -> SimpleNamespace:
    """Return what the simulated systems are made of."""
    return SimpleNamespace(make_block=make_block, bend=bend, slow=SLOW, fast=FAST)


@pytest.fixture(scope="session")
def make_data(tmp_path_factory):
    """Return a function that simulates a system without noise and returns its data and folder."""

    def make(kind: str, n_u: int = 1, n_y: int = 1, lengths=LENGTHS):
        folder, rng = tmp_path_factory.mktemp(kind), np.random.default_rng(0)
        simulate = make_simulation(kind, n_u, n_y)
        for split, sizes in lengths.items():
            (folder / split).mkdir()
            for number, n in enumerate(sizes):
                u = rng.normal(size=(n, n_u))
                u[1:] += 0.5 * u[:-1]
                y = simulate(u)
                with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                    file.attrs["dt"] = 0.01
                    for k in range(n_u):
                        file[f"u{k}"] = (3.0 * u[:, k] + 1.0).astype(np.float32)
                    for k in range(n_y):
                        file[f"y{k}"] = (0.2 * y[:, k] - 5.0).astype(np.float32)
        names = [f"u{k}" for k in range(n_u)], [f"y{k}" for k in range(n_y)]
        data = create_grain_dls(*names, folder, win_sz=100, stp_sz=100, bs=8, valid="files")
        return data, folder

    return make


@pytest.fixture(scope="session")
def wiener(make_data):
    """Return data and folder of a Wiener system of two inputs and three outputs."""
    return make_data("wiener", 2, 3)


@pytest.fixture(scope="session")
def signals() -> Signals:
    """Return signals of two inputs and three outputs."""
    return Signals(("torque", "current"), ("speed", "angle", "temperature"), STATISTICS, dt=0.1)


@pytest.fixture(scope="session")
def inputs() -> np.ndarray:
    """Return two sequences of 40 samples of the inputs of `signals`."""
    draws = np.random.default_rng(1).standard_normal((2, 40, 2))
    return draws * STATISTICS["u"].std + STATISTICS["u"].mean


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


@pytest.fixture
def write_experiment(tmp_path) -> Callable[[str], Path]:
    """Return a function that writes an experiment file."""

    def write(text: str) -> Path:
        file = tmp_path / "e.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write
