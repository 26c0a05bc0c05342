"""Every block of the README does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def commands(text: str) -> list[str]:
    return [line.removeprefix("$ ") for line in text.splitlines()]


INSTALL, DEVELOP, FIT, USE = blocks("console")


def in_shell(command: str, folder: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would whose environment has its programs in `programs`."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**kept, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(command, done.stdout, done.stderr, sep="\n")
    return done


def test_every_block_is_of_a_kind_that_is_tested():
    """Python, TOML, and console blocks whose lines are all commands."""
    assert {kind for kind, _ in BLOCKS} == {"python", "toml", "console"}
    for text in blocks("console"):
        assert all(line.startswith("$ ") for line in text.splitlines())


def test_the_example_is_short_and_runs(reader, monkeypatch, capsys):
    """At most 20 lines from arrays to a prediction."""
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(reader)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["y"].shape == (4,)
    assert "fit_percent" in capsys.readouterr().out


def test_the_commands_run_one_after_the_other(reader, monkeypatch, run_console):
    """Train, evaluate, predict, change, list and show, in the order of the README."""
    monkeypatch.chdir(reader)
    (experiment,) = blocks("toml")
    Path("experiment.toml").write_text(experiment)
    run_console(FIT)
    run_console(USE)
    assert Path("runs/first/report/test_arrow.png").exists()
    assert Path("simulated.csv").exists()


@pytest.fixture
def clone(tmp_path) -> Path:
    """Return a copy of the files that git tracks, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = tmp_path / "tsjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path / "tsjax"


def in_new_environment(clone: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment_folder = clone.parent / "env"
    subprocess.run([sys.executable, "-m", "venv", environment_folder], check=True)
    return in_shell(command, clone, environment_folder / "bin")


@pytest.mark.slow
def test_the_first_command_installs_and_demonstrates(clone):
    """In a new environment: on both files the model halves the linear error."""
    done = in_new_environment(clone, commands(INSTALL)[0])
    assert done.returncode == 0
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[1].strip()[:8] for row in rows] == ["this one", "linear ("] * 3
    nrmse = [float(row[2]) for row in rows]
    assert nrmse[0] < 0.5 * nrmse[1]
    assert nrmse[2] < 0.5 * nrmse[3]
    assert (clone / "tsjax-demo" / "run" / "report" / "test_arrow.png").exists()


@pytest.mark.slow
def test_the_second_command_installs_everything_and_tests(clone):
    """In a new environment; of the tests, only a few are run here again."""
    command = commands(DEVELOP)[0]
    assert command.endswith("uv run pytest")
    done = in_new_environment(clone, f"{command} -q tests/tsjax_core/losses")
    assert done.returncode == 0
    assert " passed" in done.stdout
