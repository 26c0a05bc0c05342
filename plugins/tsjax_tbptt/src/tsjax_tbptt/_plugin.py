"""What the plugin `tbptt` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tsjax_core.protocols import ModelSpec, Source
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `tbptt`."""
    return {}


@hookimpl
def tsjax_sources() -> Mapping[str, Callable[..., Source]]:
    """Return the sources of `tbptt`."""
    return {}
