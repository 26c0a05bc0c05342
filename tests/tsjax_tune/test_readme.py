"""The blocks of the README of tsjax-tune do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tsjax_core import load_model
from tsjax_core.data.simulated import write_duffing

README = Path(__file__).parents[2] / "plugins" / "tsjax_tune" / "README.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_blocks_are_known():
    """Each is run below, or is the output of one that is."""
    assert [kind for kind, _ in BLOCKS] == ["console", "toml", "text", "python"]
    assert BLOCKS[0][1] == "$ pip install tsjax-tune\n"


@pytest.mark.slow
def test_the_study_runs(ray, tsjax, tmp_path, monkeypatch):
    """With fewer trials and epochs, on simulated data; it prints what the README shows."""
    write_duffing(tmp_path / "data" / "cascaded_tanks", n_train=1, n=820)
    monkeypatch.chdir(tmp_path)
    study = BLOCKS[1][1].replace("epochs = 100", "epochs = 2")
    (tmp_path / "study.toml").write_text(study, encoding="utf-8")
    status, out, _ = tsjax("tune", "study.toml", "--trials", "2")
    assert status == 0
    shown = [line for line in BLOCKS[2][1].splitlines() if not line.startswith(("$", "│", "..."))]
    said = [_words(line) for line in out.splitlines()]
    for line in shown[-6:]:
        assert _words(line) in said


@pytest.mark.slow
def test_the_python_example_runs(ray, tmp_path, monkeypatch, capsys):
    """On the data of `tsjax demo`, it finds a model that loads."""
    write_duffing(tmp_path / "tsjax-demo" / "data", n_train=2, n=1024)
    monkeypatch.chdir(tmp_path)
    # As in a script: workers get its functions by value.
    names: dict = {"__name__": "__main__"}
    exec(compile(BLOCKS[3][1], "README.md", "exec"), names)
    assert "hidden_size" in capsys.readouterr().out
    assert len(names["study"].ranking) == 2
    assert len((tmp_path / "studies" / "trials.csv").read_text().splitlines()) == 3
    assert load_model(tmp_path / "studies" / "best_model") is not None


def _words(line: str) -> str:
    """Return a line without numbers and without the frame of a table."""
    return " ".join(re.sub(r"\d+", "N", line).split())
