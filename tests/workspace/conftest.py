"""Distributions as their users have them: wheels, installed by uv in environments of their own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uv

from tsjax_core import cli
from tsjax_core.data.simulated import write_duffing

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "tsjax_core", *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Done:
    """A command, its exit status, and what it printed."""

    command: str
    status: int
    out: str
    err: str

    def told(self) -> Done:
        """Print all of it, to be seen where a test fails."""
        print(f"$ {self.command}\n{self.out}{self.err}-> {self.status}\n")
        return self


def run(command: list[object], folder: Path, **settings: str) -> Done:
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**kept, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Done(" ".join(words), done.returncode, done.stdout, done.stderr)


def call_uv(folder: Path, *arguments: object) -> Done:
    """Run uv, which takes the same versions as the workspace, and so those that it has cached."""
    cutoff = PYPROJECT["tool"]["uv"]["exclude-newer"]
    return run([uv.find_uv_bin(), *arguments], folder, UV_EXCLUDE_NEWER=cutoff)


@dataclass(frozen=True)
class Environment:
    """A virtual environment. Its programs run isolated (`python -I`) and outside the repository."""

    folder: Path
    bytecode: Path

    @property
    def work(self) -> Path:
        """Where programs run."""
        return self.folder.with_name("work")

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    @property
    def script(self) -> Path:
        """The program `tsjax`, as installed."""
        return self.folder / "bin" / "tsjax"

    def install(self, *arguments: object) -> Done:
        """Install as `uv pip install` does; the caller judges the status."""
        return call_uv(self.work, "pip", "install", "--python", self.python, *arguments)

    def uninstall(self, *names: str) -> Done:
        """Uninstall as `uv pip uninstall` does."""
        return call_uv(self.work, "pip", "uninstall", "--python", self.python, *names)

    def distributions(self) -> dict[str, str]:
        """Return the version of each installed distribution."""
        listed = call_uv(self.work, "pip", "list", "--format=json", "--python", self.python)
        return {each["name"]: each["version"] for each in json.loads(listed.out)}

    def run(self, *arguments: object) -> Done:
        """Run `python -I`."""
        cache = f"pycache_prefix={self.bytecode}"
        settings = {"PYTHONPYCACHEPREFIX": str(self.bytecode)}
        return run([self.python, "-I", "-X", cache, *arguments], self.work, **settings)

    def tsjax(self, *lines: str) -> list[Done]:
        """Run `tsjax` with each line of arguments, one after the other in one process."""
        done = self.run(Path(__file__).with_name("run_commands.py"), json.dumps(lines))
        assert done.status == 0, done.err
        return [Done(*each) for each in json.loads(done.out)]


def pytest_generate_tests(metafunc):
    """Run a test that takes `distribution` or `plugin` for each of them."""
    for name, folders in (("distribution", FOLDERS), ("plugin", FOLDERS[1:])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, [f.name.replace("_", "-") for f in folders], scope="session")


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """Return a copy of the files that git tracks, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folder = tmp_path_factory.mktemp("tree")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Callable[..., dict[str, Path]]:
    """Return a function that builds the wheels of a workspace, without its sources."""

    def build(workspace: Path, *options: str) -> dict[str, Path]:
        out = tmp_path_factory.mktemp("built")
        options = ("--all-packages", "--no-sources", *options)
        built = call_uv(workspace, "build", *options, "--out-dir", out)
        assert built.status == 0, built.err
        return {w.name.partition("-")[0].replace("_", "-"): w for w in out.glob("*.whl")}

    return build


@pytest.fixture(scope="session")
def wheels(tree, build) -> dict[str, Path]:
    """Return the wheel of each distribution of the repository."""
    return build(tree, "--wheel")


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory) -> Callable[..., Environment]:
    """Return a function that makes an environment with what is given and the tests' packages."""
    bytecode = tmp_path_factory.mktemp("bytecode")
    (bytecode / "env").mkdir()

    def new(name: str, *requirements: object) -> Environment:
        # A module whose tests a process gets in two parts asks for its environment twice.
        folder = tmp_path_factory.mktemp(name)
        environment = Environment(folder / "env", bytecode)
        # All environments have the same packages at the same places, so one compiles for all.
        link = bytecode / environment.folder.relative_to("/")
        link.parent.mkdir(parents=True)
        link.symlink_to(bytecode / "env")
        environment.work.mkdir()
        made = call_uv(folder, "venv", "--python", sys.executable, environment.folder)
        assert made.status == 0, made.err
        group = PYPROJECT["dependency-groups"]["test"]
        installed = environment.install(*requirements, *group)
        assert installed.status == 0, installed.err
        return environment

    return new


@pytest.fixture
def run_console(monkeypatch, capsys):
    """Return a function that runs the lines of a console block, `$ tsjax ...`, in this process.

    Each must end with status 0; what it printed is printed again, and returned.
    """

    def run_console(block: str) -> str:
        told = []
        for line in block.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line.removeprefix("$ ")))
            with pytest.raises(SystemExit) as left:
                cli.main()
            told.append(capsys.readouterr().out)
            print(line, told[-1], sep="\n")
            assert not left.value.code, line
        return "\n".join(told)

    return run_console


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """Return a directory as a reader has it after `tsjax demo --data-only`."""
    folder = tmp_path_factory.mktemp("reader")
    write_duffing(folder / "tsjax-demo" / "data", n_train=2, n=1024)
    return folder
