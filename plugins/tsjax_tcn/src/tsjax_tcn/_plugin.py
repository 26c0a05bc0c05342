"""What the plugin `tcn` registers."""

from __future__ import annotations

from collections.abc import Mapping

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `tcn`."""
    from tsjax_tcn.crnn import CRNN
    from tsjax_tcn.tcn import TCN

    return {"tcn": TCN, "crnn": CRNN}
