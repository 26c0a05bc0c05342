"""The frequency response of a system that multisines excite, with what noise and nonlinearity do.

The best linear approximation is the linear system that a nonlinear one is on average over random
multisines of one spectrum. Over the periods of a realisation the output differs by noise alone, and
over the realisations by the nonlinear distortions too. Source: Pintelon and Schoukens, System
Identification: A Frequency Domain Approach (2012), chapter 4, the robust method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsjax_core.checks import positive, share, whole_number
from tsjax_core.errors import DataError
from tsjax_core.types import AnyArray, HostArray


@dataclass(frozen=True, eq=False)
class FrequencyResponse:
    """The estimate at each excited line.

    `frequency` (lines,) is in Hz. `response` (lines, n_y, n_u) is complex, in the unit of the
    output over that of the input. `radius` is that of the circle in the complex plane that holds
    the response with the `confidence` that was asked for. `std`, `noise_std` and `distortion_std`
    are standard deviations of the response: of the estimate by noise and distortions, of the
    estimate by noise alone, and of the distortions of a single realisation; NaN where the data do
    not tell.
    """

    frequency: HostArray
    response: HostArray
    radius: HostArray
    std: HostArray
    noise_std: HostArray
    distortion_std: HostArray
    confidence: float


def estimate_response(
    u: AnyArray,
    y: AnyArray,
    *,
    period: int,
    dt: float = 1.0,
    n_transient: int = 0,
    confidence: float = 0.95,
    lines: AnyArray | None = None,
) -> FrequencyResponse:
    """Estimate the best linear approximation from periodic measurements.

    Args:
        u: Inputs (realisations, time, 1), each a whole number of periods. For several inputs,
            (realisations, n_u, time, n_u): as many experiments as inputs for each realisation, such
            as with orthogonal phases. One record (time,) or (time, 1) is one realisation.
        y: Outputs, likewise, with n_y in place of the last n_u.
        period: Samples in a period.
        dt: Sampling time in s.
        n_transient: Periods at the beginning that are left out.
        confidence: Probability of the circles, 0 to 1.
        lines: Numbers of the excited lines, each a multiple of 1 / (period dt). Unless given, those
            at which all realisations have more than 1e-3 of the largest amplitude.

    Raises:
        ConfigError: An option is out of range.
        DataError: The records do not fit each other or the period, hold NaN, or the inputs of a
            realisation are not independent.
    """
    whole_number("period", period, "samples", least=2)
    whole_number("n_transient", n_transient, "periods")
    positive("dt", dt)
    share("confidence", confidence, "a probability", ends="()")
    inputs, outputs = _records(u, "u"), _records(y, "y")
    realisations, experiments, time, n_u = inputs.shape
    if outputs.shape[:3] != inputs.shape[:3] or experiments != n_u:
        raise DataError(
            f"u has the shape {np.shape(u)} and y {np.shape(y)}; give the same realisations and "
            f"samples in both, and as many experiments as inputs, ({n_u} here)."
        )
    periods = time // period - n_transient
    if time % period or periods < 1:
        raise DataError(
            f"records of {time} samples are no whole number of periods of {period} after "
            f"{n_transient} of transient; cut them to a multiple of it."
        )
    # (realisations, periods, lines, channels, experiments)
    spectra = [
        np.moveaxis(
            np.fft.rfft(
                x.reshape(realisations, experiments, -1, period, x.shape[-1])[:, :, n_transient:],
                axis=3,
            ),
            1,
            -1,
        )
        for x in (inputs, outputs)
    ]
    chosen = _excited(spectra[0]) if lines is None else np.asarray(lines, int)
    if not len(chosen) or chosen.min() < 0 or chosen.max() > period // 2:
        raise DataError(
            f"there is no excited line from 0 to {period // 2} among {chosen.tolist()}; give the "
            "numbers of the lines of the multisine."
        )
    excitation, answer = (x[:, :, chosen] for x in spectra)
    mean = excitation.mean(1, keepdims=True)
    scale = np.abs(mean).max(axis=(-1, -2), keepdims=True)
    if np.min(np.linalg.cond(mean / np.where(scale == 0.0, 1.0, scale)) ** -1.0) < 1e-8:
        raise DataError(
            "the inputs of the experiments of a realisation are not independent at every line; "
            "excite each input, with orthogonal phases in the experiments, or name the excited "
            "lines."
        )
    each = answer @ np.linalg.inv(mean)
    per_realisation = each.mean(1)
    noise = _variance_of_mean(each, 1).mean(0) / realisations
    total = _variance_of_mean(per_realisation, 0)
    known, freedom = (total, realisations) if realisations > 1 else (noise, periods)
    distortion = np.sqrt(np.maximum(realisations * (total - noise), 0.0))
    return FrequencyResponse(
        frequency=chosen / (period * dt),
        response=per_realisation.mean(0),
        radius=np.sqrt(known * _quantile(confidence, freedom - 1)),
        std=np.sqrt(total),
        noise_std=np.sqrt(noise),
        distortion_std=distortion,
        confidence=float(confidence),
    )


def _records(x: AnyArray, name: str) -> HostArray:
    """Return records as (realisations, experiments, time, channels) in float64."""
    array = np.asarray(x, np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not array.size or not np.isfinite(array).all():
        raise DataError(
            f"{name} has the shape {np.shape(x)}"
            f"{'' if np.isfinite(array).all() else ' and holds NaN'}; give finite samples "
            "(realisations, time, channels), or (realisations, experiments, time, channels)."
        )
    return array


def _excited(spectrum: HostArray) -> HostArray:
    """Return the lines of (realisations, periods, lines, n_u, experiments) with any power."""
    amplitude = np.abs(spectrum.mean(1)).max(axis=(-1, -2)).min(0)
    excited: HostArray = np.flatnonzero(amplitude > 1e-3 * amplitude.max())
    return excited


def _variance_of_mean(z: HostArray, axis: int) -> HostArray:
    """Return the variance of the mean of complex values along `axis`, NaN of a single one."""
    count = z.shape[axis]
    if count == 1:
        return np.full(np.delete(z.shape, axis), np.nan)
    apart = np.square(np.abs(z - z.mean(axis, keepdims=True)))
    variance: HostArray = apart.sum(axis) / (count - 1) / count
    return variance


def _quantile(confidence: float, freedom: int) -> float:
    """Return the quantile of |error|^2 over its estimated variance: F with 2 and 2 `freedom`."""
    if freedom < 1:
        return float("nan")
    return freedom * float((1.0 - confidence) ** (-1.0 / freedom) - 1.0)
