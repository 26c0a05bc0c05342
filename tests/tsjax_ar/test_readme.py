"""The blocks of the README of tsjax-ar do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_ar" / "README.md"
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
    """They train, print the test scores, simulate, and predict ahead."""
    monkeypatch.chdir(reader)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "fit_percent" in capsys.readouterr().out
    assert np.isfinite(names["simulated"]).all()
    np.testing.assert_allclose(names["later"], names["longer"][60:], atol=1e-4)
    assert names["ten_steps"].shape == names["one_step"].shape == names["y"].shape


@pytest.mark.slow
def test_the_experiment_and_its_commands_run(reader, monkeypatch, tsjax):
    """Each line of the console block, on the experiment of the block before it."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    (reader / "ar.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-ar\n"
    for line in use.splitlines():
        status, _, _ = tsjax(*shlex.split(line.removeprefix("$ tsjax ")))
        assert status == 0, line
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
