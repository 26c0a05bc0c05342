"""The hooks by which a plugin states what it offers.

A plugin is a module that an entry point of group `tsjax` names. It defines any of the hooks below
as functions marked with `hookimpl`:

    from tsjax_core import hookimpl

    @hookimpl
    def tsjax_models():
        from tsjax_example.wiener import Wiener
        return {"wiener": Wiener}

A hook takes no argument and returns a mapping from short name to class or function. It is called
only when a component of its kind is asked for, so an import inside the hook costs nothing before.
Hooks only register: none of them runs during training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import pluggy

from tsjax_core.protocols import BatchTransform, ModelSpec, SignalStore, Source

PROJECT: Final = "tsjax"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of the same name."""

Kind: TypeAlias = Literal[
    "model", "loss", "metric", "transform", "source", "store", "plot", "command"
]
"""What a component is. A name is unique within its plugin and kind."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

HOOKS: Final[Mapping[Kind, str]] = {
    "model": "tsjax_models",
    "loss": "tsjax_losses",
    "metric": "tsjax_metrics",
    "transform": "tsjax_transforms",
    "source": "tsjax_sources",
    "store": "tsjax_stores",
    "plot": "tsjax_plots",
    "command": "tsjax_commands",
}
"""The hook that offers the components of each kind."""


class HookSpecs(Protocol):
    """What a plugin module may define. Short names match `[a-z][a-z0-9_]*`."""

    @hookspec
    def tsjax_models(self) -> Mapping[str, type[ModelSpec]]:
        """Return frozen dataclasses of hyperparameters, each with `reads` and `build`."""
        ...

    @hookspec
    def tsjax_losses(self) -> Mapping[str, Callable[..., Any]]:
        """Return loss terms, or functions of their options that return a loss term."""
        ...

    @hookspec
    def tsjax_metrics(self) -> Mapping[str, Callable[..., Any]]:
        """Return metrics, or functions of their options that return a metric."""
        ...

    @hookspec
    def tsjax_transforms(self) -> Mapping[str, Callable[..., BatchTransform]]:
        """Return functions of their options, each of which returns a batch transform."""
        ...

    @hookspec
    def tsjax_sources(self) -> Mapping[str, Callable[..., Source]]:
        """Return classes of sources, or functions that return a source."""
        ...

    @hookspec
    def tsjax_stores(self) -> Mapping[str, Callable[..., SignalStore]]:
        """Return classes of signal stores, or functions that return one."""
        ...

    @hookspec
    def tsjax_plots(self) -> Mapping[str, Callable[..., Any]]:
        """Return functions that draw a batch or a result."""
        ...

    @hookspec
    def tsjax_commands(self) -> Mapping[str, Callable[..., Any]]:
        """Return functions that are commands of `tsjax`, with arguments that Typer understands."""
        ...
