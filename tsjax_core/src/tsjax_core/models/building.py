"""Building a model from its specification, with what every built model has."""

from __future__ import annotations

from typing import Any

from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.protocols import ModelSpec
from tsjax_core.signatures import name_of
from tsjax_core.types import Signals


def build_model(spec: ModelSpec, signals: Signals, *, seed: int = 0) -> nnx.Module:
    """Return the model of `spec` for `signals`; `dt` is its sampling time in seconds, or None.

    Raises:
        ModelError: `build` returns something else than an nnx.Module, or the model does not fit the
            data.
    """
    built: Any = spec.build(signals, rngs=nnx.Rngs(seed))
    is_module = isinstance(built, nnx.Module)
    if not is_module:
        raise ModelError(
            f"{name_of(spec)}.build returned {type(built).__name__}; a model is a flax.nnx.Module."
        )
    if not hasattr(built, "dt"):
        built.dt = signals.dt
    model: nnx.Module = built
    return model
