"""What the distributions are built into."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sources(tree: Path, distribution: str) -> set[str]:
    """Files of the package that git tracks, as a wheel names them."""
    package = distribution.replace("-", "_")
    (source,) = tree.glob(f"*/src/{package}" if package == "tsjax_core" else f"*/*/src/{package}")
    found = (path for path in source.rglob("*") if path.is_file())
    return {path.relative_to(source.parent).as_posix() for path in found}


def test_a_wheel_has_the_package_and_its_metadata(distribution, tree, wheels):
    """Every tracked file of the package, the licence, the entry point, and nothing else."""
    files = files_of(wheels[distribution])
    package, namespace = distribution.replace("-", "_"), distribution.removeprefix("tsjax-")
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    expected = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert set(files) == sources(tree, distribution) | {f"{info}/{name}" for name in expected}
    assert files[f"{package}/py.typed"] == b""
    assert files[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    entry = f"[tsjax]\n{namespace} = {package}._plugin\n"
    assert entry in files[f"{info}/entry_points.txt"].decode()
    metadata = files[f"{info}/METADATA"].decode()
    readme = (tree / ("tsjax_core" if namespace == "core" else f"plugins/{package}")) / "README.md"
    assert readme.read_text(encoding="utf-8").strip() in metadata


def test_a_wheel_has_no_tests_and_no_strays(distribution, wheels):
    """Neither tests nor what tools leave behind are shipped."""
    assert strays(files_of(wheels[distribution])) == []


def strays(files: dict[str, bytes]) -> list[str]:
    parts = ("tests", "__pycache__", ".DS_Store", "conftest.py", "uv.lock", ".gitignore")
    # What `tsjax new` copies has tests of its own, and those are meant.
    searched = {name: name.removeprefix("tsjax_core/_template/tests/") for name in files}
    return [
        name
        for name, part in searched.items()
        if set(part.split("/")) & set(parts) or "/test_" in part
    ]


@pytest.mark.parametrize(
    "stray",
    [
        "tests/test_a.py",
        "tsjax_tcn/test_a.py",
        "tsjax_tcn/__pycache__/a.pyc",
        "tsjax_core/_template/tests/__pycache__/a.pyc",
    ],
)
def test_a_stray_file_would_be_found(stray):
    """The search passes the package's own modules and finds what does not belong."""
    own = (
        "tsjax_tcn/_plugin.py",
        "tsjax_core/testing/a.py",
        "tsjax_core/_template/tests/test_a.py",
    )
    assert strays(dict.fromkeys(own, b"")) == []
    assert strays({stray: b""}) == [stray]


def test_what_git_does_not_track_is_not_copied(tree):
    """Environments, caches and locks of the working copy are not in the tree that is built."""
    assert (tree / "tsjax_core" / "src" / "tsjax_core" / "_plugin.py").exists()
    for name in (".venv", ".git", ".jax_cache", "uv.lock"):
        assert not (tree / name).exists()


@pytest.fixture(scope="session")
def rebuilt(tree, build):
    """The wheels that are built from source archives, as `uv build` does unless told otherwise."""
    return build(tree)


@pytest.mark.slow
def test_a_source_archive_builds_the_same_wheel(distribution, wheels, rebuilt):
    """Whoever builds from the archive gets the very same files."""
    (archive,) = rebuilt[distribution].parent.glob(f"{distribution.replace('-', '_')}-*.tar.gz")
    with tarfile.open(archive) as members:
        assert any(name.endswith("/pyproject.toml") for name in members.getnames())
    assert files_of(rebuilt[distribution]) == files_of(wheels[distribution])


def test_every_distribution_is_built(wheels, rebuilt):
    """As many as there are folders with a pyproject."""
    names = {"tsjax-core", *(p.parent.name.replace("_", "-") for p in ROOT.glob("plugins/*/src"))}
    assert names == set(wheels) == set(rebuilt)
