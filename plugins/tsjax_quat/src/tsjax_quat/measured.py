"""Errors of a predicted orientation where there is a reference, and means over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tsjax_core.losses.measured import on_host, ratio, root
from tsjax_core.types import AnyArray, Signals
from tsjax_quat.algebra import identity_like
from tsjax_quat.angles import difference
from tsjax_quat.channels import quaternions_in


class Errors(NamedTuple):
    """One number for each sample and quaternion, (batch, time, n), 0 where not `measured`."""

    xp: Any
    values: Any
    measured: Any

    def mean(self, of: Callable[[Any], Any] | None = None) -> Any:
        """Return the mean of the values, or of a function of them that is 0 at 0."""
        values = self.values if of is None else of(self.values)
        return ratio(self.xp, self.xp.sum(values), self.xp.sum(self.measured))

    def rms(self) -> Any:
        """Return the root of the mean square."""
        return root(self.xp, self.mean(self.xp.square))


def pairs_of(
    pred: AnyArray, target: AnyArray, signals: Signals, *, of: str
) -> tuple[Any, Any, Any, Any]:
    """Return the library to compute with, prediction, target, and which samples are measured.

    The quaternions are (batch, time, n, 4), the mask (batch, time, n). A target with a NaN was not
    measured; both are the identity there, which has no gradient. In host memory that is computed in
    float64, as core does.
    """
    groups = np.array(quaternions_in(signals, pred.shape[-1], of=of))
    if on_host(pred, target):
        xp: Any = np
        pred, target = pred.astype(np.float64), target.astype(np.float64)
    else:
        xp, pred, target = jnp, jnp.asarray(pred), jnp.asarray(target)
    first, second = pred[..., groups], target[..., groups]
    measured = ~xp.isnan(second).any(axis=-1)
    known = measured[..., None]
    first = xp.where(known, first, identity_like(first))
    return xp, first, xp.where(known, second, identity_like(second)), measured


def errors_by(
    angle: Callable[[AnyArray], Any], pred: AnyArray, target: AnyArray, signals: Signals, *, of: str
) -> Errors:
    """Return `angle` of the rotation between prediction and target at every measured sample."""
    xp, first, second, measured = pairs_of(pred, target, signals, of=of)
    return Errors(xp, xp.where(measured, angle(difference(first, second)), 0.0), measured)
