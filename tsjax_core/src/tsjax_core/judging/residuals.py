"""Tests of residuals: do they contain anything that a better model could explain?

The residuals of a model that has learnt all that its inputs say are independent of past inputs;
those of one that has learnt the noise too are white. Source of both tests and of their bands:
Ljung, System Identification (1999), section 16.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tsjax_core.checks import share, whole_number
from tsjax_core.errors import DataError
from tsjax_core.types import AnyArray, HostArray

_LAGS = 25
"""Lags that are looked at unless said otherwise, as far as the records reach."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """A correlation over lags, and the band in which it lies where there is none.

    Args:
        lags: Samples by which the second signal is later, (lags,).
        values: Correlation coefficients, -1 to 1.
        band: Half the width of the band around 0.
        confidence: Share of the lags that lie in it by chance.
    """

    lags: HostArray
    values: HostArray
    band: float
    confidence: float

    @property
    def outside(self) -> float:
        """Share of the lags that lie outside of the band."""
        return float(np.mean(np.abs(self.values) > self.band))

    @property
    def largest(self) -> float:
        """The largest correlation, by its magnitude, with its sign."""
        return float(self.values[np.argmax(np.abs(self.values))])

    @property
    def passed(self) -> bool:
        """Whether neither the lags outside nor the largest of them are too much for chance.

        Each of the two would be in 1 of 100 tests of independent signals.
        """
        n, p = len(self.values), 1.0 - self.confidence
        normal = NormalDist()
        widest = normal.inv_cdf(1.0 - 0.005 / n) / normal.inv_cdf(1.0 - p / 2.0)
        if abs(self.largest) > widest * self.band:
            return False
        count = int(np.sum(np.abs(self.values) > self.band))
        below = sum(math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(count))
        return below < 0.99


@dataclass(frozen=True, eq=False)
class ResidualTests:
    """The tests of every output: whiteness (n_y,), and independence of each input (n_y, n_u).

    `strongest` (n_y, n_u) is the frequency, as a share of the sampling rate, at which residual and
    input have most in common.
    """

    samples: int
    whiteness: tuple[Correlation, ...]
    independence: tuple[tuple[Correlation, ...], ...]
    strongest: HostArray


def check_residuals(
    inputs: Sequence[AnyArray],
    residuals: Sequence[AnyArray],
    *,
    lags: int | None = None,
    confidence: float = 0.99,
) -> ResidualTests:
    """Return the correlations of residuals with themselves and with the inputs.

    Records are pooled, each about the mean of all; pairs with a missing sample are left out.

    Args:
        inputs: Inputs of each record, (time, n_u).
        residuals: Measured less simulated outputs of each record, (time, n_y), NaN where nothing
            was measured.
        lags: Largest lag in samples, 25 or a quarter of the longest record if not given.
        confidence: Probability of the bands.

    Raises:
        DataError: Records do not fit each other, or have hardly more samples than lags.
        ConfigError: `lags` or `confidence` is out of range.
    """
    share("confidence", confidence, "a probability", ends="()")
    us = [np.asarray(u, np.float64) for u in inputs]
    es = [np.asarray(e, np.float64) for e in residuals]
    if not es or len(us) != len(es):
        raise DataError(
            f"there are {len(us)} records of inputs and {len(es)} of residuals; give as many of "
            "both, and at least one."
        )
    for number, (u, e) in enumerate(zip(us, es, strict=True)):
        if u.ndim != 2 or e.ndim != 2 or len(u) != len(e):
            raise DataError(
                f"record {number} has inputs of shape {u.shape} and residuals of shape {e.shape}; "
                "give (time, channels) of the same samples."
            )
    longest = max(map(len, es))
    top = min(_LAGS, longest // 4) if lags is None else whole_number("lags", lags, least=1)
    if top < 1 or longest <= 2 * top:
        raise DataError(
            f"the longest record has {longest} samples, too few for correlations over {top} lags; "
            "give longer records."
        )
    us, es = _center(us), _center(es)
    n_u, n_y = us[0].shape[1], es[0].shape[1]
    width = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    past, both = np.arange(1, top + 1), np.arange(-top, top + 1)
    whiteness, independence, strongest = [], [], np.zeros((n_y, n_u))
    for i in range(n_y):
        output = [each[:, i] for each in es]
        own, counts = _correlate(output, output, np.arange(top + 1))
        samples = counts[0]
        whiteness.append(
            Correlation(past, own[1:] / own[0], width / math.sqrt(samples), confidence)
        )
        row = []
        for k in range(n_u):
            given = [each[:, k] for each in us]
            of_input, _ = _correlate(given, given, np.arange(top + 1))
            scale = math.sqrt(own[0] * of_input[0]) or 1.0
            crossed, _ = _correlate(given, output, both)
            # The variance of a cross-correlation of two independent, coloured signals.
            r_e, r_u = own / (own[0] or 1.0), of_input / (of_input[0] or 1.0)
            variance = max(1.0 + 2.0 * float(r_e[1:] @ r_u[1:]), 1e-3) / samples
            band = width * math.sqrt(variance)
            row.append(Correlation(both, crossed / scale, band, confidence))
            strongest[i, k] = _peak(crossed)
        independence.append(tuple(row))
    return ResidualTests(
        sum(int(np.isfinite(e).all(axis=1).sum()) for e in es),
        tuple(whiteness),
        tuple(independence),
        strongest,
    )


def describe_tests(
    tests: ResidualTests, inputs: Sequence[str], outputs: Sequence[str], dt: float | None
) -> list[str]:
    """Return what the tests mean, a sentence for each that failed, or one for none."""
    sentences = []
    for output, row, frequencies in zip(outputs, tests.independence, tests.strongest, strict=True):
        for name, test, frequency in zip(inputs, row, frequencies, strict=True):
            if test.passed:
                continue
            where = f"{frequency:.3g} per sample" if dt is None else f"{frequency / dt:.3g} Hz"
            later = test.lags[np.argmax(np.abs(test.values))] >= 0
            cause = (
                f"the model misses dynamics around {where}"
                if later
                else "the output acts back on the input, as in a closed loop"
            )
            sentences.append(
                f"The residuals of {output} still contain the input {name} (correlation "
                f"{test.largest:.2f}): {cause}."
            )
    coloured = [
        output for output, test in zip(outputs, tests.whiteness, strict=True) if not test.passed
    ]
    if coloured and not sentences:
        sentences.append(
            f"The residuals of {', '.join(coloured)} are not white, but independent of the inputs: "
            "the model is valid for simulation, and a model of the noise would predict better."
        )
    if not sentences:
        sentences.append("The residuals are white and contain nothing of the inputs.")
    return sentences


def _center(records: Sequence[HostArray]) -> list[HostArray]:
    mean = np.nanmean(np.concatenate(records), axis=0)
    return [record - mean for record in records]


def _correlate(
    first: Sequence[HostArray], second: Sequence[HostArray], lags: HostArray
) -> tuple[HostArray, HostArray]:
    """Return the mean product of `first` at t and `second` at t + lag, and how many there are."""
    sums, counts = np.zeros(len(lags)), np.zeros(len(lags))
    for early, late in zip(first, second, strict=True):
        known_a, known_b = np.isfinite(early), np.isfinite(late)
        a, b = np.where(known_a, early, 0.0), np.where(known_b, late, 0.0)
        for place, lag in enumerate(lags.tolist()):
            if abs(lag) >= len(a):
                continue
            left = slice(None, len(a) - lag) if lag >= 0 else slice(-lag, None)
            right = slice(lag, None) if lag >= 0 else slice(None, len(a) + lag)
            sums[place] += a[left] @ b[right]
            counts[place] += np.sum(known_a[left] & known_b[right])
    return sums / np.maximum(counts, 1.0), np.maximum(counts, 1.0)


def _peak(crossed: HostArray) -> float:
    """Return the frequency of the largest value of a cross-spectrum, as a share of the rate."""
    window = np.hanning(len(crossed) + 2)[1:-1]
    n = max(256, 4 * len(crossed))
    spectrum = np.abs(np.fft.rfft(window * crossed, n))
    return float(np.argmax(spectrum) / n)
