"""The blocks of docs/training do what they say, in the order of each page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tsjax_core import cli
from tsjax_core.data.simulated import write_duffing

FOLDER = Path(__file__).parents[2] / "docs" / "training"
# A block of a file carries its name beside its language: ```toml experiment.toml
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a directory as the reader has it after `tsjax demo --data-only`."""
    folder = tmp_path_factory.mktemp("reader")
    write_duffing(folder / "tsjax-demo" / "data", n_train=2, n=1024)
    return folder


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_the_blocks_of_a_page_run_in_order(page, folder, monkeypatch, capsys):
    """Python in one namespace, files written as they stand, and every command with status 0."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for language, file, text in FENCE.findall((FOLDER / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, page, "exec"), names)
        elif language == "toml":
            Path(file).write_text(text)
        else:
            assert language == "console"
            for line in text.splitlines():
                monkeypatch.setattr(sys, "argv", line.removeprefix("$ ").split())
                with pytest.raises(SystemExit) as left:
                    cli.main()
                print(line, capsys.readouterr().out, sep="\n")
                assert not left.value.code


def test_the_overview_names_every_page():
    """Each page is linked, and each link leads to a page."""
    linked = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "README.md").read_text()))
    assert linked == {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
