"""Models of a third party, unequal files, and the command line in this process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import ArrayStore, FullSequenceSource, NormStats, Signals, cli
from tsjax_core.models.scaling import Standardize

ONE = NormStats([0.0], [1.0])


class LagModel(nnx.Module):
    """x_t = a x_(t-1) + b u_t, y = x, in raw units, with an encoder and two quantities."""

    def __init__(self):
        self.a, self.b = nnx.Param(jnp.float32(0.8)), nnx.Param(jnp.float32(0.5))

    def initial_state(self, batch_size):
        return {"x": jnp.zeros((batch_size, 1))}

    def advance(self, u, state):
        def step(x, u):
            x = self.a[...] * x + self.b[...] * u
            return x, x

        x, y = jax.lax.scan(step, state["x"], jnp.swapaxes(u, 0, 1))
        return jnp.swapaxes(y, 0, 1), {"x": x}

    def __call__(self, u):
        return self.advance(u, self.initial_state(len(u)))[0]

    def estimate_state(self, u, y):
        return {"x": y[:, -1, :1]}

    def quantities(self):
        return {"pole": (self.a[...], "1")}


@dataclass(frozen=True)
class Lag:
    reads = ("u",)

    def build(self, signals, *, rngs):
        return LagModel()


class PriorModel(nnx.Module):
    """An output error model that uses the measured output of its first samples.

    y_t = a z_(t-1) + b u_t, where z is measured within the initial window, and y after it. In
    training it adds noise of a size that falls with the progress of the fit.
    """

    def __init__(self, spec, signals):
        self.window = spec.init_window
        self.u_scale, self.y_scale = (Standardize(signals.stats[key]) for key in "uy")
        n_u, n_y = len(signals.inputs), len(signals.outputs)
        self.a = nnx.Param(jnp.full((n_y,), 0.7))
        self.b = nnx.Param(jnp.linspace(0.1, 0.5, n_u * n_y).reshape(n_u, n_y))

    @property
    def init_window(self):
        return self.window

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, self.a.shape[0])), jnp.zeros(batch_size, jnp.float32)

    def __call__(self, u, y, *, key=None, progress=None):
        return self.advance(u, self.initial_state(len(u)), y, key=key, progress=progress)[0]

    def advance(self, u, state, y, *, key=None, progress=None):
        return self.advance_with_aux(u, state, y, key=key, progress=progress)[:2]

    def advance_with_aux(self, u, state, y, *, key=None, progress=None):
        drive = self.u_scale.normalize(u) @ self.b[...]
        if key is not None:
            drive += 0.01 * (1.0 - progress) * jax.random.normal(key, drive.shape)

        def step(state, at):
            z, count = state
            drive, measured = at
            out = self.a[...] * z + drive
            fed = jnp.where((count < self.window)[:, None], measured, out)
            return (fed, count + 1.0), (out, fed)

        rows = [jnp.swapaxes(x, 0, 1) for x in (drive, self.y_scale.normalize(y))]
        state, (out, fed) = jax.lax.scan(step, state, tuple(rows))
        y = self.y_scale.denormalize(jnp.swapaxes(out, 0, 1))
        return y, state, {"fed": jnp.swapaxes(fed, 0, 1)}


@dataclass(frozen=True)
class Prior:
    init_window: int = 3
    reads = ("u", "y")

    def build(self, signals, *, rngs):
        return PriorModel(self, signals)


class DroppingModel(LagModel):
    """It drops inputs in training, of whole sequences alone."""

    rate = 0.5

    def __call__(self, u, *, key=None):
        if key is not None and self.rate:
            u = u * jax.random.bernoulli(key, 1.0 - self.rate, u.shape)
        return super().__call__(u)


@dataclass(frozen=True)
class Dropping:
    rate: float = 0.5
    reads = ("u",)

    def build(self, signals, *, rngs):
        model = DroppingModel()
        model.rate = self.rate
        return model


@dataclass(frozen=True)
class Stateless:
    reads = ("u",)

    def build(self, signals, *, rngs):
        class Static(nnx.Module):
            def __call__(self, u):
                return u

        return Static()


@pytest.fixture(scope="session")
def third_party():
    """Return specifications that no plugin of tsjax has, and signals of one channel each."""
    return SimpleNamespace(
        Lag=Lag,
        Prior=Prior,
        Dropping=Dropping,
        Stateless=Stateless,
        signals=Signals(("u",), ("y",), {"u": ONE, "y": ONE}, 0.1),
    )


def records_of(*lengths):
    rng = np.random.default_rng(0)
    made = []
    for number, n in enumerate(lengths):
        u = np.repeat(rng.standard_normal((n // 3 + 1, 2)), 3, axis=0)[:n]
        y = np.zeros((n, 2))
        for t in range(n):
            y[t] = (0.9 * y[t - 1] if t else 0.0) + u[t] @ [[0.1, 0.2], [0.3, 0.0]]
        made.append({"u": u, "y": y + np.array([0.0, 5.0]), "m": np.ones(n), "size": 1.0 + number})
    return made


@pytest.fixture(scope="session")
def make_records():
    """Return a function that makes records of these lengths: two inputs, two outputs, a mask."""
    return records_of


@pytest.fixture(scope="session")
def open_records():
    """Return a function that makes records and opens them as files."""

    def open_them(*lengths):
        store = ArrayStore(records_of(*lengths))
        return FullSequenceSource(store, ["u:0", "u:1"], ["y:0", "y:1"], further={"mask": ["m"]})

    return open_them


@pytest.fixture(scope="session")
def unequal_files(tmp_path_factory):
    """Return a data set in HDF5 files of unequal, odd lengths."""
    folder = tmp_path_factory.mktemp("unequal")
    lengths = {"train": (131, 57, 88), "valid": (70, 45), "test": (63, 40)}
    for split, sizes in lengths.items():
        (folder / split).mkdir()
        for number, record in enumerate(records_of(*sizes)):
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                file.attrs["dt"] = 0.1
                file.attrs["load"] = float(number % 2)
                for key, columns in (("u", record["u"]), ("y", record["y"])):
                    for channel, column in zip("ab", columns.T, strict=True):
                        file[f"{key}_{channel}"] = column.astype("f4")
                file["moves"] = (np.arange(len(record["u"])) % 4 > 0).astype("f4")
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
