"""The blocks of the README of tsjax-tcn do what they say."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "plugins" / "tsjax_tcn" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_python_example_runs(reader, monkeypatch, capsys):
    """It trains, prints the test scores, and simulates chunk by chunk."""
    monkeypatch.chdir(reader)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "fit_percent" in capsys.readouterr().out
    assert names["y"].shape[1:] == (1, 1)


def test_the_experiment_and_its_commands_run(reader, monkeypatch, run_console):
    """Each line of the console block, on the experiment of the block before it."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    (reader / "tcn.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-tcn\n"
    run_console(use)
    assert (reader / "runs" / "tcn" / "report" / "test_arrow.png").exists()
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
