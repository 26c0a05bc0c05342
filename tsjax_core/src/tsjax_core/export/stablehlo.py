"""A step and a whole simulation as StableHLO, which runs wherever JAX does, without tsjax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export

from tsjax_core.errors import ModelError
from tsjax_core.export.step import StepModel
from tsjax_core.inference.chunks import merge_for_evaluation

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_step(step: StepModel) -> bytes:
    """Return `(x, u) -> (x_next, y)` for any number of sequences at once, (batch, n) each."""
    n_x, n_u, _ = step.sizes
    (batch,) = export.symbolic_shape("batch")
    struct: Any = jax.ShapeDtypeStruct
    shapes = [struct((batch, n), jnp.float32) for n in (n_x, n_u)]
    function = jax.jit(jax.vmap(step.advance))
    return bytes(export.export(function, platforms=_PLATFORMS)(*shapes).serialize())


def export_simulation(model: Any, n_u: int) -> bytes:
    """Return `u -> y` for sequences of any number and length, (batch, time, n) each.

    Raises:
        ModelError: The model cannot be traced for sequences of any length.
    """
    graphdef, variables = nnx.split(model)

    def simulate(u: Any) -> Any:
        return merge_for_evaluation(graphdef, variables)(u)

    batch, time = export.symbolic_shape("batch, time")
    struct: Any = jax.ShapeDtypeStruct
    shape = struct((batch, time, n_u), jnp.float32)
    try:
        exported = export.export(jax.jit(simulate), platforms=_PLATFORMS)(shape)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be exported for sequences of any length "
            f"({type(error).__name__}); its step can."
        ) from error
    return bytes(exported.serialize())
