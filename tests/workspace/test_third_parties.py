"""Plugins of other people that are broken, clash or were made for another core, all installed.

Each is a package with a `pyproject.toml`, built into a wheel and installed beside core and one
distribution of the project. Whatever they do, everything else goes on working.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

CORE = metadata.version("tsjax-core")

MODEL = """
from dataclasses import dataclass
from typing import ClassVar

from tsjax_core import hookimpl


@dataclass(frozen=True)
class Level:
    '''A level.'''

    reads: ClassVar[tuple[str, ...]] = ("u",)
    gain: float = 1.0

    def build(self, signals, *, rngs): ...


@hookimpl
def tsjax_models():
    return {"level": Level}
"""

NEWER_HOOK = MODEL + "\n\n@hookimpl\ndef tsjax_optimizers():\n    return {}\n"


@dataclass(frozen=True)
class Foreign:
    """A distribution of somebody else."""

    namespace: str
    source: str
    core: str = ">=0.1"
    version: str = "1.0"


FOREIGN = {
    "acme-good": Foreign("good", MODEL),
    "acme-shaky": Foreign("shaky", "import not_installed_anywhere\n", version="0.3"),
    "acme-twin": Foreign("twin", MODEL),
    "zenith-twin": Foreign("twin", MODEL, version="2.0"),
    "acme-pinn": Foreign("pinn", MODEL, version="4.1"),
    "acme-core": Foreign("core", MODEL),
    "acme-hook": Foreign("hook", NEWER_HOOK, core=">=9"),
    "acme-name": Foreign("name", "from tsjax_core import StateSpace\n", core=">=9"),
    "acme-next": Foreign("next", MODEL, core=">=9"),
    "acme-later": Foreign("later", MODEL, core=">=9"),
    "acme-ready": Foreign("ready", MODEL),
}
PYPROJECT = """
[build-system]
requires = ["uv_build>=0.9,<1"]
build-backend = "uv_build"

[project]
name = "{name}"
version = "{each.version}"
dependencies = ["tsjax-core{each.core}"]

[project.entry-points.tsjax]
{each.namespace} = "{package}._plugin"
"""

INSTALLED_LATER = {"acme-core", "acme-later", "acme-ready"}

TOO_OLD = (
    f"tsjax-core {CORE} is in use; the plugin asks for tsjax-core>=9. Have the installer find "
    "versions that fit: pip install --upgrade tsjax-core"
)

BROKEN = {
    "shaky": "plugin 'shaky' (acme-shaky 0.3) fails to import 'acme_shaky._plugin': "
    "ModuleNotFoundError: No module named 'not_installed_anywhere'\n"
    "  Fix, update or uninstall acme-shaky; the other plugins are not affected. "
    f"tsjax-core {CORE} is in use; the plugin asks for tsjax-core>=0.1.\n",
    "twin": "2 installed distributions claim the namespace 'twin':\n"
    "  acme-twin 1.0 -> acme_twin._plugin\n  zenith-twin 2.0 -> zenith_twin._plugin\n"
    "Uninstall all but one of them; tsjax does not pick one.\n",
    "pinn": "2 installed distributions claim the namespace 'pinn':\n"
    f"  acme-pinn 4.1 -> acme_pinn._plugin\n  tsjax-pinn {CORE} -> tsjax_pinn._plugin\n"
    "The namespace is that of tsjax-pinn: uninstall acme-pinn.\n",
    "hook": "plugin 'hook' (acme-hook 1.0) defines tsjax_optimizers(), which is not a hook\n"
    "  The hooks are tsjax_models, tsjax_losses, tsjax_metrics, tsjax_transforms, tsjax_sources, "
    f"tsjax_stores, tsjax_plots, tsjax_commands. {TOO_OLD} acme-hook\n",
    "name": "plugin 'name' (acme-name 1.0) fails to import 'acme_name._plugin': "
    "ImportError: cannot import name 'StateSpace' from 'tsjax_core' (%s)\n"
    "  Fix, update or uninstall acme-name; the other plugins are not affected. "
    f"{TOO_OLD} acme-name\n",
}
"""What using each namespace by name says, and `tsjax plugins` too."""

NEXT = (
    "plugin 'next' (acme-next 1.0) can be used, but was made for another core\n"
    f"  {TOO_OLD} acme-next\n"
)


@pytest.fixture(scope="module")
def foreign(build, tmp_path_factory) -> dict[str, Path]:
    """The wheels of other people; uv builds them itself."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers = ['*']\n")
    for name, each in FOREIGN.items():
        package = folder / name / "src" / name.replace("-", "_")
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "_plugin.py").write_text(each.source)
        (folder / name / "pyproject.toml").write_text(
            PYPROJECT.format(name=name, each=each, package=package.name)
        )
    return build(folder, "--wheel")


@pytest.fixture(scope="module")
def crowded(wheels, foreign, new_environment, oscillator):
    """Core, one distribution of the project, and others, whatever core they require."""
    environment = new_environment("crowded", wheels["tsjax-core"], wheels["tsjax-pinn"])
    others = [wheel for name, wheel in foreign.items() if name not in INSTALLED_LATER]
    assert environment.install("--no-deps", *others).told().status == 0
    shutil.copytree(oscillator, environment.work / "data")
    for name, model in (("tiny", "core/rnn"), ("shaky", "shaky/x"), ("twin", "twin/level")):
        (environment.work / f"{name}.toml").write_text(
            "[data]\ndataset = 'data'\nu = ['u']\ny = ['y']\nwin_sz = 40\nstp_sz = 40\nbs = 8\n"
            f"[model]\nname = '{model}'\n[train]\nepochs = 1\n"
        )
    return environment


