"""The blocks of docs/inference.md do what they say, in order."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "inference.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_blocks_of_the_page_run_in_order(reader, monkeypatch):
    """They are Python, in one namespace, and their own asserts hold."""
    monkeypatch.chdir(reader)
    names: dict = {}
    blocks = FENCE.findall(PAGE)
    assert {language for language, _ in blocks} == {"python"}
    for _, text in blocks:
        exec(compile(text, "inference.md", "exec"), names)
    assert names["y"].shape == names["u"].shape


def test_the_readme_leads_to_the_page():
    """Beside the pages on training."""
    assert "(docs/inference.md)" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
