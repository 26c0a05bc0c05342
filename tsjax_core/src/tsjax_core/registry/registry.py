"""Components of plugins by name.

A name is `namespace/name`, such as `core/gru` or `tcn/crnn`: the namespace is the plugin's entry
point in group `tsjax`, the name is what the plugin registers. To resolve a name imports the plugin
of its namespace and no other.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from typing import Any, Final

from tsjax_core.errors import (
    ConfigError,
    DuplicateNamespaceError,
    PluginError,
    UnknownNameError,
    UnknownNamespaceError,
)
from tsjax_core.protocols import BatchTransform, ModelSpec, SignalStore, Source
from tsjax_core.registry.component_checks import Component
from tsjax_core.registry.hookspecs import HOOKS, KINDS, PROJECT, Kind
from tsjax_core.registry.plugin_loading import SHORT_NAME, Plugin, PluginInfo

FIRST_PARTY: Final = {
    namespace: f"tsjax-{namespace}"
    for namespace in ("ar", "core", "pinn", "quat", "spectral", "ss", "tbptt", "tcn", "tune")
}
"""The distribution of each namespace that the project itself publishes."""


class Registry:
    """The components of some plugins, given by their entry points.

    `Registry.installed()` has those of the installed distributions. A registry of one's own, such
    as `Registry([EntryPoint("mine", "mine._plugin", "tsjax")])`, shares nothing with any other.
    """

    def __init__(self, entry_points: Iterable[metadata.EntryPoint]) -> None:
        self._claims: dict[str, list[Plugin]] = {}
        for entry_point in sorted(entry_points, key=_order):
            self._claims.setdefault(entry_point.name, []).append(Plugin(entry_point))

    @classmethod
    def installed(cls) -> Registry:
        """Return a registry of all distributions that are installed at the time of the call."""
        return cls(metadata.entry_points(group=PROJECT))

    def resolve(self, kind: Kind, name: str) -> Any:
        """Return the class or function that a plugin registered as `name`, `"namespace/name"`.

        Raises UnknownNameError where no installed plugin offers the name (UnknownNamespaceError
        where none has the namespace), DuplicateNamespaceError where several distributions claim
        the namespace, BrokenPluginError where the plugin cannot be used, and ConfigError for a
        `kind` that does not exist.
        """
        _check_kind(kind)
        namespace, _, short = name.partition("/")
        if not (SHORT_NAME.fullmatch(namespace) and SHORT_NAME.fullmatch(short)):
            raise self._malformed(kind, name)
        plugin = self._plugin(namespace, name)
        components = plugin.components(kind)
        if short not in components:
            raise _unknown_name(kind, short, plugin)
        return components[short]

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of a kind that all usable plugins offer, core's first.

        Imports every plugin; `plugins` says which ones cannot be used.
        """
        _check_kind(kind)
        return tuple(name for info in self.plugins() for name in info.names(kind))

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Return one record per plugin, core's first. Imports every plugin."""
        return tuple(
            PluginInfo(p.namespace, p.distribution, p.version, {}, str(_duplicate(claims)))
            if len(claims) > 1
            else p.info()
            for claims in self._claims.values()
            for p in claims
        )

    def qualified_name(self, kind: Kind, component: Component) -> str | None:
        """Return the name under which `component` itself is registered, None if it is not.

        Asks the plugins whose package defines the component, and only if they do not have it,
        every other. Raises what `resolve` raises for a plugin of the first sort.
        """
        _check_kind(kind)
        package = (getattr(component, "__module__", None) or "").partition(".")[0]
        strangers: list[str] = []
        for namespace, claims in self._claims.items():
            if not any(plugin.package == package for plugin in claims):
                strangers.append(namespace)
            elif found := _find(kind, component, self._plugin(namespace, namespace)):
                return found
        for namespace in strangers:
            try:
                found = _find(kind, component, self._plugin(namespace, namespace))
            except PluginError:
                continue
            if found:
                return found
        return None

    def _plugin(self, namespace: str, name: str) -> Plugin:
        claims = self._claims.get(namespace)
        if not claims:
            raise self._unknown_namespace(namespace, name)
        if len(claims) > 1:
            raise _duplicate(claims)
        return claims[0]

    def _malformed(self, kind: Kind, name: str) -> UnknownNameError:
        # Only what is known without importing a further plugin can be suggested.
        known: list[str] = []
        for namespace, claims in self._claims.items():
            if len(claims) == 1 and (namespace == "core" or claims[0].is_loaded):
                known += claims[0].info().names(kind)
        shorts = {qualified.partition("/")[2]: qualified for qualified in reversed(known)}
        near = [
            match
            for part in reversed(name.lower().split("/"))
            for match in difflib.get_close_matches(part, shorts, n=1)
        ]
        return UnknownNameError(
            f"{name!r} is not the name of a {kind}: names look like 'core/gru', the namespace of "
            "a plugin and a name within it, in lower case."
            + (f" Did you mean {shorts[near[0]]!r}?" if near else "")
            + f"\n  `tsjax list {kind}` lists the names.",
            namespace="",
            name=name,
        )

    def _unknown_namespace(self, namespace: str, name: str) -> UnknownNamespaceError:
        usable = filter(SHORT_NAME.fullmatch, self._claims)
        known = {**FIRST_PARTY, **dict.fromkeys(usable)}
        near = next(iter(difflib.get_close_matches(namespace, known, n=1)), None)
        install = known[near] if near else None
        hint = "`tsjax plugins` lists what is installed."
        if near == namespace:
            hint = f"Install it with: pip install {install}"
        elif near:
            hint = f"Did you mean {name.replace(namespace, near, 1)!r}?"
            hint += f" Install that with: pip install {install}" if install else ""
        return UnknownNamespaceError(
            f"no installed plugin has the namespace {namespace!r} (asked for {name!r}). {hint}\n"
            f"  installed plugins: {', '.join(self._claims) or 'none'}",
            namespace=namespace,
            name=name,
            install=install,
        )


