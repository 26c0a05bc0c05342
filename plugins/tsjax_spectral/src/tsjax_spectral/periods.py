"""The period of an input, such as a multisine that is repeated."""

from __future__ import annotations

import numpy as np

from tsjax_core.types import AnyArray, HostArray

_EQUAL = 1e-3
"""Mean square of the difference to the next period over twice the variance, if there is one."""

_SHORTEST = 8


def find_period(u: AnyArray) -> int | None:
    """Return the samples of a period of `u` (time, n_u), None where it does not repeat.

    The shortest shift is taken at which the record agrees with itself, of at most half its length,
    so that there are two whole periods. Source of the difference function: de Cheveigne and
    Kawahara, YIN, a fundamental frequency estimator (2002).
    """
    values = np.asarray(u, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    length = len(values)
    if length < 2 * _SHORTEST or not np.isfinite(values).all():
        return None
    centred = values - values.mean(0)
    power = np.square(centred).sum(1)
    total = float(power.sum())
    if total == 0.0:
        return None
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=0)
    products = np.fft.irfft(np.square(np.abs(spectrum)).sum(1), size)[:length]
    before = np.cumsum(power)[::-1]
    after = np.cumsum(power[::-1])[::-1]
    shifts = np.arange(_SHORTEST, length // 2 + 1)
    # Sums of squares of the part that is not shifted out, at both ends.
    difference = before[shifts] + after[shifts] - 2.0 * products[shifts]
    relative: HostArray = difference / (2.0 * total * (length - shifts) / length)
    found = np.flatnonzero(relative < _EQUAL)
    return int(shifts[found[0]]) if len(found) else None
