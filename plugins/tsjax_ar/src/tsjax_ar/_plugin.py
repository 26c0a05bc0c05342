"""What the plugin `ar` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `ar`."""
    return {}


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `ar`."""
    return {}
