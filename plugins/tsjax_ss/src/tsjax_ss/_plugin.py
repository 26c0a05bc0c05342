"""What the plugin `ss` registers."""

from __future__ import annotations

from collections.abc import Mapping

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `ss`."""
    from tsjax_core.models.linear import Linear
    from tsjax_ss.hammerstein import Hammerstein
    from tsjax_ss.neural import NeuralSS
    from tsjax_ss.wiener import Wiener
    from tsjax_ss.wiener_hammerstein import WienerHammerstein

    return {
        # A linear model is that of core, here beside those that begin with it.
        "lti": Linear,
        "neural": NeuralSS,
        "wiener": Wiener,
        "hammerstein": Hammerstein,
        "wiener_hammerstein": WienerHammerstein,
    }
