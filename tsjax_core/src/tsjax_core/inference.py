"""Running a model on arrays that are not part of a pipeline."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.types import Array, HostArray


@partial(jax.jit, static_argnums=0)
def _apply(graphdef: Any, state: Any, inputs: tuple[Array, ...]) -> Any:
    model = nnx.merge(graphdef, state)
    model.eval()
    return model(*inputs)


def predict(model: Any, u: Any, *further: Any) -> HostArray:
    """Return the outputs of `model` for the inputs `u`, both in raw physical units.

    The result has as many axes as `u`: (time,) for one input and one output, (time, n_u) gives
    (time, n_y), (batch, time, n_u) gives (batch, time, n_y). Models that read more than `u` take
    the rest in the order of `ModelSpec.reads`, each with the same leading axes as `u`.

    Raises:
        ModelError: `u` has another number of axes or channels than the model, holds values that
            are not finite, or the model has several outputs and `u` is (time,).
    """
    try:
        array = np.asarray(u, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"predict got u that is no array of numbers: {error}.") from error
    if not 1 <= array.ndim <= 3 or not array.size:
        raise ModelError(
            f"predict got u with shape {array.shape}; give (time,), (time, n_u) or "
            "(batch, time, n_u), with at least one sample."
        )
    given = array.ndim
    array = array[:, None] if given == 1 else array
    batched = array if given == 3 else array[None]
    if bad := int(np.size(batched) - np.isfinite(batched).sum()):
        raise ModelError(
            f"predict got u with {bad} samples that are NaN or infinite; "
            "cut them out or fill them in."
        )
    rest = [np.asarray(x, np.float32) for x in further]
    rest = [x if given == 3 else x[None] for x in rest]
    for x in rest:
        if x.ndim < 2 or len(x) != len(batched) or not np.isfinite(x).all():
            raise ModelError(
                f"predict got a further input of shape {x.shape} for {len(batched)} sequences; "
                "give finite values, (batch, n) or (batch, time, n), without batch for one."
            )
    inputs = (batched, *rest)
    graphdef, state = nnx.split(model)
    y: HostArray = np.asarray(_apply(graphdef, state, inputs))
    if given > 1:
        one: HostArray = y[0]
        return y if given == 3 else one
    if y.shape[-1] != 1:
        raise ModelError(
            f"predict got u with shape {np.shape(u)}, and the model has {y.shape[-1]} outputs; "
            "give u as (time, n_u)."
        )
    single: HostArray = y[0, ..., 0]
    return single
