"""Building a model from its specification, with what every built model has."""

from __future__ import annotations

from typing import Any

from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.models.subspace import Records
from tsjax_core.protocols import IdentifiedSpec, ModelSpec
from tsjax_core.signatures import name_of
from tsjax_core.types import Signals


def build_model(spec: ModelSpec, signals: Signals, *, seed: int = 0) -> nnx.Module:
    """Return the model of `spec` for `signals`; `dt` is its sampling time in seconds, or None.

    Raises:
        ModelError: `build` returns something else than an nnx.Module, or the model does not fit the
            data.
    """
    return _complete(spec, "build", spec.build(signals, rngs=nnx.Rngs(seed)), signals)


def identify_model(
    spec: IdentifiedSpec, signals: Signals, train: Records, valid: Records, *, seed: int = 0
) -> tuple[ModelSpec, nnx.Module]:
    """Return the specification and the model that `spec` identifies from records.

    Raises:
        ModelError: As of `build_model`.
        DataError: The records are not enough.
    """
    chosen, built = spec.identify(signals, train, valid, rngs=nnx.Rngs(seed))
    return chosen, _complete(spec, "identify", built, signals)


def _complete(spec: ModelSpec, method: str, built: Any, signals: Signals) -> nnx.Module:
    is_module = isinstance(built, nnx.Module)
    if not is_module:
        raise ModelError(
            f"{name_of(spec)}.{method} returned {type(built).__name__}; a model is a "
            "flax.nnx.Module."
        )
    if not hasattr(built, "dt"):
        built.dt = signals.dt
    model: nnx.Module = built
    return model
