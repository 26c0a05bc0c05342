"""What the plugin `ss` registers."""

from __future__ import annotations

from collections.abc import Mapping

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `ss`."""
    from tsjax_ss.hammerstein import Hammerstein
    from tsjax_ss.lti import LTI
    from tsjax_ss.neural import NeuralSS
    from tsjax_ss.wiener import Wiener
    from tsjax_ss.wiener_hammerstein import WienerHammerstein

    return {
        "lti": LTI,
        "neural": NeuralSS,
        "wiener": Wiener,
        "hammerstein": Hammerstein,
        "wiener_hammerstein": WienerHammerstein,
    }
