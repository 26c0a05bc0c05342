"""The blocks of the README of tsjax-ss do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_ss" / "README.md"
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
    """The nonlinear model is better than the linear one, and the best seed is kept."""
    monkeypatch.chdir(reader)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    print(capsys.readouterr().out)
    linear, nonlinear = (
        names[name].evaluate("test").metrics["rmse"] for name in ("linear", "learner")
    )
    assert nonlinear < 0.7 * linear
    assert names["best"].seed in range(3)
    assert names["blocks"].spec.order == 2
    assert names["blocks"].spec.channels == 1


@pytest.mark.slow
def test_the_experiment_and_its_commands_run(reader, monkeypatch, tsjax):
    """Each line of the console block, on the experiment of the block before it."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    (reader / "ss.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-ss\n"
    for line in use.splitlines():
        status, _, _ = tsjax(*shlex.split(line.removeprefix("$ tsjax ")))
        assert status == 0, line
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
