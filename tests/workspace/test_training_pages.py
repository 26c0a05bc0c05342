"""The blocks of docs/training do what they say, in the order of each page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "training"
# A block of a file carries its name beside its language: ```toml experiment.toml
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


LONG = ("devices.md", "populations.md")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path.name, marks=pytest.mark.slow) if path.name in LONG else path.name
        for path in sorted(FOLDER.glob("*.md"))
    ],
)
def test_the_blocks_of_a_page_run_in_order(page, reader, monkeypatch, run_console):
    """Python in one namespace, files written as they stand, and every command with status 0.

    Commands of a `console` block run in this process, those of an `sh` block in a shell.
    """
    monkeypatch.chdir(reader)
    names: dict = {}
    for language, file, text in FENCE.findall((FOLDER / page).read_text(encoding="utf-8")):
        if file:
            Path(file).write_text(text)
        elif language == "python":
            exec(compile(text, page, "exec"), names)
        elif language == "sh":
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(["bash", "-ec", text], env={**os.environ, "PATH": path}, check=True)
        else:
            assert language == "console"
            run_console(text)


def test_the_overview_names_every_page():
    """Each page is linked, and each link leads to a page."""
    linked = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "README.md").read_text()))
    assert linked == {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
