"""What the plugin `quat` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import BatchTransform
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `quat`."""
    return {}


@hookimpl
def tsjax_metrics() -> Mapping[str, Callable[..., Any]]:
    """Return the metrics of `quat`."""
    return {}


@hookimpl
def tsjax_transforms() -> Mapping[str, Callable[..., BatchTransform]]:
    """Return the transforms of `quat`."""
    return {}


@hookimpl
def tsjax_plots() -> Mapping[str, Callable[..., Any]]:
    """Return the plots of `quat`."""
    return {}
