"""Linear ARX models by least squares: the baseline that a nonlinear model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsjax_core.errors import DataError
from tsjax_core.types import HostArray


@dataclass(frozen=True, eq=False)
class ARXCoefficients:
    """y_t = sum_k A_k y_(t-k) + sum_k B_k u_(t-k) + c, with k from 1 to na and from 0 to nb - 1.

    `a` is (na, n_y, n_y), `b` is (nb, n_u, n_y) and `c` is (n_y,), all in physical units.
    """

    a: HostArray
    b: HostArray
    c: HostArray

    def simulate(self, u: HostArray) -> HostArray:
        """Return the free run (time, n_y) for `u` (time, n_u): the model sees no measured output.

        Before the first sample input and output are at rest at the model's equilibrium for u = 0.
        """
        n_a, n_y = self.a.shape[0], self.c.size
        rest = np.linalg.lstsq(np.eye(n_y) - self.a.sum(0).T, self.c, rcond=None)[0]
        driven = np.tile(self.c, (len(u), 1))
        for k, b_k in enumerate(self.b):
            driven[k:] += u[: len(u) - k] @ b_k
        y = np.concatenate([np.tile(rest, (n_a, 1)), np.zeros((len(u), n_y))])
        past = np.concatenate(list(self.a)) if n_a else np.zeros((0, n_y))
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(len(u)):
                y[n_a + t] = driven[t] + y[t : n_a + t][::-1].reshape(-1) @ past
        return y[n_a:]


def fit_arx(
    records: Sequence[tuple[HostArray, HostArray]], na: int, nb: int, *, direct: bool = True
) -> ARXCoefficients:
    """Return the ARX model of least one-step-ahead squared error over all records.

    Without `direct`, the present input does not act: B_0 is 0.

    Each record is (u, y), (time, n_u) and (time, n_y); no equation reaches across records, and none
    uses samples that are NaN. Source: Ljung, System Identification (1999), section 4.2.

    Raises:
        DataError: No record is longer than the lags.
    """
    lags = max(na, nb - 1)
    usable = [(np.asarray(u, float), np.asarray(y, float)) for u, y in records if len(u) > lags]
    if not usable:
        raise DataError(
            f"an ARX model with na = {na} and nb = {nb} needs records of more than {lags} "
            f"samples, and the longest has {max((len(u) for u, _ in records), default=0)}."
        )
    # Unit scales keep the normal equations well conditioned for any physical units.
    u_scale, y_scale = (_scale([record[i] for record in usable]) for i in range(2))
    rows, targets = [], []
    for u, y in usable:
        n = len(u)
        past_y = [y[lags - k : n - k] / y_scale for k in range(1, na + 1)]
        past_u = [u[lags - k : n - k] / u_scale for k in range(0 if direct else 1, nb)]
        row = np.concatenate([*past_y, *past_u, np.ones((n - lags, 1))], axis=1)
        target = y[lags:] / y_scale
        measured = np.isfinite(row).all(1) & np.isfinite(target).all(1)
        rows.append(row[measured])
        targets.append(target[measured])
    theta = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
    n_u, n_y = len(u_scale), len(y_scale)
    theta = theta * y_scale
    a = theta[: na * n_y].reshape(na, n_y, n_y) / y_scale[:, None]
    b = theta[na * n_y : -1].reshape(-1, n_u, n_y) / u_scale[:, None]
    b = b if direct else np.concatenate([np.zeros((1, n_u, n_y)), b])
    return ARXCoefficients(a, b, theta[-1])


def _scale(arrays: Sequence[HostArray]) -> HostArray:
    """Return the standard deviation of each channel, 1 where it is constant."""
    std = np.nanstd(np.concatenate(arrays), 0)
    return np.where(std > 0.0, std, 1.0)