COMMANDS = (
    "plugins",
    "list model",
    "show core/gru",
    "show good/level",
    "show next/level",
    "train tiny.toml --out run",
    "train shaky.toml",
    "train twin.toml",
    *(f"show {namespace}/level" for namespace in BROKEN),
)


@pytest.fixture(scope="module")
def said(crowded):
    """What each command printed while all of them are installed."""
    return dict(zip(COMMANDS, crowded.tsjax(*COMMANDS), strict=True))


def rows(out: str) -> dict[str, list[str]]:
    """The rows of `tsjax plugins` by distribution."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    return {row[1]: row for row in cells if row and row[1]}


def test_everything_else_goes_on_working(said):
    """Names are listed and shown, a model is trained, and no broken plugin is mentioned."""
    for line in COMMANDS[1:6]:
        done = said[line].told()
        assert done.status == 0
        assert "acme" not in done.out + done.err
    names = said["list model"].out
    for name in ("core/gru", "good/level", "next/level"):
        assert f"│ {name} " in names
    for namespace in BROKEN:
        assert f"{namespace}/" not in names
    assert "core/gru, a model" in said["show core/gru"].out
    assert "gain" in said["show good/level"].out
    assert "run: run" in said["train tiny.toml --out run"].out


def test_plugins_shows_a_row_for_each_and_the_reason(said, crowded):
    """Exit status 1; a row for each distribution; below the table, each problem once."""
    done = said["plugins"].told()
    assert (done.status, done.err) == (1, "")
    table = rows(done.out)
    expected = {"tsjax-core": ("core", CORE), "tsjax-pinn": ("pinn", CORE)}
    for name, each in FOREIGN.items():
        if name not in INSTALLED_LATER:
            expected[name] = (each.namespace, each.version)
    assert {name: (row[0], row[2]) for name, row in table.items()} == expected
    works = {name for name, (namespace, _) in expected.items() if table[name][4] == "ok"}
    assert works == {"tsjax-core", "acme-good"}
    assert {row[4] for row in table.values()} == {"ok", "see below"}
    assert table["acme-next"][3] == table["acme-good"][3] == "1 model"
    below = done.out.partition("┘\n")[2]
    for text in (*BROKEN.values(), NEXT):
        for part in text.split("%s"):
            assert below.count(part) == 1
    assert str(crowded.folder) in below


@pytest.mark.parametrize("namespace", BROKEN)
def test_using_a_broken_namespace_tells_the_reason(said, namespace):
    """The same text as in the list, exit status 1, and no traceback."""
    done = said[f"show {namespace}/level"].told()
    assert (done.status, done.out) == (1, "")
    before, _, after = f"error: {BROKEN[namespace]}".partition("%s")
    assert done.err.startswith(before)
    assert done.err.endswith(after)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("namespace", ["shaky", "twin"])
def test_an_experiment_with_a_broken_plugin_tells_the_reason(said, crowded, namespace):
    """The text names file and key too, and no run directory is made."""
    done = said[f"train {namespace}.toml"].told()
    assert (done.status, done.out) == (2, "")
    assert done.err == f"error: {namespace}.toml: [model] name: {BROKEN[namespace]}"
    assert not (crowded.work / "runs").exists()


def test_an_installer_refuses_a_plugin_for_a_newer_core(crowded, wheels, foreign):
    """With its dependencies asked for, nothing is installed; one for this core is."""
    before = crowded.distributions()
    found = ("--no-index", "--find-links", wheels["tsjax-core"].parent)
    refused = crowded.install(*found, foreign["acme-later"]).told()
    assert refused.status != 0
    assert "acme-later==1.0 depends on tsjax-core>=9" in " ".join(refused.err.split())
    assert crowded.distributions() == before
    assert crowded.install(*found, foreign["acme-ready"]).told().status == 0
    assert set(crowded.distributions()) - set(before) == {"acme-ready"}
    assert crowded.uninstall("acme-ready").status == 0


def test_a_claim_on_core_itself(crowded, foreign):
    """Core is not picked either, the text says whom to uninstall, and that repairs it."""
    assert crowded.install("--no-deps", foreign["acme-core"]).status == 0
    listed, shown, other = crowded.tsjax("plugins", "show core/gru", "show good/level")
    text = (
        "2 installed distributions claim the namespace 'core':\n"
        f"  acme-core 1.0 -> acme_core._plugin\n  tsjax-core {CORE} -> tsjax_core._plugin\n"
        "The namespace is that of tsjax-core: uninstall acme-core.\n"
    )
    assert (listed.told().status, listed.out.count(text)) == (1, 1)
    assert (shown.told().status, shown.err) == (1, f"error: {text}")
    assert other.told().status == 0
    assert crowded.uninstall("acme-core").status == 0
    (shown,) = crowded.tsjax("show core/gru")
    assert shown.told().status == 0


def test_with_the_culprits_gone_all_is_well(crowded, foreign):
    """The list is empty of problems once those that it names are uninstalled."""
    culprits = ["acme-shaky", "zenith-twin", "acme-pinn", "acme-hook", "acme-name", "acme-next"]
    assert crowded.uninstall(*culprits).status == 0
    listed, shown = crowded.tsjax("plugins", "show twin/level")
    assert crowded.install("--no-deps", *(foreign[name] for name in culprits)).status == 0
    assert (listed.told().status, listed.err) == (0, "")
    assert set(rows(listed.out)) == {"tsjax-core", "tsjax-pinn", "acme-good", "acme-twin"}
    assert {row[4] for row in rows(listed.out).values()} == {"ok"}
    assert shown.told().status == 0
