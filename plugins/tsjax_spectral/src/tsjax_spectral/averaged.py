"""Frequency responses of any excitation, averaged over segments of a record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsjax_core.checks import positive, whole_number
from tsjax_core.errors import DataError
from tsjax_core.types import AnyArray, HostArray

_LEAST_SEGMENTS = 3
"""Segments beyond the number of inputs without which there is no coherence to speak of."""


@dataclass(frozen=True, eq=False)
class AveragedResponse:
    """The response at each line, and how much of the output it explains.

    `frequency` (lines,) is in Hz, `response` (lines, n_y, n_u) complex, in the unit of the output
    over that of the input. `coherence` (lines, n_y) is the share of the power of the output that
    is linear in the inputs, 0 to 1. `std` (lines, n_y, n_u) is the standard deviation of the
    magnitude by everything else.
    """

    frequency: HostArray
    response: HostArray
    coherence: HostArray
    std: HostArray


def average_response(
    u: AnyArray, y: AnyArray, *, dt: float = 1.0, n_fft: int | None = None
) -> AveragedResponse:
    """Estimate the frequency response by averages over segments, for inputs of any form.

    Segments overlap by half and have a Hann window. The response is the H1 estimate, the cross
    spectrum times the inverse of that of the inputs, which noise of the outputs does not bias.
    Source: Bendat and Piersol, Random Data (2010), chapters 7 and 9; the standard deviation is that
    of their section 9.2 for one input, with the conditioned spectra of several.

    Args:
        u: Inputs (time, n_u), or (time,).
        y: Outputs (time, n_y), or (time,). Segments with a missing sample are left out.
        dt: Sampling time in s.
        n_fft: Samples in a segment: a longer one resolves more lines and averages less. Unless
            given, a quarter of the record, at most 1024 samples.

    Raises:
        ConfigError: An option is out of range.
        DataError: The signals differ in length, or there are too few whole segments.
    """
    positive("dt", dt)
    inputs, outputs = (np.asarray(x, np.float64) for x in (u, y))
    inputs, outputs = (x[:, None] if x.ndim == 1 else x for x in (inputs, outputs))
    time, n_u = inputs.shape
    if len(outputs) != time:
        raise DataError(f"u has {time} samples and y {len(outputs)}; give the same number in both.")
    length = min(1024, max(8, time // 4)) if n_fft is None else n_fft
    whole_number("n_fft", length, "samples", least=8)
    hop = length // 2
    number = max(0, (time - length) // hop + 1)
    both = np.concatenate([inputs, outputs], axis=1)
    starts = hop * np.arange(number)
    segments = both[starts[:, None] + np.arange(length)] if number else np.empty((0, length, 1))
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    if len(segments) < n_u + _LEAST_SEGMENTS:
        raise DataError(
            f"{len(segments)} segments of {length} samples without a gap are in the record of "
            f"{time}, and {n_u} inputs need {n_u + _LEAST_SEGMENTS}; give a longer record or a "
            "smaller n_fft."
        )
    segments = segments - segments.mean(axis=1, keepdims=True)
    window = np.hanning(length + 1)[:-1]
    spectra = np.fft.rfft(segments * window[:, None], axis=1)[:, 1:]
    x, z = spectra[..., :n_u], spectra[..., n_u:]
    s_xx = np.einsum("sfi,sfj->fij", x.conj(), x)
    s_xz = np.einsum("sfi,sfj->fij", x.conj(), z)
    # Lines that no input excites are left without an answer instead of a division by nothing.
    scale = np.trace(s_xx, axis1=1, axis2=2).real
    excited = scale > 1e-12 * scale.max(initial=0.0)
    inverse = np.linalg.pinv(s_xx, rcond=1e-10, hermitian=True)
    response = np.swapaxes(inverse @ s_xz, 1, 2)
    power = np.einsum("sfi,sfi->fi", z.conj(), z).real
    explained = np.einsum("fyu,fuy->fy", response.conj(), s_xz).real
    with np.errstate(invalid="ignore", divide="ignore"):
        coherence = np.clip(explained / power, 0.0, 1.0)
    # Neighbours share half of their samples, so that they are not independent (Welch, 1967).
    shared = (window[:-hop] @ window[hop:] / (window @ window)) ** 2
    rest = np.maximum(power - explained, 0.0) / (len(segments) - n_u) * (1.0 + 2.0 * shared)
    gain = np.einsum("fii->fi", inverse).real
    std = np.sqrt(0.5 * rest[:, :, None] * gain[:, None, :])
    for values in (response, coherence, std):
        values[~excited] = np.nan
    frequency = np.fft.rfftfreq(length, dt)[1:]
    return AveragedResponse(frequency, response, coherence, std)
