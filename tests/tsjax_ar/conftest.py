"""Signals, a linear model inside, measurements in files, and the command `tsjax` in-process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import cli
from tsjax_core.models.scaling import Standardize
from tsjax_core.testing.samples import sample_batch, sample_signals

LENGTHS = {"train": (130, 87, 64), "valid": (70, 50), "test": (61, 40)}


class LinearModel(nnx.Module):
    """y_t = W x_t + c in normalised units: with autoregression, an ARX model of first order."""

    def __init__(self, signals, rngs):
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in "uy")
        n_in, n_out = len(signals.inputs), len(signals.outputs)
        self.w = nnx.Param(0.3 * jax.random.normal(rngs.params(), (n_in, n_out)))

    def __call__(self, u):
        return self.y_scale.denormalize(self.u_scale.normalize(u) @ self.w[...])

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, 1))

    def advance(self, u, state):
        return self(u), state


@dataclass(frozen=True)
class Linear:
    """A linear map of the present input."""

    reads = ("u",)

    def build(self, signals, *, rngs):
        return LinearModel(signals, rngs)


@pytest.fixture(scope="session")
def linear():
    """Return the specification of a model without memory."""
    return Linear()


@pytest.fixture(scope="session")
def signals():
    """Return signals of two inputs and three outputs."""
    return sample_signals(2, 3)


@pytest.fixture(scope="session")
def batch(signals):
    """Return three sequences of 20 samples."""
    return sample_batch(signals, time=20)


@pytest.fixture(scope="session")
def lag_files(tmp_path_factory) -> Path:
    """Return two coupled lags, begun at random states, in files of unequal and odd length."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("lags")
    for split, lengths in LENGTHS.items():
        (folder / split).mkdir()
        for number, n in enumerate(lengths):
            u = np.repeat(rng.standard_normal(n // 5 + 1), 5)[:n]
            x, states = 3.0 * rng.standard_normal(2), np.zeros((n, 2))
            for t in range(n):
                x = x + 0.1 * np.array([3.0 * u[t] - x[0], x[0] - x[1]])
                states[t] = x
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                file.attrs["dt"] = 0.02
                file["u"] = u.astype("f4")
                file["x"], file["y"] = states.T.astype("f4")
    return folder


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
