"""Linear records without noise, and learners on them."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import create_grain_dls
from tsjax_core.models.subspace import StateSpaceMatrices

SYSTEM = StateSpaceMatrices(
    np.array([[0.9, 0.2], [-0.2, 0.9]]),
    np.array([[1.0, 0.1], [0.5, -0.2]]),
    np.array([[1.0, 0.0], [20.0, 30.0]]),
    np.zeros((2, 2)),
    np.array([0.5, -100.0]),
)
"""Two inputs, two outputs in other units, a lightly damped mode, and an offset."""


def simulate_record(seed: int, n: int, *, bend: float = 0.0) -> dict[str, np.ndarray]:
    """A record that begins in the middle of the system's life; `bend` saturates the outputs."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((n, 2)) * [1.0, 10.0]
    y = SYSTEM.simulate(u, 5.0 * rng.standard_normal(2))
    if bend:
        y = np.tanh(bend * (y - SYSTEM.offset) / [5.0, 200.0]) * [5.0, 200.0] / bend
    return {"a": u[:, 0], "b": u[:, 1], "p": y[:, 0], "q": y[:, 1]}


def make_pipeline(bend: float = 0.0, gap: bool = False):
    train = [simulate_record(seed, n, bend=bend) for seed, n in ((0, 300), (1, 170))]
    if gap:
        train[0]["p"][100:110] = np.nan
    dataset = {
        "train": train,
        "valid": [simulate_record(2, 200, bend=bend)],
        "test": [simulate_record(3, 150, bend=bend)],
    }
    options = {"win_sz": 50, "stp_sz": 50, "bs": 4, "valid": "files", "dt": 0.1}
    return create_grain_dls(["a", "b"], ["p", "q"], dataset, allow_nan=gap, **options)


@pytest.fixture(scope="module")
def linear_data():
    return make_pipeline()


@pytest.fixture(scope="module")
def bent_data():
    return make_pipeline(bend=1.0)


@pytest.fixture(scope="session")
def system():
    return SYSTEM


@pytest.fixture(scope="session")
def make_data():
    """Return a function that makes the data, with gaps where asked for."""
    return make_pipeline
