"""The blocks of the README of tsjax-quat do what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

# The README draws figures, which an isolated run cannot.
pytest.importorskip("matplotlib")

README = Path(__file__).parents[2] / "plugins" / "tsjax_quat" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    """It trains from records in memory and prints the test score in degrees."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), names)
    assert "rms_inclination_deg" in capsys.readouterr().out
    learner = names["learner"]
    assert learner.history[-1].valid_loss < learner.history[0].valid_loss


def test_the_experiment_and_its_commands_run(turning, tmp_path, monkeypatch, tsjax):
    """Each line of the console block, on files of a turning sensor."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imu").symlink_to(turning)
    (experiment,) = blocks("toml")
    short = experiment.replace("win_sz = 100", "win_sz = 40").replace("stp_sz = 50", "stp_sz = 20")
    (tmp_path / "attitude.toml").write_text(short)
    install, use = blocks("console")
    assert install == "$ pip install tsjax-quat\n"
    for line in use.splitlines():
        assert tsjax(*shlex.split(line.removeprefix("$ tsjax ")))[0] == 0, line
    assert (tmp_path / "runs" / "attitude" / "report" / "test_0_errors.png").exists()
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
