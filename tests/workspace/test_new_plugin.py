"""What `tsjax new` writes, built, installed beside the wheel of core, tested, used and removed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from ruff import find_ruff_bin

from tsjax_core.registry.new_plugin import write_plugin

ROOT = Path(__file__).parents[2]

LOAD = """
import numpy as np
from tsjax_core import load_model, predict

model = load_model("run/model")
y = predict(model, u=np.linspace(0.0, 0.1, 50))
print(type(model).__module__, y.shape, bool(np.isfinite(y).all()))
"""


@pytest.mark.slow
def test_a_new_plugin_from_the_first_command_to_the_last(
    wheels, new_environment, build, oscillator
):
    """Written by the installed core, it builds, passes, trains by name, and can be removed."""
    environment = new_environment("new-plugin", wheels["tsjax-core"])
    (written,) = environment.tsjax("new two_tanks")
    assert written.told().status == 0
    project = environment.work / "tsjax-two-tanks"
    shutil.copytree(oscillator, project / "tsjax-demo" / "data")

    wheel = build(project)["tsjax-two-tanks"]
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = project / "src" / "tsjax_two_tanks"
    assert names == {f"tsjax_two_tanks/{file.name}" for file in package.iterdir()}
    shutil.rmtree(project / "src")
    assert environment.install(wheel).told().status == 0

    tests = environment.run("-m", "pytest", project).told()
    assert tests.status == 0
    assert re.search(
        r"TestModes: (\d+) of \1 clauses of StatefulModelConformance passed", tests.out
    )

    short = "--set train.epochs=2 --set data.win_sz=150"
    plugins, models, show, train, evaluate = (
        done.told()
        for done in environment.tsjax(
            "plugins",
            "list model",
            "show two_tanks/modes",
            f"train tsjax-two-tanks/experiment.toml --out run {short}",
            "evaluate run --split valid",
        )
    )
    assert [done.status for done in (plugins, models, show, train, evaluate)] == [0] * 5
    (row,) = (line for line in plugins.out.splitlines() if "two_tanks" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        *("two_tanks", "tsjax-two-tanks", "0.1.0", "1 model", "ok")
    ]
    assert "│ two_tanks/modes │" in models.out
    assert "n_modes" in show.out
    assert "all of test" in train.out
    assert "multisine.hdf5" in evaluate.out
    saved = json.loads((environment.work / "run" / "model" / "model.json").read_text())
    assert (saved["name"], saved["distribution"]) == ("two_tanks/modes", "tsjax-two-tanks")
    assert environment.run("-c", LOAD).told().out == "tsjax_two_tanks.modes (50,) True\n"

    assert environment.uninstall("tsjax-two-tanks").told().status == 0
    (gone,) = environment.tsjax("evaluate run")
    assert gone.told().status == 2
    assert "It was saved by tsjax-two-tanks 0.1.0" in gone.err
    assert gone.err.endswith("pip install tsjax-two-tanks\n")


@pytest.mark.parametrize(
    "name", ["a", "lag", "acme", "two_tanks", "jax", "x" * 40, "a_" * 19 + "b"]
)
def test_under_any_name_it_keeps_its_own_style(name, tmp_path, monkeypatch):
    """The order of imports and the length of lines do not depend on the name."""
    monkeypatch.chdir(tmp_path)
    project = write_plugin(name)
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [find_ruff_bin(), *arguments, "--no-cache"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, done.stderr)
        assert done.returncode == 0


def test_it_asks_for_the_core_that_wrote_it():
    """The template's dependency is the version of core, less its last part, as of our plugins."""
    core, template = (
        tomllib.loads((ROOT / "tsjax_core" / folder / "pyproject.toml").read_text())["project"]
        for folder in ("", "src/tsjax_core/_template")
    )
    major, minor, _ = core["version"].split(".")
    assert template["dependencies"] == [f"tsjax-core>={major}.{minor}"]
    for key in ("requires-python", "license"):
        assert template[key] == core[key]
    terms = [
        (ROOT / folder / "LICENSE").read_text().split("\n\n", 2)[2]
        for folder in ("", "tsjax_core/src/tsjax_core/_template")
    ]
    assert terms[0] == terms[1]
