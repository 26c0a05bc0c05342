"""The pages in docs/contract say what the conformance kit checks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from tsjax_core.testing import clauses_of
from tsjax_core.testing.pages import CONTRACTS, GUIDES, pages

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDER = Path(__file__).parents[2] / "docs" / "contract"


def test_pages_are_those_of_the_code():
    """Each page is what `python -m tsjax_core.testing docs/contract` writes, or is linked there."""
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    by_hand = {f"{name}.md" for name in GUIDES}
    assert {name: text for name, text in found.items() if name not in by_hand} == pages()
    assert found.keys() == pages().keys() | by_hand


@pytest.mark.parametrize("name", GUIDES)
def test_the_blocks_of_a_guide_run(name, reader, monkeypatch):
    """Those in Python, in one namespace; those in TOML can be read."""
    monkeypatch.chdir(reader)
    names: dict = {"__name__": "guide"}
    # Options are read from a module's names, as those of a plugin are.
    monkeypatch.setitem(sys.modules, "guide", types.SimpleNamespace(**names))
    for language, text in FENCE.findall((FOLDER / f"{name}.md").read_text(encoding="utf-8")):
        if language == "toml":
            tomllib.loads(text)
        else:
            assert language == "python"
            exec(compile(text, name, "exec"), names)


def test_command_writes_the_pages(tmp_path):
    """The command tells each file that it writes."""
    done = subprocess.run(
        [sys.executable, "-m", "tsjax_core.testing", tmp_path / "contract"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {Path(line).name for line in done.stdout.splitlines()} == set(pages())
    assert {path.name: path.read_text() for path in (tmp_path / "contract").iterdir()} == pages()


@pytest.mark.parametrize("name", CONTRACTS)
def test_page_has_every_fact_and_every_clause(name):
    """Each fact that must be declared, and each clause with one sentence, or the base's page."""
    contract = CONTRACTS[name]
    text = pages()[f"{name}.md"]
    if name in ("stateful-model", "carrying-model"):
        text += pages()["model.md"] + pages()["stateful-model.md"]
    for fact in contract.facts:
        assert f"| `{fact}` (required) | " in text
    for clause, check in clauses_of(contract).items():
        assert f"| `{clause}` | {check.__doc__} |" in text
        assert check.__doc__.endswith(".")
