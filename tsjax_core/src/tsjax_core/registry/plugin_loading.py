"""One plugin: where it comes from, and what it registers, imported and checked at first use."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pluggy

from tsjax_core.errors import BrokenPluginError
from tsjax_core.registry.component_checks import Component, flaw
from tsjax_core.registry.hookspecs import HOOKS, KINDS, PROJECT, HookSpecs, Kind
from tsjax_core.registry.watched_import import watched_import

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SHORT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
"""What a namespace, and the name of a component within it, look like."""


@dataclass(frozen=True)
class PluginInfo:
    """One installed plugin.

    `offers` maps each kind that the plugin has components of to their short names. `status` is
    "ok", the text of the error that using the plugin raises, or, of a plugin that can be used, that
    it asks for another core.
    """

    namespace: str
    distribution: str
    version: str
    offers: Mapping[Kind, tuple[str, ...]]
    status: str = "ok"

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the qualified names of a kind."""
        return tuple(f"{self.namespace}/{short}" for short in self.offers.get(kind, ()))


class Plugin:
    """One entry point of the group. Nothing of it is imported before its components are read."""

    def __init__(self, entry_point: metadata.EntryPoint) -> None:
        dist = entry_point.dist
        self.namespace = entry_point.name
        self.target = entry_point.value
        self.package = entry_point.value.partition(":")[0].partition(".")[0]
        # An entry point made by hand, as in a test of a plugin, belongs to no distribution.
        self.distribution = dist.name if dist else "no distribution"
        self.version = dist.version if dist else "no version"
        self._requires = (dist.requires or []) if dist else []
        self._entry_point = entry_point
        self._components: dict[Kind, Mapping[str, Component]] = {}
        self._manager: pluggy.PluginManager | None = None
        self._failure: BrokenPluginError | None = None

    def __str__(self) -> str:
        return f"{self.namespace!r} ({self.distribution} {self.version})"

    @property
    def is_loaded(self) -> bool:
        """Whether the plugin has been imported, and can be asked without importing anything."""
        return self._manager is not None

    def components(self, kind: Kind) -> Mapping[str, Component]:
        """Return what the plugin registers of one kind, by short name.

        Raises BrokenPluginError if the plugin fails to import or breaks the contract of the kind.
        """
        if kind not in self._components:
            self._components[kind] = MappingProxyType(self._read(kind))
        return self._components[kind]

    def info(self) -> PluginInfo:
        """Return the record of the plugin, with the first error as its status."""
        offers: dict[Kind, tuple[str, ...]] = {}
        status = "ok"
        for kind in KINDS:
            try:
                names = tuple(sorted(self.components(kind)))
            except BrokenPluginError as error:
                status = str(error) if status == "ok" else status
                continue
            if names:
                offers[kind] = names
        if status == "ok" and self._asks_for_another_core():
            status = (
                f"plugin {self} can be used, but was made for another core\n  {self._core_in_use()}"
            )
        return PluginInfo(
            self.namespace, self.distribution, self.version, MappingProxyType(offers), status
        )

    def _read(self, kind: Kind) -> dict[str, Component]:
        hook = HOOKS[kind]
        offered: dict[str, Component] = {}
        for impl in getattr(self._registered().hook, hook).get_hookimpls():
            # Called one by one, because pluggy drops a None that a hook returns.
            try:
                result = impl.function()
            except (Exception, SystemExit) as error:
                raise self._broken(
                    f"fails in {hook}(): {type(error).__name__}: {error}", self._cure()
                ) from error
            if not isinstance(result, Mapping):
                got = "None (is a `return` missing?)" if result is None else repr(result)
                raise self._broken(
                    f"returns {got} from {hook}()",
                    "A hook returns a mapping from short names to classes or functions.",
                )
            for name, component in result.items():
                self._check(kind, name, component)
                if name in offered:
                    raise self._broken(
                        f"offers the {kind} {name!r} twice", "Give each its own short name."
                    )
                offered[name] = component
        return offered

    def _check(self, kind: Kind, name: object, component: object) -> None:
        hook = HOOKS[kind]
        if not (isinstance(name, str) and SHORT_NAME.fullmatch(name)):
            raise self._broken(
                f"offers the name {name!r} from {hook}()",
                "A name starts with a lower-case letter and has only lower-case letters, digits "
                "and underscores.",
            )
        if cure := flaw(kind, component):
            what = getattr(component, "__qualname__", None) or repr(component)
            raise self._broken(f"offers {what} as {kind} {name!r} from {hook}()", cure)

    def _registered(self) -> pluggy.PluginManager:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._manager is None:
            try:
                self._manager = self._register()
            except BrokenPluginError as error:
                self._failure = error
                raise
        return self._manager

    def _register(self) -> pluggy.PluginManager:
        if not SHORT_NAME.fullmatch(self.namespace):
            raise self._broken(
                "has a namespace that no name can have",
                "An entry point of group tsjax starts with a lower-case letter and has only "
                "lower-case letters, digits and underscores.",
            )
        # What a plugin does when it is imported is its own: whatever it raises, and even an exit
        # of the interpreter that it asks for, must leave the other plugins usable.
        try:
            with watched_import(f"{self.target!r} of plugin {self}"):
                module = self._entry_point.load()
        except (Exception, SystemExit) as error:
            raise self._broken(
                f"fails to import {self.target!r}: {type(error).__name__}: {error}", self._cure()
            ) from error
        # A manager for each plugin, so that one that is refused leaves nothing behind.
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(HookSpecs)
        self._check_hooks(manager, module)
        try:
            manager.register(module, name=self.namespace)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise self._broken(f"is refused: {error}", self._cure()) from error
        return manager

    def _check_hooks(self, manager: pluggy.PluginManager, module: object) -> None:
        """Find the functions that are meant as hooks and would be passed over."""
        for name, _ in inspect.getmembers(module, inspect.isroutine):
            options = manager.parse_hookimpl_opts(module, name)
            hook = (options and options.get("specname")) or name
            if hook not in HOOKS.values() and (options is not None or name.startswith("tsjax_")):
                near = difflib.get_close_matches(hook, HOOKS.values(), n=1, cutoff=0.8)
                raise self._broken(
                    f"defines {hook}(), which is not a hook",
                    (f"Did you mean {near[0]}()? " if near else "")
                    + f"The hooks are {', '.join(HOOKS.values())}. {self._core_in_use()}",
                )
            if options is None and name in HOOKS.values():
                raise self._broken(
                    f"defines {name}() without marking it as a hook",
                    "Put @hookimpl on the line above it (from tsjax_core import hookimpl).",
                )

    def _broken(self, what: str, cure: str) -> BrokenPluginError:
        return BrokenPluginError(
            f"plugin {self} {what}\n  {cure}",
            namespace=self.namespace,
            distribution=self.distribution,
            version=self.version,
        )

    def _cure(self) -> str:
        return (
            f"Fix, update or uninstall {self.distribution}; the other plugins are not affected. "
            + self._core_in_use()
        )

    def _core_in_use(self) -> str:
        version, asked = core_in_use(), core_requirement(self._requires)
        in_use = (
            f"tsjax-core {version} is in use"
            if version
            else "tsjax-core is in use without being installed"
        )
        if not asked:
            return f"{in_use}."
        cure = (
            " Have the installer find versions that fit: "
            f"pip install --upgrade tsjax-core {self.distribution}"
            if self._asks_for_another_core()
            else ""
        )
        return f"{in_use}; the plugin asks for {asked}.{cure}"

    def _asks_for_another_core(self) -> bool:
        version, asked = core_in_use(), core_requirement(self._requires)
        return bool(version and asked and is_unmet(asked, version))


def core_in_use() -> str | None:
    """Return the version of core in use, None where it runs without being installed."""
    try:
        return metadata.version("tsjax-core")
    except metadata.PackageNotFoundError:
        return None


def core_requirement(requirements: Iterable[str]) -> str | None:
    """Return what a distribution asks of core, as its metadata say it, None if nothing.

    A requirement with a marker, such as that of an extra, is returned where no other stands.
    """
    found = [text for text in requirements if _parsed(text) is not None]
    return next((text for text in found if ";" not in text), found[0] if found else None)


def is_unmet(requirement: str, version: str) -> bool:
    """Return whether a version of core does not meet a requirement on it.

    An installer has judged this before; what it leaves open, such as a marker or an address, counts
    as met here.
    """
    asked = _parsed(requirement)
    if asked is None or asked.marker is not None:
        return False
    return not asked.specifier.contains(version, prereleases=True)


def _parsed(text: str) -> Requirement | None:
    """Return a requirement on core, None where `text` is one on something else."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    return requirement if canonicalize_name(requirement.name) == "tsjax-core" else None
