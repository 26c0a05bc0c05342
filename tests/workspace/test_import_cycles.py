"""No module of a distribution imports another one that imports it, directly or on the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    path for path in ROOT.glob("*/src/tsjax_*") if path.is_dir() and "_template" not in path.parts
) + sorted(ROOT.glob("plugins/*/src/tsjax_*"))


def imported(node: ast.AST, *, within_functions: bool) -> Iterator[str]:
    """Yield the modules that are imported when code runs; those for type checkers are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not within_functions:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from imported(child, within_functions=within_functions)


def graph(package: Path, *, within_functions: bool = True) -> dict[str, set[str]]:
    """Return for each module of a package the modules of it that it imports."""
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in package.rglob("*.py")
        if "_template" not in path.parts
    }
    return {
        name: {
            other
            for other in imported(
                ast.parse(path.read_text("utf-8")), within_functions=within_functions
            )
            if other in files and other != name
        }
        for name, path in files.items()
        # What a package offers at its top is imported from everywhere, and imports everything.
        if not name.endswith("__init__")
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_imports_have_no_circle(package):
    """Neither at the top of a module nor within functions."""
    try:
        list(TopologicalSorter(graph(package)).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_circle_would_be_found(tmp_path):
    """Also one that a function closes, and not one for type checkers alone."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "a.py").write_text("from pack.b import x\n")
    (package / "b.py").write_text("def f():\n    from pack import a\n")
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph(package)).static_order())
    (package / "b.py").write_text("if TYPE_CHECKING:\n    from pack.a import x\n")
    assert list(TopologicalSorter(graph(package)).static_order()) == ["pack.b", "pack.a"]
