"""One Ray for all tests, small data in memory, and the command in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tsjax_core import cli, create_grain_dls
from tsjax_tune.ray_session import ray_session

RAY = {"num_cpus": 2, "object_store_memory": 200 * 2**20}

STUDY = """
[data]
dataset = "{data}"
u = ["u"]
y = ["y"]
win_sz = 100
stp_sz = 50
bs = 8

[model]
name = "core/gru"
hidden_size = 2

[train]
epochs = 2
metrics = ["core/rmse"]

[search]
{search}

[search.space]
{space}
"""


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


@pytest.fixture
def write_study(tmp_path, oscillator):
    """Write a study of a small GRU on the simulated oscillator, and return its path."""

    def write(search: str, space: str) -> Path:
        file = tmp_path / "study.toml"
        text = STUDY.format(data=oscillator, search=search, space=space)
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def tsjax(monkeypatch, capfd):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capfd.readouterr()
        print(out, err, sep="\n")
        code = left.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run
