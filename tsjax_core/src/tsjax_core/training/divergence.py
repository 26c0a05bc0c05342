"""When a training has diverged, and what to try then."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import DivergenceError
from tsjax_core.training.progress import EpochResult
from tsjax_core.types import HostArray


def check_converging(
    result: EpochResult,
    params: Any,
    mutable: tuple[Any, Any],
    rates: HostArray,
    blamed: str = "",
) -> None:
    """Raise DivergenceError where an epoch has no finite loss, or leaves parameters that are not.

    `params` are those after the epoch, `mutable` the other variables before and after it, `rates`
    the learning rates of its steps, and `blamed` says what is wrong with the data. Single bad steps
    are the optimizer's to skip, and a variable may hold infinities from the beginning, such as a
    mask.
    """
    finite = np.isfinite(result.step_losses)
    step = len(finite) - 1 if finite.all() else int(np.argmin(finite))
    if not finite.any():
        what = f"the loss was not finite in any of its {len(finite)} steps"
    elif _any_bad(params) or _any_bad(mutable[1], unless=mutable[0]):
        what = "parameters are not finite after it"
        if not finite.all():
            what += f"; the loss was not for the first time in step {step + 1} of {len(finite)}"
    else:
        return
    raise DivergenceError(
        f"diverged in epoch {result.epoch + 1}: {what} (learning rate {rates[step]:.3g})",
        advice=blamed
        or "Try a lower lr; clip the gradients (clip_gradients, or clip_norm in [train]); see "
        "whether the data are finite, and the model's outputs before training.",
        result=result,
    )


def _any_bad(state: Any, unless: Any = None) -> bool:
    """Return whether values are not finite; those that were not in `unless` do not count."""
    news = jax.tree.leaves(state)
    olds = [None] * len(news) if unless is None else jax.tree.leaves(unless)
    for old, new in zip(olds, news, strict=True):
        if not jnp.issubdtype(jnp.result_type(new), jnp.inexact):
            continue
        # NumPy sees the device's memory without a program for each shape.
        bad = ~np.isfinite(np.asarray(new))
        if (bad if old is None else bad & np.isfinite(np.asarray(old))).any():
            return True
    return False
