"""All distributions in one environment, from their wheels."""

from __future__ import annotations

import json

import pytest

RESOLVE = """
import json
from pathlib import Path
import tsjax_core
from tsjax_core.registry.registry import Registry

registry = Registry.installed()
found = {}
for info in registry.plugins():
    for kind in info.offers:
        for name in info.names(kind):
            component = registry.resolve(kind, name)
            found[f"{kind} {name}"] = registry.qualified_name(kind, component)
print(json.dumps([found, str(Path(tsjax_core.__file__))]))
"""


@pytest.fixture(scope="module")
def together(wheels, new_environment):
    """The environment with every wheel."""
    return new_environment("together", *wheels.values())


def test_every_name_of_every_plugin_resolves(together):
    """Each to a component that is registered under that name, all from the wheels."""
    done = together.run("-c", RESOLVE).told()
    assert (done.status, done.err) == (0, "")
    found, file = json.loads(done.out)
    assert "model core/gru" in found
    assert {key.partition(" ")[2] for key in found} == set(found.values())
    assert [key for key, name in found.items() if key.partition(" ")[2] != name] == []
    assert str(together.folder) in file


def test_plugins_shows_a_row_for_each(together, wheels):
    """One row for each distribution, all of which work."""
    (done,) = together.tsjax("plugins")
    done.told()
    assert (done.status, done.err) == (0, "")
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in done.out.splitlines()]
    shown = {row[1]: (row[0], row[2], row[4]) for row in rows if row}
    assert shown == {
        name: (name.removeprefix("tsjax-"), wheel.name.split("-")[1], "ok")
        for name, wheel in wheels.items()
    }


def test_it_is_shown_when_a_distribution_is_gone(together, wheels):
    """The count of rows follows what is installed: one distribution less, one row less."""
    gone = together.uninstall("tsjax-quat")
    assert gone.status == 0
    try:
        (done,) = together.tsjax("plugins")
        assert "tsjax-quat" not in done.told().out
        assert len([line for line in done.out.splitlines() if "tsjax-" in line]) == len(wheels) - 1
    finally:
        assert together.install("--no-deps", wheels["tsjax-quat"]).status == 0
