"""The contract of a plugin as a whole: what its distribution registers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from tsjax_core.registry.hookspecs import PROJECT, Kind
from tsjax_core.registry.plugin_loading import PluginInfo
from tsjax_core.registry.registry import Registry
from tsjax_core.testing.contract import Conformance, clause


class PluginConformance(Conformance):
    """What every installed plugin keeps, whatever it offers.

    Facts:
        namespace: Name of the plugin's entry point.
        offers: Short names by kind, such as `{"model": {"wiener"}}`.
        not_imported: Packages that are loaded only where they are used, and not to list the names.
    """

    facts = ("namespace", "offers")

    namespace: str
    offers: Mapping[Kind, set[str]]
    not_imported: Sequence[str] = ("grain", "h5py", "matplotlib", "orbax", "ray", "typer")

    @clause
    def test_namespace_belongs_to_one_distribution(self) -> None:
        """One installed distribution, and no other, has an entry point of this name."""
        names = [entry.dist.name if entry.dist else entry.value for entry in self._entries()]
        assert len(names) == 1, (
            f"the namespace {self.namespace!r} is claimed by {' and '.join(names) or 'none'}"
        )

    @clause
    def test_plugin_can_be_used(self) -> None:
        """It can be imported, and every hook returns components of its kind."""
        assert self._info().status == "ok", self._info().status

    @clause
    def test_offers_are_as_declared(self) -> None:
        """It registers the declared names, and no others."""
        found = {kind: set(names) for kind, names in self._info().offers.items()}
        assert found == dict(self.offers), (
            f"it registers {found or 'nothing'}, the test declares {dict(self.offers) or 'nothing'}"
        )

    @clause
    def test_components_have_one_name_each(self) -> None:
        """Each name resolves, and the component that it gives is registered by that name alone."""
        registry = self._registry()
        for kind in self._info().offers:
            for name in self._info().names(kind):
                found = registry.qualified_name(kind, registry.resolve(kind, name))
                assert found == name, f"the {kind} {name!r} is also registered as {found!r}"

    @clause
    def test_listing_is_cheap(self) -> None:
        """To list its names loads none of the packages that are wanted later."""
        done = subprocess.run(  # noqa: S603 - this interpreter on the code below
            [sys.executable, "-c", _LIST, self.namespace, *sys.path],
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = sorted(set(self.not_imported) & set(done.stdout.split()))
        assert not loaded, (
            f"listing what it offers imports {', '.join(loaded)}; import them where they are used"
        )

    def _entries(self) -> list[metadata.EntryPoint]:
        return list(metadata.entry_points(group=PROJECT, name=self.namespace))

    def _registry(self) -> Registry:
        return Registry(self._entries()[:1])

    def _info(self) -> PluginInfo:
        infos = self._registry().plugins()
        assert infos, f"no installed distribution has the namespace {self.namespace!r}"
        return infos[0]


_LIST = f"""
import sys
from importlib.metadata import entry_points
sys.path[:] = sys.argv[2:]
from tsjax_core.registry.registry import Registry
Registry(list(entry_points(group={PROJECT!r}, name=sys.argv[1]))[:1]).plugins()
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
