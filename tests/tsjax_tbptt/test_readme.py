"""The blocks of the README of tsjax-tbptt do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_tbptt" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Return a directory as a reader has it after `tsjax demo --data-only`."""
    folder = tmp_path_factory.mktemp("reader")
    write_duffing(folder / "tsjax-demo" / "data", n_train=2, n=1024)
    return folder


def test_the_python_example_runs(reader, monkeypatch, capsys):
    """It trains, prints the test score, and simulates in two parts."""
    monkeypatch.chdir(reader)
    names: dict = {}
    (text,) = blocks("python")
    exec(compile(text, "README.md", "exec"), names)
    assert "fit_percent" in capsys.readouterr().out
    assert len(names["first"]) + len(names["second"]) == len(names["u"])


def test_the_experiment_and_its_commands_run(reader, monkeypatch, tsjax):
    """Each line of the console block, on the experiment of the block before it."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    (reader / "tbptt.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-tbptt\n"
    for line in use.splitlines():
        status, _, err = tsjax(*shlex.split(line.removeprefix("$ tsjax ")))
        assert status == 0, err
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
