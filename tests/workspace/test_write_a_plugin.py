"""Every block of docs/write-a-plugin.md does what it says, in the order in which it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-a-plugin.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:py|toml))`:\n\n\Z")
"""A file is named at the end of the line before its block."""


@dataclass(frozen=True)
class Block:
    """One block, and the file that is named before it."""

    kind: str
    text: str
    file: str | None


def read_blocks(page: str) -> list[Block]:
    blocks: list[Block] = []
    for found in BLOCK.finditer(page):
        named = FILE.search(page[: found.start()])
        blocks.append(Block(found[1], found[2], named[1] if named else None))
    return blocks


class Reader:
    """Somebody who types what the page says, in a shell of their own."""

    def __init__(self, folder: Path, programs: Path, **settings: str) -> None:
        self.folder, self.here = folder / "empty", folder / "empty"
        self.state = folder / "state.sh"
        self.typed: list[str] = []
        self.here.mkdir()
        self.state.touch()
        kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        self.settings = {**kept, **settings, "PATH": f"{programs}:{os.environ['PATH']}"}

    def type(self, command: str) -> str:
        """Run one line of the shell, which remembers directory and environment."""
        after = f"s=$?; {{ declare -px; printf 'cd %q\\n' \"$PWD\"; }} >{self.state}; exit $s"
        done = subprocess.run(
            ["bash", "-c", f". {self.state}; {command}\n{after}"],
            cwd=self.folder,
            env=self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        self.typed.append(command)
        print(f"$ {command}\n{done.stdout}-> {done.returncode}")
        self.here = Path(self.state.read_text(encoding="utf-8").rsplit("\ncd ", 1)[1].strip())
        self.status = done.returncode
        return done.stdout


def assert_told(shown: list[str], real: str) -> None:
    """Every line shown is printed, in that order; `...` stands for anything."""
    lines = iter(real.splitlines())
    for line in shown:
        if line == "...":
            continue
        pattern = ".*".join(re.escape(part) for part in line.split("..."))
        assert any(re.match(pattern, each) for each in lines), f"{line!r} is not printed"


def follow(block: Block, reader: Reader) -> None:
    if block.kind == "console":
        for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *shown = step.splitlines()
            real = reader.type(command)
            assert_told(shown, real)
            failing = any(line.startswith("FAILED ") for line in shown)
            assert reader.status == (1 if failing else 0), command
    elif block.kind == "diff":
        change(block, reader.here)
    elif block.file and not (reader.here / block.file).exists():
        (reader.here / block.file).write_text(block.text, encoding="utf-8")
    else:
        # What is there already is quoted.
        files = [p for p in reader.here.rglob("*") if p.suffix in (".py", ".toml")]
        assert any(block.text in p.read_text(encoding="utf-8") for p in files), block.text


def change(block: Block, folder: Path) -> None:
    """Change the file as a diff shows it: its lines without - take the place of those without +."""
    lines = block.text.splitlines(keepends=True)
    old, new = ("".join(x[1:] for x in lines if x[0] != sign) for sign in "+-")
    file = folder / str(block.file)
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} does not stand once in {file}"
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def reader(wheels, tmp_path) -> Reader:
    """A reader with nothing but Python, whose pip finds core's wheel, and else our versions."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    ours = {each.name: each.version for each in metadata.distributions()}
    pins = [f"{name}=={v}\n" for name, v in ours.items() if not name.startswith("tsjax")]
    (tmp_path / "versions.txt").write_text("".join(pins))
    return Reader(
        tmp_path,
        programs,
        PIP_CONSTRAINT=str(tmp_path / "versions.txt"),
        PIP_FIND_LINKS=str(wheels["tsjax-core"].parent),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )


def jobs_of(project: Path) -> dict[str, list[str]]:
    """Return the commands of the plugin's own workflow."""
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    return {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in workflow["jobs"].items()
    }


@pytest.mark.slow
def test_a_reader_has_a_plugin_that_can_be_published(reader):
    """From an empty directory, word for word; then the plugin's own workflow passes and builds."""
    for block in read_blocks(PAGE.read_text(encoding="utf-8")):
        follow(block, reader)
    jobs = jobs_of(reader.here)
    for command in jobs["test"] + jobs["build"]:
        # All but what the page had the reader type already.
        if command not in reader.typed:
            reader.type(command)
            assert reader.status == 0
    built = sorted(path.name for path in (reader.here / "dist").iterdir())
    assert built == ["tsjax_acme-0.1.0-py3-none-any.whl", "tsjax_acme-0.1.0.tar.gz"]


LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_links_lead_somewhere():
    """Every page and file that is linked exists."""
    targets = LINK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(targets) > 5
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


@pytest.mark.parametrize(
    "shown,real",
    [
        (["b"], "a\n"),
        (["b", "a"], "a\nb\n"),
        (["a", "..."], "b\n"),
        (["1 ... 3"], "1 2\n"),
    ],
)
def test_an_output_that_is_not_printed_would_be_found(shown, real):
    """A line that is missing, out of order, or other than shown."""
    with pytest.raises(AssertionError, match="is not printed"):
        assert_told(shown, real)
    assert_told(["a", "...", "1 ... 3"], "x\na\nb\n1 2 3\n")


def test_a_file_that_is_not_as_quoted_would_be_found(tmp_path):
    """A quotation must stand in a file, and a change must fit."""
    reader = Reader(tmp_path, tmp_path)
    reader.here.joinpath("a.py").write_text("x = 1\ny = 2\n")
    follow(Block("python", "x = 1\n", None), reader)
    with pytest.raises(AssertionError, match="z = 3"):
        follow(Block("python", "z = 3\n", None), reader)
    with pytest.raises(AssertionError, match="does not stand once"):
        follow(Block("diff", "-x = 2\n+x = 3\n", "a.py"), reader)
    follow(Block("diff", " x = 1\n-y = 2\n+y = 3\n", "a.py"), reader)
    assert (reader.here / "a.py").read_text() == "x = 1\ny = 3\n"
