"""What the plugin `spectral` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import BatchTransform
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_transforms() -> Mapping[str, Callable[..., BatchTransform]]:
    """Return the transforms of `spectral`."""
    return {}


@hookimpl
def tsjax_plots() -> Mapping[str, Callable[..., Any]]:
    """Return the plots of `spectral`."""
    return {}
