"""The pages in docs/contract say what the conformance kit checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tsjax_core.testing import clauses_of
from tsjax_core.testing.pages import CONTRACTS, pages

FOLDER = Path(__file__).parents[2] / "docs" / "contract"


def test_pages_are_those_of_the_code():
    """Each page is what `python -m tsjax_core.testing docs/contract` writes; there is no other."""
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == pages()


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
    if name == "stateful-model":
        text += pages()["model.md"]
    for fact in contract.facts:
        assert f"| `{fact}` (required) | " in text
    for clause, check in clauses_of(contract).items():
        assert f"| `{clause}` | {check.__doc__} |" in text
        assert check.__doc__.endswith(".")
