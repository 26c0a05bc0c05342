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


@pytest.fixture
def reader(tmp_path, monkeypatch) -> Path:
    """Return a directory as a reader has it after `tsjax demo --data-only`, with the files."""
    write_duffing(tmp_path / "tsjax-demo" / "data", n_train=2, n=512)
    python, toml = blocks("python"), blocks("toml")
    for text in python:
        for file, head in (("physics.py", "def oscillator"), ("motion.py", "def motion")):
            if text.startswith(head):
                (tmp_path / file).write_text(text, encoding="utf-8")
    for file, text in zip(("pinn.toml", "surrogate.toml"), toml, strict=True):
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_python_examples_run(reader, capsys):
    """They train, print the damping with its unit, and simulate from a known state."""
    pytest.importorskip("diffrax")
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert capsys.readouterr().out.count("damping [N s/m]") == 2
    for learner in ("learner", "surrogate", "grey"):
        assert np.isfinite(names[learner].history[-1].train_loss)
    assert names["y"].shape == (50, 1)
    assert abs(names["y"][0, 0] - 1.0) < 1e-5


@pytest.mark.slow
def test_the_experiments_and_their_commands_run(reader, tsjax):
    """Each line of the console blocks, on the experiments and the equations of the blocks."""
    install, *use = blocks("console")
    assert install == "$ pip install tsjax-pinn\n"
    for line in "".join(use).splitlines():
        status, _, _ = tsjax(*shlex.split(line.removeprefix("$ tsjax ")))
        assert status == 0, line
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
