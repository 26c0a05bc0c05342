"""What the plugin `tune` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_commands() -> Mapping[str, Callable[..., Any]]:
    """Return the command `tsjax tune`."""
    from tsjax_tune.command import tune

    return {"tune": tune}
