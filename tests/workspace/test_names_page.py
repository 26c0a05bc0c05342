"""The page docs/names.md has the text of every error of names and plugins, as it is raised."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
from pathlib import Path

import pytest

from tsjax_core import errors
from tsjax_core.errors import PluginError
from tsjax_core.registry import component_checks, plugin_loading, registry

WRITER = runpy.run_path(str(Path(__file__).with_name("names_page.py")))
PAGE = WRITER["PAGE"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """Class and text of each error by what was asked for."""
    return WRITER["raise_errors"](tmp_path_factory.mktemp("site"))


def test_every_error_is_on_the_page_as_it_is_raised(told):
    """Word for word, in a block of its own, under the name of its class.

    `uv run python tests/workspace/names_page.py` writes the blocks.
    """
    for asked, (kind, text) in told.items():
        print(f"{asked} -> {kind}\n{text}\n")
    asked_on_page = [asked for asked, _ in WRITER["BLOCK"].findall(PAGE)]
    assert sorted(asked_on_page) == sorted(told)
    assert WRITER["fill"](PAGE, told) == PAGE
    for kind, text in told.values():
        sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
        (section,) = [part for part in sections if text in part]
        assert kind == "status" or f"`{kind}`" in section, text


def family() -> set[str]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name for name, each in classes if issubclass(each, PluginError)}


def test_every_class_of_the_family_is_on_the_page(told):
    """None is missing, and each but the base is raised here."""
    assert [name for name in family() if f"`{name}`" not in PAGE] == []
    assert family() - {kind for kind, _ in told.values()} == {"PluginError"}


def fragments(source: str) -> list[str]:
    """The literal parts of every text that a module puts together, docstrings left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(0)
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [" ".join(text.split()) for text in texts if " " in text.strip()]


def missing(source: str) -> list[str]:
    page = " ".join(PAGE.split())
    return [fragment for fragment in fragments(source) if fragment not in page]


@pytest.mark.parametrize("module", [registry, plugin_loading, component_checks], ids=str)
def test_no_text_of_the_code_is_missing(module):
    """Each literal of more than one word that the module can put into a text is on the page."""
    assert missing(inspect.getsource(module)) == []


def test_a_new_text_would_be_missed():
    """The search reads texts that are put together, and passes docstrings and short words."""
    source = inspect.getsource(plugin_loading)
    changed = source.replace("fails to import", "refuses to load")
    assert changed != source
    assert len(missing(changed)) == 1
    assert "refuses to load" in missing(changed)[0]
    assert missing("def f():\n    '''What f does.'''\n    return 'word'") == []
