"""The blocks of the README of tsjax-tcn do what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tsjax_core import cli
from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_tcn" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a directory as the reader has it after `tsjax demo`."""
    folder = tmp_path_factory.mktemp("reader")
    write_duffing(folder / "tsjax-demo" / "data", n_train=2, n=1024)
    return folder


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_python_example_runs(folder, monkeypatch, capsys):
    """It trains, prints the test scores, and simulates chunk by chunk."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "fit_percent" in capsys.readouterr().out
    assert names["y"].shape[1:] == (1, 1)


def test_the_experiment_and_its_commands_run(folder, monkeypatch, capsys):
    """Each line of the console block, on the experiment of the block before it."""
    monkeypatch.chdir(folder)
    (experiment,) = blocks("toml")
    (folder / "tcn.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-tcn\n"
    for line in use.splitlines():
        monkeypatch.setattr(sys, "argv", line.removeprefix("$ ").split())
        with pytest.raises(SystemExit) as left:
            cli.main()
        print(line, capsys.readouterr().out, sep="\n")
        assert not left.value.code
    assert (folder / "runs" / "tcn" / "report" / "test_arrow.png").exists()
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
