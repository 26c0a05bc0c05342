"""Spectra of outputs and of residuals: at which frequencies does a model miss something?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import welch

from tsjax_core.types import AnyArray, HostArray

_SEGMENT = 512


def estimate_spectra(
    records: Sequence[AnyArray], dt: float | None = None
) -> tuple[HostArray, HostArray]:
    """Return frequencies (n,) and one-sided power densities (n, channels) over several records.

    The method of Welch (1967) with Hann windows, means over all segments of all records; the
    frequencies are in Hz, or in cycles per sample without `dt`. Missing samples stand at the mean.
    """
    longest = max(len(record) for record in records)
    segment = min(_SEGMENT, max(8, longest // 4))
    total, weight = None, 0.0
    frequencies = np.empty(0)
    for record in records:
        if len(record) < segment:
            continue
        values = np.asarray(record, float)
        filled = np.nan_to_num(values - np.nanmean(values, axis=0))
        frequencies, density = welch(filled, 1.0 / (dt or 1.0), nperseg=segment, axis=0)
        share = len(record) / segment
        total = density * share if total is None else total + density * share
        weight += share
    assert total is not None
    return np.asarray(frequencies), np.asarray(total / weight)
