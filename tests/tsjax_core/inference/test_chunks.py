"""Whole records of many samples, evaluated chunk by chunk."""

from __future__ import annotations

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tsjax_core import GRU, Learner, create_grain_dls, rmse
from tsjax_core.inference import chunks

LENGTHS = {"train": (300, 260), "valid": (16_000, 17_000), "test": (40_011, 300, 20_500)}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two inputs and three outputs in files of very unequal length."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("records")
    for split, lengths in LENGTHS.items():
        (folder / split).mkdir()
        for number, n in enumerate(lengths):
            u = rng.standard_normal((n, 2))
            y = np.cumsum(u @ [[1.0, 0.0, 0.2], [0.0, 1.0, 0.3]], 0) * 0.01
            with h5py.File(folder / split / f"{number}.hdf5", "w") as file:
                for name, column in zip("abpqr", np.hstack([u, y]).T, strict=True):
                    file[name] = column.astype(np.float32)
    return create_grain_dls(
        u=["a", "b"], y=["p", "q", "r"], dataset=folder, win_sz=100, stp_sz=50, bs=4, valid="files"
    )


class Follower(nnx.Module):
    """Predicts from the measured output one sample before; u is added as it is."""

    def __init__(self) -> None:
        self.rate = nnx.Param(jnp.float32(0.5))

    def __call__(self, u, y):
        return self.advance(u, self.initial_state(len(u)), y)[0]

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, 3))

    def advance(self, u, state, y):
        def step(x, y):
            return x + self.rate * (y - x), x

        state, before = lax.scan(step, state, jnp.swapaxes(y, 0, 1))
        return jnp.swapaxes(before, 0, 1) + u.sum(-1, keepdims=True), state


@pytest.mark.parametrize("reads", [("u",), ("u", "y")], ids=["simulates", "reads y"])
def test_chunks_change_no_number(records, reads):
    """Simulated outputs of each file are those of one call of the model for the whole of it."""
    model = GRU(hidden_size=5) if reads == ("u",) else Follower()
    learner = Learner(model, records, n_skip=7, metrics=[rmse], reads=reads)
    for split in ("valid", "test"):
        evaluation = learner.evaluate(split)
        pairs, files = evaluation.pairs, tuple(evaluation.files)
        assert len(files) == len(LENGTHS[split])
        for number, (simulated, measured) in enumerate(pairs):
            record = records.split(split)[number]
            whole = np.asarray(learner.model(*(record[key][None] for key in reads)))[:, 7:]
            assert simulated.shape == measured.shape == whole.shape
            np.testing.assert_array_equal(measured[0], record["y"][7:])
            np.testing.assert_allclose(simulated, whole, atol=1e-5 * whole.std())


def test_no_program_takes_a_long_record(records):
    """Long records share programs for chunks; the one for whole records sees the short alone."""
    learner = Learner(GRU(hidden_size=6), records)
    before = chunks._advance._cache_size()
    learner.evaluate("test")
    assert chunks._advance._cache_size() - before == 2
    learner.evaluate("test")
    assert chunks._advance._cache_size() - before == 2
