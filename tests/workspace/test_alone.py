"""Each distribution in an environment with core alone, as `pip install tsjax-<name>` gives it."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIBLING = re.compile(r"tsjax-\w+")

FOREIGN = """
[data]
dataset = "data"
u = ["u"]
y = ["y"]
win_sz = 40
stp_sz = 40
bs = 8
[model]
name = "%s"
"""


@dataclass(frozen=True)
class Alone:
    """What was seen in the environment of one distribution beside core."""

    environment: Any
    distributions: dict[str, str]
    commands: list[Any]


@pytest.fixture(scope="session")
def set_up(wheels, new_environment, oscillator):
    """A function that makes the environment of a distribution beside core, with its tests."""

    def set_up(name: str, distribution: str, extra: str = ""):
        needed = dict.fromkeys(["tsjax-core", distribution])
        environment = new_environment(name, *(f"{wheels[each]}{extra}" for each in needed))
        package = distribution.replace("-", "_")
        shutil.copytree(ROOT / "tests" / package, environment.work / "tests" / package)
        for file in ("pyproject.toml", "tests/conftest.py"):
            shutil.copy(ROOT / file, environment.work / file)
        readme = Path("plugins") / package / "README.md"
        if (ROOT / readme).exists():
            (environment.work / readme.parent).mkdir(parents=True)
            shutil.copy(ROOT / readme, environment.work / readme)
        shutil.copytree(oscillator, environment.work / "data")
        return environment

    return set_up


@pytest.fixture(scope="session")
def alone(set_up, request):
    """The environments that the selected tests ask for, all begun at once to save time."""

    def see(distribution: str) -> Alone:
        environment = set_up(f"{distribution}-alone", distribution)
        family = foreign(distribution)
        (environment.work / "foreign.toml").write_text(FOREIGN % family)
        return Alone(
            environment,
            environment.distributions(),
            environment.tsjax("plugins", "list", f"show {family}", "train foreign.toml"),
        )

    selected = {
        name
        for item in request.session.items
        if item.path == Path(__file__) and "alone" in item.fixturenames
        for name in item.callspec.params.values()
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(see, name) for name in sorted(selected)}


def foreign(distribution: str) -> str:
    """The name of a model of another family."""
    return "tcn/tcn" if distribution == "tsjax-pinn" else "pinn/pirnn"


def assert_tests_pass(done) -> None:
    done.told()
    assert done.status == 0
    assert re.search(r"^[\d/]+ (passed|tests? collected)", done.out.splitlines()[-1])


def test_its_tests_pass_isolated(distribution, set_up):
    """All tests of a distribution, and those of core with its optional figures.

    Those of core in which nothing outside of it is asked for are only imported: the kit, and what
    is computed.
    """
    is_core = distribution == "tsjax-core"
    environment = set_up(f"{distribution}-tests", distribution, "[viz]" if is_core else "")
    inner = ("testing", "losses", "models", "transforms", "training")
    folders = [f"tests/tsjax_core/{folder}" for folder in inner]
    ignored = [f"--ignore={folder}" for folder in folders]
    assert_tests_pass(environment.run("-m", "pytest", "-q", "tests", *ignored))
    if is_core:
        assert_tests_pass(environment.run("-m", "pytest", "-q", "--collect-only", *folders))


@pytest.mark.parametrize("one", ["tsjax-quat"])
def test_a_test_that_needs_a_sibling_would_fail(one, alone):
    """In an isolated run a sibling is not to be imported, and a warning is an error."""
    environment = alone[one].result().environment
    folder = environment.work / "tests" / "needy"
    folder.mkdir()
    (folder / "test_needy.py").write_text(
        "import warnings\n"
        "def test_import():\n    import tsjax_ar\n"
        "def test_warning():\n    warnings.warn('careless')\n"
    )
    done = environment.run("-m", "pytest", "-q", folder).told()
    assert done.status == 1
    assert "FAILED tests/needy/test_needy.py::test_import - ModuleNotFoundError" in done.out
    assert "FAILED tests/needy/test_needy.py::test_warning - UserWarning: careless" in done.out


def test_it_is_there_with_core_and_nothing_else(distribution, alone, wheels):
    """Installed, listed and offered are core and the one distribution."""
    seen = alone[distribution].result()
    expected = {"tsjax-core", distribution}
    version = wheels[distribution].name.split("-")[1]
    here = {name: v for name, v in seen.distributions.items() if name.startswith("tsjax")}
    assert here == dict.fromkeys(expected, version)
    plugins, names = (done.told() for done in seen.commands[:2])
    assert (plugins.status, plugins.err) == (names.status, names.err) == (0, "")
    assert set(SIBLING.findall(plugins.out)) == expected
    rows = [line for line in plugins.out.splitlines() if "tsjax-" in line]
    assert len(rows) == len(expected)
    assert all(version in row and row.endswith(" ok     │") for row in rows)
    offered = set(re.findall(r"│ (\w+)/\w+ ", names.out))
    assert "core" in offered
    assert offered <= {name.removeprefix("tsjax-") for name in expected}


def test_another_family_names_what_to_install(distribution, alone):
    """Asked for on the command line or in an experiment: what to install, and exit status 2."""
    seen = alone[distribution].result()
    namespace = foreign(distribution).partition("/")[0]
    for done in seen.commands[2:]:
        done.told()
        assert (done.status, done.out) == (2, "")
        assert f"no installed plugin has the namespace '{namespace}'" in done.err
        assert f"pip install tsjax-{namespace}\n" in done.err
        assert "Traceback" not in done.err
    assert not (seen.environment.work / "runs").exists()


@pytest.mark.parametrize("one", ["tsjax-core"])
def test_the_script_itself(one, alone):
    """What is printed and returned is the same where the installed program runs as a process."""
    seen = alone[one].result()
    script = seen.environment.script
    for done in (seen.commands[0], seen.commands[2]):
        alike = seen.environment.run(script, *done.command.split()[1:]).told()
        assert (alike.status, alike.out, alike.err) == (done.status, done.out, done.err)
