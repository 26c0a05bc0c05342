"""The blocks of the README of tsjax-spectral do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

# The README draws figures, which an isolated run cannot.
pytest.importorskip("matplotlib")

README = Path(__file__).parents[2] / "plugins" / "tsjax_spectral" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_python_examples_run(oscillator, tmp_path, monkeypatch, capsys):
    """They train, print the test scores, and draw a frequency response."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsjax-demo").mkdir()
    (tmp_path / "tsjax-demo" / "data").symlink_to(oscillator)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "+-" in capsys.readouterr().out
    assert (tmp_path / "response.png").exists()


def test_the_experiment_and_its_commands_run(oscillator, tmp_path, monkeypatch, tsjax):
    """Each line of the console block, on the data of the demonstration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsjax-demo").mkdir()
    (tmp_path / "tsjax-demo" / "data").symlink_to(oscillator)
    (experiment,) = blocks("toml")
    (tmp_path / "spectral.toml").write_text(experiment)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-spectral\n"
    for line in use.splitlines():
        assert tsjax(*shlex.split(line.removeprefix("$ tsjax ")))[0] == 0, line
    assert list((tmp_path / "runs" / "spectral" / "report").glob("test_*_spectrogram.png"))
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
