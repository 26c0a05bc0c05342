"""The benchmarks: commands, help, reports, and what they say when something is missing."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
[data]
dataset = "data"
u = ["u"]
y = ["y"]
win_sz = 40
stp_sz = 40
bs = 8
n_batches = 4

[model]
name = "core/rnn"
hidden_size = 3
"""
TINY = {
    "training": "--cells rnn tcn --cases tiny --steps 2 --samples 3000",
    "startup": "--samples 3000 --case tiny",
    "data": "--samples 3000",
    "simulation": "--samples 300 --hidden 4",
    "streaming_step": "--hidden 4",
    "memory": "--samples 3000 --case tiny --steps 2",
    "scaling": "--sizes 3000 --steps 1",
    "population": "--members 3 --hidden 4 --batch 4 --window 20 --steps 2 --epochs 1",
    "accuracy": "{experiment} --steps 8 --skip 5 --alone",
}


@pytest.fixture
def benchmarks(monkeypatch):
    """Make the package importable, as it is from the root of a clone."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.__main__")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "TSJAX_PEERS"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["trainnig"]])
def test_without_a_known_name_all_are_listed(benchmarks, monkeypatch, capsys, arguments):
    """The exit status is 2, and every command stands in the list."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    assert benchmarks.main() == 2
    told = capsys.readouterr().err
    print(told)
    assert told.startswith("there is no benchmark 'trainnig'" if arguments else "name a benchmark")
    assert all(f"\n  {name} " in told for name in [*benchmarks.COMMANDS, "all"])


def test_every_command_tells_its_options(benchmarks, capsys):
    """With --help, and with a text of what is measured."""
    for name in benchmarks.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"benchmarks.{name}").main(["--help"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert f"python -m benchmarks {name}" in told
        assert len(told.split("\n\n")[1]) > 40


def test_the_readme_names_every_command(benchmarks):
    """Those in its table are those that there are, and options in its text are accepted."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)", text, re.MULTILINE)) == set(benchmarks.COMMANDS)


def test_an_environment_that_is_none_is_told(tmp_path):
    """The text says how to make one, and the exit status is 1."""
    done = run("streaming_step", "--peers", str(tmp_path))
    print(done.stderr)
    assert done.returncode == 1
    assert f"error: {tmp_path} holds no Python environment. Make one:" in done.stderr
    assert "pip install torch==" in done.stderr


def test_an_experiment_that_is_no_file_is_told():
    """Before anything is started."""
    done = run("accuracy", "nowhere.toml")
    print(done.stderr)
    assert done.returncode == 1
    assert "error: nowhere.toml is no file; give an experiment of tsjax." in done.stderr


def test_ratios_are_taken_within_a_round(benchmarks, capsys):
    """Median and range of the rounds' ratios, which are not the ratio of the medians."""
    report = importlib.import_module("benchmarks.report")
    table = report.Table("work", "windows/s", ["tsjax", "peer", "absent"])
    table.row("gru", {"tsjax": [10.0, 30.0, 20.0], "peer": [5.0, 10.0, 5.0]}, {"absent": "gone"})
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "work: windows/s, more is better; in brackets tsjax / column"
    assert told[3].split() == ["gru", "20", "5", "[3.00,", "2.00..4.00]", "gone"]


def test_turns_go_back_and_forth(benchmarks):
    """Every second round is in reverse, and each contender has one figure a round."""
    turns = importlib.import_module("benchmarks.turns")
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    figures = turns.take_turns({n: (lambda n=n: measure(n)) for n in "ab"}, 3, "work")
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1, 4, 5], "b": [2, 3, 6]}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_commands_run_without_peers(tmp_path, name):
    """Each prints a table with the figures of tsjax, the machine and the versions."""
    from tsjax_core.data.simulated import write_duffing

    experiment = tmp_path / "experiment.toml"
    experiment.write_text(EXPERIMENT, encoding="utf-8")
    if name == "accuracy":
        write_duffing(tmp_path / "data", n_train=1, n=512)
    options = TINY[name].format(experiment=experiment).split()
    timed = [] if name in ("startup", "population", "accuracy") else ["--seconds", "0.01"]
    done = run(name, *options, *timed, "--rounds", "1")
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert ": python 3." in done.stdout
    assert ", 1 rounds" in done.stdout
    figures = [line for line in done.stdout.splitlines() if re.search(r"\s\d+(\.\d+)?\s*", line)]
    assert len(figures) >= 2
