"""When a training has diverged, and what to try then."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import DivergenceError
from tsjax_core.training.progress import EpochResult


def check_converging(result: EpochResult, state: Any, rate: float) -> None:
    """Raise DivergenceError where an epoch has no finite loss, or leaves parameters that are not.

    `state` has the parameters and other variables after the epoch, `rate` is the learning rate in
    its first bad step. Single bad steps are the optimizer's to skip.
    """
    finite = np.isfinite(result.step_losses)
    if not finite.any():
        what = f"the loss was not finite in any of its {len(finite)} steps"
    elif not _all_finite(state):
        what = "parameters are not finite after it"
        if not finite.all():
            first = int(np.argmin(finite)) + 1
            what += f", and the loss was not from step {first} of {len(finite)} on"
    else:
        return
    raise DivergenceError(
        f"diverged in epoch {result.epoch + 1}: {what} (learning rate {rate:.3g})",
        advice="Try a lower lr; clip the gradients (clip_gradients, or clip_norm in [train]); see "
        "whether the data are finite, and the model's outputs before training.",
        result=result,
    )


def _all_finite(state: Any) -> bool:
    numbers = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    # NumPy sees the device's memory here without a program for each shape.
    return all(np.isfinite(np.asarray(x)).all() for x in numbers)
