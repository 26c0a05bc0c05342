"""What the plugin `tbptt` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tsjax_core.protocols import Source
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type]:
    """Return the models of `tbptt`."""
    from tsjax_tbptt.stateful import StatefulRNN

    return {"rnn": StatefulRNN}


@hookimpl
def tsjax_sources() -> Mapping[str, Callable[..., Source]]:
    """Return the sources of `tbptt`."""
    from tsjax_tbptt.source import TBPTTSource

    return {"chunks": TBPTTSource}
