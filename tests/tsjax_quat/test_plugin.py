"""What tsjax-quat claims: its namespace, what it registers, and a cheap import."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from tsjax_core.registry import Registry

OFFERS: dict[str, set[str]] = {}
HEAVY = {"grain", "h5py", "matplotlib", "orbax", "ray", "scipy", "typer"}


def loaded_after(statement: str) -> set[str]:
    """Packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_entry_point_names_the_plugin():
    """The namespace `quat` is that of this distribution, which has the version of core."""
    (entry,) = metadata.entry_points(group="tsjax", name="quat")
    assert (entry.value, entry.dist.name) == ("tsjax_quat._plugin", "tsjax-quat")
    assert entry.load().__name__ == "tsjax_quat._plugin"
    assert entry.dist.version == metadata.version("tsjax-core")


def test_it_registers_what_it_says():
    """The names by kind, each of which resolves."""
    registry = Registry(metadata.entry_points(group="tsjax", name="quat"))
    (info,) = registry.plugins()
    assert info.status == "ok"
    assert {kind: set(names) for kind, names in info.offers.items()} == OFFERS
    for kind in info.offers:
        for name in info.names(kind):
            assert registry.qualified_name(kind, registry.resolve(kind, name)) == name


def test_importing_and_listing_it_is_cheap():
    """To tell what the plugin offers loads nothing that is heavy."""
    loaded = loaded_after(
        "from importlib.metadata import entry_points\n"
        "from tsjax_core.registry import Registry\n"
        "Registry(entry_points(group='tsjax', name='quat')).plugins()"
    )
    assert "tsjax_quat" in loaded
    assert loaded & HEAVY == set()


def test_a_heavy_import_would_be_found():
    """The search finds a package that the plugin must not load, once something loads it."""
    assert loaded_after("import typer") & HEAVY == {"typer"}
