"""Figures of spectrograms and of frequency responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.errors import DataError
from tsjax_core.types import AnyArray, HostArray, Signals
from tsjax_core.viz import make_figure
from tsjax_spectral.averaged import average_response
from tsjax_spectral.fourier import spectrogram
from tsjax_spectral.periods import find_period
from tsjax_spectral.response import FrequencyResponse, estimate_response

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#0072B2", "#D55E00"
"""Two colours that the colour-blind can distinguish (Okabe and Ito)."""


def plot_spectrogram(
    pred: AnyArray,
    target: AnyArray,
    *,
    outputs: Sequence[str] | None = None,
    dt: float | None = None,
    start: int = 0,
    title: str = "",
) -> Figure:
    """Plot the spectrograms of measured and simulated outputs, (time, n_y), and of the error.

    Each output has a row of three images in decibels of one scale, relative to the largest power
    that was measured. `outputs` name the channels, `dt` is the sampling time in s, and `start` the
    number of the first sample. Samples that were not measured are taken as 0.
    """
    pred, target = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    known = ~np.isnan(target)
    length, n_y = target.shape
    n_fft = max(2, min(256, length))
    hop = max(1, n_fft // 4)
    names = list(outputs) if outputs is not None else [f"y{i}" for i in range(n_y)]
    size = (10.0, 2.6 * n_y + 0.6)
    figure = make_figure(*size)
    axes = figure.subplots(n_y, 3, sharex=True, sharey=True, squeeze=False)
    rate = 1.0 if dt is None else 1.0 / dt
    ends = (start / rate, (start + length) / rate, 0.0, 0.5 * rate)
    for row, name in enumerate(names):
        at = known[:, row]
        level = target[at, row].mean() if at.any() else 0.0
        measured, simulated = (np.where(at, y[:, row] - level, 0.0) for y in (target, pred))
        images = {
            "measured": _power(measured, n_fft, hop),
            "simulated": _power(simulated, n_fft, hop),
            "error": _power(measured - simulated, n_fft, hop),
        }
        largest = images["measured"].max() or 1.0
        for axis, (kind, power) in zip(axes[row], images.items(), strict=True):
            decibels = 10.0 * np.log10(power / largest + 1e-10)
            image = axis.imshow(
                decibels, origin="lower", aspect="auto", extent=ends, vmin=-80.0, vmax=0.0
            )
            axis.set_title(f"{kind}, {name}", fontsize="medium")
        axes[row, 0].set_ylabel("frequency in Hz" if dt is not None else "frequency per sample")
        figure.colorbar(image, ax=list(axes[row]), label="power in dB")
    for axis in axes[-1]:
        axis.set_xlabel("sample" if dt is None else "time in s")
    figure.suptitle(title)
    return figure


def plot_response(estimate: FrequencyResponse, title: str = "") -> Figure:
    """Plot magnitude and phase of a frequency response, with its uncertainties in decibels.

    Each pair of output and input has a column: the magnitude with the radius of confidence and the
    levels of noise and of nonlinear distortions above, the phase below.
    """
    _, n_y, n_u = estimate.response.shape
    size = (max(6.0, 4.0 * n_y * n_u), 6.0)
    figure = make_figure(*size)
    axes = figure.subplots(2, n_y * n_u, sharex=True, squeeze=False)
    curves = {
        "response": (np.abs(estimate.response), "C0"),
        f"{100 * estimate.confidence:g} % radius": (estimate.radius, "C3"),
        "noise": (estimate.noise_std, "0.55"),
        "distortion": (estimate.distortion_std, "C1"),
    }
    for column in range(n_y * n_u):
        i, k = divmod(column, n_u)
        above, below = axes[:, column]
        for label, (values, colour) in curves.items():
            above.plot(estimate.frequency, _decibels(values[:, i, k]), ".-", c=colour, label=label)
        above.set_title(f"output {i}, input {k}")
        phase = np.unwrap(np.angle(estimate.response[:, i, k]))
        below.plot(estimate.frequency, np.rad2deg(phase), ".-")
        below.set_xlabel("frequency in Hz")
    axes[0, 0].set_ylabel("magnitude in dB")
    axes[1, 0].set_ylabel("phase in deg")
    axes[0, 0].legend(fontsize="small")
    figure.suptitle(title)
    return figure


def plot_frequency_response(
    pred: AnyArray,
    target: AnyArray,
    *,
    batch: Mapping[str, AnyArray],
    signals: Signals,
    title: str = "",
) -> Figure:
    """Plot the frequency responses from the inputs to measured and to simulated outputs.

    Each pair of output and input has a column: magnitudes with twice their standard deviation,
    phases, and the coherence, which is below 1 where noise or nonlinearity act. Where both curves
    part and the coherence is high, the model lacks linear dynamics. Lines whose magnitude is less
    than twice its standard deviation are not drawn: the record does not show them. A
    record that is too short for averages has a sentence in the place of curves.

    Args:
        pred: Simulated outputs (time, n_y).
        target: Measured ones; NaN where there are none.
        batch: The sample of the file, with `u` (time, n_u).
        signals: Names of the channels, and the sampling time.
        title: Text above the figure.
    """
    u = np.asarray(batch["u"], np.float64)
    u = u[0] if u.ndim == 3 else u
    dt = 1.0 if signals.dt is None else signals.dt
    n_y, n_u = np.shape(target)[1], u.shape[1]
    try:
        found = {
            "measured": average_response(u, target, dt=dt),
            "simulated": average_response(u, pred, dt=dt),
        }
    except DataError as error:
        figure = make_figure(6.0, 1.2)
        figure.text(0.02, 0.4, f"{title}\nNo frequency response: {error}", wrap=True)
        return figure
    columns = n_y * n_u
    size = (max(6.0, min(3.6 * columns, 24.0)), 7.0)
    figure = make_figure(*size)
    axes = figure.subplots(3, columns, sharex=True, squeeze=False, height_ratios=(2, 2, 1))
    for column in range(columns):
        i, k = divmod(column, n_u)
        gain, phase, share = axes[:, column]
        for (label, each), colour in zip(found.items(), (_BLUE, _ORANGE), strict=True):
            radius = 2.0 * each.std[:, i, k]
            h = _shown(each.response[:, i, k], radius)
            gain.plot(each.frequency, _decibels(np.abs(h)), color=colour, label=label)
            low, high = (_decibels(np.abs(h) + sign * radius) for sign in (-1.0, 1.0))
            gain.fill_between(each.frequency, low, high, color=colour, alpha=0.2, lw=0)
            phase.plot(each.frequency, _degrees(h), color=colour)
            share.plot(each.frequency, each.coherence[:, i], color=colour)
        gain.set_title(f"{signals.inputs[k]} to {signals.outputs[i]}", fontsize="medium")
        share.set_ylim(0.0, 1.05)
        share.set_xlabel("frequency per sample" if signals.dt is None else "frequency in Hz")
        if found["measured"].frequency[-1] > 0.0:
            share.set_xscale("log")
    axes[0, 0].set_ylabel("magnitude in dB")
    axes[1, 0].set_ylabel("phase in deg")
    axes[2, 0].set_ylabel("coherence")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def plot_best_linear_approximation(
    pred: AnyArray,
    target: AnyArray,
    *,
    batch: Mapping[str, AnyArray],
    signals: Signals,
    start: int = 0,
    title: str = "",
) -> Figure:
    """Plot the best linear approximations of system and model, of a record with a periodic input.

    Each output has a column: the magnitude at the excited lines, with the radius that holds it with
    95 % probability and the level of the noise, and the phase. The first period is left out as
    transient where there are three or more. A record with several inputs, or whose input is not
    periodic, has a sentence in the place of curves.

    Args:
        pred: Simulated outputs (time, n_y).
        target: Measured ones.
        batch: The sample of the file, with `u` (time, n_u).
        signals: Names of the channels, and the sampling time.
        start: Number of the first sample of `pred` in the file.
        title: Text above the figure.
    """
    u = np.asarray(batch["u"], np.float64)
    u = (u[0] if u.ndim == 3 else u)[start : start + len(np.asarray(pred))]
    problem = ""
    period = find_period(u) if u.shape[1] == 1 else None
    if u.shape[1] != 1:
        problem = f"there are {u.shape[1]} inputs, which one record cannot tell apart"
    elif period is None:
        problem = "the input does not repeat"
    elif not np.isfinite(np.asarray(target)).all():
        problem = "samples are missing"
    if problem or period is None:
        figure = make_figure(6.0, 1.2)
        figure.text(0.02, 0.4, f"{title}\nNo best linear approximation: {problem}.", wrap=True)
        return figure
    periods = len(u) // period
    whole = slice(0, periods * period)
    options: dict[str, Any] = {
        "period": period,
        "dt": 1.0 if signals.dt is None else signals.dt,
        "n_transient": 1 if periods > 2 else 0,
    }
    found = {
        "measured": estimate_response(u[whole], np.asarray(target)[whole], **options),
        "simulated": estimate_response(u[whole], np.asarray(pred)[whole], **options),
    }
    n_y = np.shape(target)[1]
    figure = make_figure(max(6.0, 4.0 * n_y), 6.0)
    axes = figure.subplots(2, n_y, sharex=True, squeeze=False)
    for column in range(n_y):
        gain, phase = axes[:, column]
        for (label, each), colour in zip(found.items(), (_BLUE, _ORANGE), strict=True):
            radius = each.radius[:, column, 0]
            h = _shown(each.response[:, column, 0], radius)
            gain.plot(each.frequency, _decibels(np.abs(h)), color=colour, label=label)
            low, high = (_decibels(np.abs(h) + sign * radius) for sign in (-1.0, 1.0))
            gain.fill_between(each.frequency, low, high, color=colour, alpha=0.25, lw=0)
            phase.plot(each.frequency, _degrees(h), color=colour)
        noise = found["measured"]
        gain.plot(
            noise.frequency,
            _decibels(noise.noise_std[:, column, 0]),
            color="0.55",
            ls=":",
            label="noise of the estimate",
        )
        gain.set_title(f"{signals.inputs[0]} to {signals.outputs[column]}", fontsize="medium")
        phase.set_xlabel("frequency per sample" if signals.dt is None else "frequency in Hz")
    axes[0, 0].set_ylabel("magnitude in dB")
    axes[1, 0].set_ylabel("phase in deg")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.suptitle(f"{title} ({periods} periods of {period} samples)", x=0.02, ha="left")
    return figure


def _power(x: HostArray, n_fft: int, hop: int) -> HostArray:
    # The ends of a record of one sample cannot be reflected.
    x = np.pad(x, (0, max(0, 2 - len(x))))
    return np.asarray(spectrogram(x, n_fft, hop, normalized=True))


def _shown(response: HostArray, radius: HostArray) -> HostArray:
    """Return a response with NaN where its confidence reaches to zero."""
    known: HostArray = np.where(radius > np.abs(response), np.nan, response)
    return known


def _degrees(response: HostArray) -> HostArray:
    """Return the phase, unwrapped from each known line to the next that is known."""
    degrees = np.full(response.shape, np.nan)
    known = ~np.isnan(response)
    degrees[known] = np.rad2deg(np.unwrap(np.angle(response[known])))
    return degrees


def _decibels(magnitude: HostArray) -> HostArray:
    known = np.where(magnitude > 0.0, magnitude, np.nan)
    decibels: HostArray = 20.0 * np.log10(known)
    return decibels
