"""The blocks of the README of tsjax-pinn do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_pinn" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """Return a directory as a reader has it after `tsjax demo --data-only`."""
    folder = tmp_path_factory.mktemp("reader")
    write_duffing(folder / "tsjax-demo" / "data", n_train=2, n=512)
    return folder


@pytest.mark.slow
def test_the_python_examples_run(reader, monkeypatch, capsys):
    """They train, and print the damping with its unit."""
    monkeypatch.chdir(reader)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "damping [N s/m]" in capsys.readouterr().out
    assert np.isfinite(names["learner"].history[-1].train_loss)


@pytest.mark.slow
def test_the_experiment_and_its_commands_run(reader, monkeypatch, tsjax):
    """Each line of the console block, on the experiment and the equations of the blocks before."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    (reader / "pinn.toml").write_text(experiment)
    (reader / "physics.py").write_text(blocks("python")[0])
    install, use = blocks("console")
    assert install == "$ pip install tsjax-pinn\n"
    for line in use.splitlines():
        status, _, _ = tsjax(*shlex.split(line.removeprefix("$ tsjax ")))
        assert status == 0, line
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
