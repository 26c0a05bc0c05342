"""One Ray for all tests, small data in memory, and the command in this process."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import create_grain_dls
from tsjax_tune.ray_session import ray_session

RAY = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


@pytest.fixture(scope="session")
def ray():
    """Have Ray running with two processors."""
    with ray_session(RAY):
        yield


@pytest.fixture(scope="session")
def pipeline():
    """Return two inputs and one output, in records of unequal and odd length."""
    rng = np.random.default_rng(0)

    def record(n):
        u, v = rng.standard_normal((2, n))
        y = np.convolve(u + 0.5 * v, 0.7 ** np.arange(12))[:n]
        return {"u": u, "v": v, "y": 3.0 * y + 10.0}

    splits = {"train": [record(161), record(97)], "valid": [record(75)], "test": [record(61)]}
    return create_grain_dls(["u", "v"], ["y"], splits, win_sz=30, stp_sz=30, bs=4)
