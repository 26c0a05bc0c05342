"""Measurements that many tests share, and compiled programs kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Before jax is imported, and inherited by the processes that tests start.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# Programs of tests run for moments, and most of a run's time goes into compiling them: half of it
# less without the optimizations of machine code, which change no result beyond rounding.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

# How long an example takes depends on the machine and on what else it does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def oscillator(tmp_path_factory) -> Path:
    """Return a small data set of the simulated oscillator, one input and one output in V."""
    from tsjax_core.data.simulated import write_duffing

    return write_duffing(tmp_path_factory.mktemp("oscillator"), n_train=2, n=512)


@pytest.fixture(scope="session")
def two_by_three(tmp_path_factory) -> Path:
    """Return a linear system of two inputs and three outputs, in files of unequal length.

    Every file has the attributes `mass` and `wear`, and the third output is far from zero.
    """
    import h5py

    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("two_by_three")
    lengths = {"train": (300, 170, 240), "valid": (130, 90), "test": (210, 75, 75)}
    for split, sizes in lengths.items():
        for number, n in enumerate(sizes):
            u = rng.standard_normal((n, 2)) * [1.0, 100.0]
            x = np.zeros((n, 3))
            for t in range(1, n):
                x[t] = 0.8 * x[t - 1] + u[t - 1] @ [[1.0, 0.0, 0.2], [0.0, 0.01, 0.3]]
            y = x * [1.0, 0.001, 50.0] + [0.0, 0.0, 1000.0]
            path = folder / split / f"part_{number}.hdf5"
            path.parent.mkdir(exist_ok=True)
            with h5py.File(path, "w") as file:
                file.attrs["dt"] = 0.1
                file.attrs["mass"] = 1.0 + number
                file.attrs["wear"] = 10.0 - 2.0 * number
                for name, column in zip(("a", "b"), u.T, strict=True):
                    file[name] = column.astype(np.float32)
                for name, column in zip(("p", "q", "r"), y.T, strict=True):
                    file[name] = column.astype(np.float32)
    return folder
