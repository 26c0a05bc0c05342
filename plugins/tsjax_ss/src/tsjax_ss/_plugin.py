"""What the plugin `ss` registers."""

from __future__ import annotations

from collections.abc import Mapping

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `ss`."""
    from tsjax_ss.neural import NeuralStateSpace

    return {"neural": NeuralStateSpace}
