"""What holds for every distribution of the repository, and between them."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tsjax_core.registry.registry import FIRST_PARTY, Registry

ROOT = Path(__file__).parents[2]
CORE = ROOT / "tsjax_core"
DISTRIBUTIONS = [CORE, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
PACKAGES = {folder.name for folder in DISTRIBUTIONS}
HEAVY = {"grain", "h5py", "matplotlib", "orbax", "ray", "typer"}

each_distribution = pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda f: f.name)


def read_pyproject(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def siblings_imported(package: str, source: str) -> set[str]:
    """Distributions beside `package`'s own and core that a module imports, at whatever depth."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return {name.partition(".")[0] for name in names} & PACKAGES - {package, "tsjax_core"}


def loaded_after(statement: str) -> set[str]:
    """Packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_versions_are_fixed_without_a_lock_file():
    """Resolution stops at a date, and the lock that it makes is not for git."""
    assert read_pyproject(ROOT)["tool"]["uv"]["exclude-newer"]
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()


class TestShape:
    @each_distribution
    def test_every_distribution_has_the_same_files(self, folder):
        """A distribution has a README, the licence, and a typed package with a plugin module."""
        package = f"src/{folder.name}"
        expected = ["README.md", *(f"{package}/{f}" for f in ("__init__.py", "_plugin.py"))]
        assert [name for name in expected if not (folder / name).is_file()] == []
        assert (folder / package / "py.typed").read_bytes() == b""
        # A link would leave the distribution, and building refuses that.
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        assert [path.name for path in (folder / "src").iterdir() if path.is_dir()] == [folder.name]

    @each_distribution
    def test_every_distribution_has_tests(self, folder):
        """The tests of a distribution stand in the folder of its name."""
        assert list((ROOT / "tests" / folder.name).rglob("test_*.py"))

    @each_distribution
    def test_every_pyproject_says_the_same(self, folder):
        """Distributions differ only in name, description, dependencies and scripts."""
        pyproject, core = read_pyproject(folder), read_pyproject(CORE)
        name = folder.name.replace("_", "-")
        namespace = name.removeprefix("tsjax-")
        project = pyproject["project"]
        assert project["name"] == name
        assert project["description"]
        assert project["entry-points"] == {"tsjax": {namespace: f"{folder.name}._plugin"}}
        for key in ("version", "requires-python", "license", "classifiers", "readme"):
            assert project[key] == core["project"][key], key
        assert pyproject["build-system"] == core["build-system"]
        wheel = {"wheel": {"packages": [f"src/{folder.name}"]}}
        assert pyproject["tool"] == {"hatch": {"build": {"targets": wheel}}}

    @each_distribution
    def test_plugins_depend_on_core_alone_of_tsjax(self, folder):
        """Of the project's distributions, a plugin requires core, and core none."""
        required = read_pyproject(folder)["project"]["dependencies"]
        major, minor, _ = read_pyproject(CORE)["project"]["version"].split(".")
        expected = [] if folder == CORE else [f"tsjax-core>={major}.{minor}"]
        assert [r for r in required if r.startswith("tsjax")] == expected
        assert required == sorted(required)

    @each_distribution
    def test_the_workspace_knows_every_distribution(self, folder):
        """The root installs every distribution, editable, and checks its types."""
        root, name = read_pyproject(ROOT), folder.name.replace("_", "-")
        assert name in [d.partition("[")[0] for d in root["project"]["dependencies"]]
        assert root["tool"]["uv"]["sources"][name] == {"workspace": True}
        assert str((folder / "src").relative_to(ROOT)) in root["tool"]["mypy"]["mypy_path"]

    def test_missing_namespaces_are_told_by_distribution(self):
        """The registry knows the distribution of each namespace that the project publishes."""
        names = {folder.name.replace("_", "-") for folder in DISTRIBUTIONS}
        assert {name.removeprefix("tsjax-"): name for name in names} == FIRST_PARTY


class TestImports:
    @each_distribution
    def test_no_distribution_imports_a_sibling(self, folder):
        """A plugin imports core and no other plugin; core imports no plugin."""
        for path in (folder / "src").rglob("*.py"):
            if "_template" in path.parts:
                continue
            assert siblings_imported(folder.name, path.read_text(encoding="utf-8")) == set(), path

    @pytest.mark.parametrize(
        "source",
        [
            "import tsjax_tcn",
            "import tsjax_tcn.layers as layers",
            "from tsjax_tcn.layers import TCN",
            "def build():\n    from tsjax_tcn import TCN",
            "import importlib\nimportlib.import_module('tsjax_tcn.layers')",
        ],
    )
    def test_an_import_of_a_sibling_would_be_found(self, source):
        """The search finds a sibling however it is imported, and passes the package's own."""
        assert siblings_imported("tsjax_ar", source) == {"tsjax_tcn"}
        assert siblings_imported("tsjax_tcn", source) == set()
        assert siblings_imported("tsjax_ar", source.replace("tsjax_tcn", "tsjax_core")) == set()

    def test_importing_core_is_cheap(self):
        """`import tsjax_core` loads no plugin and nothing that is heavy."""
        assert loaded_after("import tsjax_core") & (HEAVY | PACKAGES) == {"tsjax_core"}

    def test_listing_plugins_is_cheap(self):
        """To list what all plugins offer loads neither Ray nor matplotlib."""
        loaded = loaded_after("from tsjax_core.registry.registry import installed; installed()")
        assert loaded >= PACKAGES
        assert loaded & {"ray", "matplotlib"} == set()

    def test_a_heavy_import_would_be_found(self):
        """The search finds each package that core must not load, once something loads it."""
        # The parent of a namespace package is loaded only with a part of it.
        parts = sorted(HEAVY - {"orbax"} | {"orbax.checkpoint"} | PACKAGES)
        assert loaded_after(f"import {', '.join(parts)}") >= HEAVY | PACKAGES


class TestInstalled:
    def test_every_distribution_registers(self):
        """Each distribution is installed in the version of its source, and can be used."""
        infos = {info.namespace: info for info in Registry.installed().plugins()}
        for folder in DISTRIBUTIONS:
            project = read_pyproject(folder)["project"]
            info = infos[project["name"].removeprefix("tsjax-")]
            print(info)
            assert (info.distribution, info.status) == (project["name"], "ok")
            assert info.version == project["version"] == metadata.version(project["name"])

    def test_every_component_resolves_and_has_its_name_back(self):
        """What a plugin says it offers resolves, and the component is registered by that name."""
        registry = Registry.installed()
        for info in registry.plugins():
            for kind in info.offers:
                for name in info.names(kind):
                    component = registry.resolve(kind, name)
                    assert registry.qualified_name(kind, component) == name
