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


@pytest.mark.slow
def test_the_python_example_runs(ray, tmp_path, monkeypatch, capsys):
    """On the data of `tsjax demo`, it finds a model that loads."""
    write_duffing(tmp_path / "tsjax-demo" / "data", n_train=2, n=1024)
    monkeypatch.chdir(tmp_path)
    assert [kind for kind, _ in BLOCKS] == ["console", "python"]
    assert BLOCKS[0][1] == "$ pip install tsjax-tune\n"
    # As in a script: workers get its functions by value.
    names: dict = {"__name__": "__main__"}
    exec(compile(BLOCKS[1][1], "README.md", "exec"), names)
    assert "hidden_size" in capsys.readouterr().out
    assert len(names["study"].ranking) == 2
    assert len((tmp_path / "studies" / "trials.csv").read_text().splitlines()) == 3
    assert load_model(tmp_path / "studies" / "best_model") is not None