def _order(entry_point: metadata.EntryPoint) -> tuple[bool, str, str]:
    # Installed distributions come in the order of their folders, which differs between machines.
    dist = entry_point.dist
    return entry_point.name != "core", entry_point.name, dist.name if dist else ""


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(
            f"there is no kind {kind!r} of component. The kinds are {', '.join(KINDS)}.", key="kind"
        )


def _find(kind: Kind, component: Component, plugin: Plugin) -> str | None:
    for short, registered in plugin.components(kind).items():
        if registered is component:
            return f"{plugin.namespace}/{short}"
    return None


def _duplicate(claims: list[Plugin]) -> DuplicateNamespaceError:
    namespace = claims[0].namespace
    rows = "".join(f"\n  {p.distribution} {p.version} -> {p.target}" for p in claims)
    owner = FIRST_PARTY.get(namespace)
    others = [p.distribution for p in claims if p.distribution != owner]
    cure = "Uninstall all but one of them; tsjax does not pick one."
    if len(others) < len(claims):
        cure = f"The namespace is that of {owner}: uninstall {', '.join(others)}."
    return DuplicateNamespaceError(
        f"{len(claims)} installed distributions claim the namespace {namespace!r}:{rows}\n{cure}",
        namespace=namespace,
        distributions=[p.distribution for p in claims],
    )


def _unknown_name(kind: Kind, short: str, plugin: Plugin) -> UnknownNameError:
    namespace, plural = plugin.namespace, HOOKS[kind].removeprefix("tsjax_")
    info = plugin.info()
    nothing = not info.offers and info.status == "ok"
    others = [other for other, names in info.offers.items() if short in names]
    near = difflib.get_close_matches(short, info.offers.get(kind, ()), n=1)
    hint = f" Did you mean '{namespace}/{near[0]}'?" if near else ""
    if others:
        hint = f" It is a {others[0]}: get_{others[0]}('{namespace}/{short}') returns it."
    return UnknownNameError(
        f"plugin {plugin} has no {kind} {short!r}.{hint}\n"
        f"  {plural} in {namespace!r}: {', '.join(info.names(kind)) or 'none'}"
        + (f"; it registers nothing in {plugin.target!r}" if nothing else ""),
        namespace=namespace,
        name=f"{namespace}/{short}",
    )


@cache
def _installed() -> Registry:
    return Registry.installed()


def resolve(kind: Kind, name: str) -> Any:
    """Return what an installed plugin registered as `name`. See `Registry.resolve`."""
    return _installed().resolve(kind, name)


def installed() -> tuple[PluginInfo, ...]:
    """Return one record per installed plugin. See `Registry.plugins`."""
    return _installed().plugins()


def qualified_name(kind: Kind, component: Component) -> str | None:
    """Return the name under which an installed plugin registered `component`, None if none did."""
    return _installed().qualified_name(kind, component)


def get_model(name: str) -> Callable[..., ModelSpec]:
    """Return the class of a model's hyperparameters."""
    model: Callable[..., ModelSpec] = resolve("model", name)
    return model


def get_loss(name: str) -> Callable[..., Any]:
    """Return a loss term, or the function of its options that returns one."""
    loss: Callable[..., Any] = resolve("loss", name)
    return loss


def get_metric(name: str) -> Callable[..., Any]:
    """Return a metric, or the function of its options that returns one."""
    metric: Callable[..., Any] = resolve("metric", name)
    return metric


def get_transform(name: str) -> Callable[..., BatchTransform]:
    """Return the function of its options that returns a batch transform."""
    transform: Callable[..., BatchTransform] = resolve("transform", name)
    return transform


def get_source(name: str) -> Callable[..., Source]:
    """Return the class of a source, or a function that returns a source."""
    source: Callable[..., Source] = resolve("source", name)
    return source


def get_store(name: str) -> Callable[..., SignalStore]:
    """Return the class of a signal store, or a function that returns one."""
    store: Callable[..., SignalStore] = resolve("store", name)
    return store


def get_plot(name: str) -> Callable[..., Any]:
    """Return a function that draws a batch or a result."""
    plot: Callable[..., Any] = resolve("plot", name)
    return plot


def get_command(name: str) -> Callable[..., Any]:
    """Return a function that is a command of `tsjax`."""
    command: Callable[..., Any] = resolve("command", name)
    return command
