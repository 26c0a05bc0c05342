"""The blocks of docs/training do what they say, in the order of each page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "training"
# A block of a file carries its name beside its language: ```toml experiment.toml
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_the_blocks_of_a_page_run_in_order(page, reader, monkeypatch, run_console):
    """Python in one namespace, files written as they stand, and every command with status 0."""
    monkeypatch.chdir(reader)
    names: dict = {}
    for language, file, text in FENCE.findall((FOLDER / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, page, "exec"), names)
        elif language == "toml":
            Path(file).write_text(text)
        else:
            assert language == "console"
            run_console(text)


def test_the_overview_names_every_page():
    """Each page is linked, and each link leads to a page."""
    linked = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "README.md").read_text()))
    assert linked == {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
