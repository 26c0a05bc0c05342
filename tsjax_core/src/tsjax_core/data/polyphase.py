"""Resampling by a ratio of integers, any part of a record at a time.

The record is filtered as if `up - 1` zeros stood between its samples, and every `down`-th value is
kept (Crochiere and Rabiner, Multirate Digital Signal Processing, 1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsjax_core.types import HostArray

RATE_TOLERANCE = 1e-6
"""Largest relative difference between the rate asked for and the ratio of integers used."""

_ZERO_CROSSINGS = 10
_BLOCK = 1 << 20


def as_ratio(factor: float) -> Fraction:
    """Return a simple fraction within `RATE_TOLERANCE` of `factor`, which is 1e-4 to 1e4.

    Numerator and denominator stay below 10 000 wherever that is near enough, as it is unless
    `factor` lies within about one part in ten thousand of a much simpler fraction.
    """
    inverted = factor > 1
    exact = Fraction(factor)
    wanted = 1 / exact if inverted else exact
    near = wanted
    for limit in (10_000, 100_000, 1_000_000):
        near = wanted.limit_denominator(limit)
        if abs(near - wanted) <= RATE_TOLERANCE * wanted:
            break
    return 1 / near if inverted else near


def resampled_length(length: int, ratio: Fraction) -> int:
    """Return how many samples of the new rate lie within a record: floor((length-1) ratio) + 1."""
    return (length - 1) * ratio.numerator // ratio.denominator + 1 if length else 0


@dataclass(frozen=True, eq=False)
class Polyphase:
    """A filter between two rates: new sample m is a weighted sum of old samples around it.

    `taps` is (up, width): for each place of a new sample between two old ones, the weights of
    `width` consecutive old samples. `half` is the reach of the filter, in steps of 1 / `up` of an
    old sample. A record goes on with its first and its last value beyond its ends.
    """

    ratio: Fraction
    taps: HostArray
    half: int

    @property
    def width(self) -> int:
        """Old samples that one new sample depends on."""
        return int(self.taps.shape[1])

    def _position(self, new: HostArray) -> HostArray:
        position: HostArray = new * self.ratio.denominator + self.half
        return position

    def lowest(self, new: HostArray) -> HostArray:
        """Return the first old sample that each of the samples `new` depends on, or below 0."""
        first: HostArray = self._position(new) // self.ratio.numerator - (self.width - 1)
        return first

    def raw_range(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """Return which of `length` old samples the new samples `start` to `stop` depend on."""
        lowest = self.lowest(np.array([start, stop - 1]))
        return max(int(lowest[0]), 0), min(int(lowest[1]) + self.width, length)

    def part(self, raw: HostArray, first: int, start: int, stop: int) -> HostArray:
        """Return the new samples `start` to `stop` as float64, (stop - start, channels).

        `raw` (time, channels) has the old samples of `raw_range`, of which `first` is the first.
        """
        new = np.arange(start, stop, dtype=np.int64)
        lowest = self.lowest(new)
        before = max(0, first - int(lowest[0]))
        after = max(0, int(lowest[-1]) + self.width - (first + len(raw)))
        padded = np.pad(raw, ((before, after), (0, 0)), mode="edge")
        return self._sums(padded, lowest - (first - before), new)

    def windows(self, raw: HostArray, starts: HostArray, win_sz: int) -> HostArray:
        """Return the new windows at `starts` as float64, (windows, win_sz, channels).

        `raw` (windows, time, channels) has for each the old samples from `lowest(starts)` on.
        """
        new = starts[:, None] + np.arange(win_sz)
        at = self.lowest(new) - self.lowest(starts)[:, None]
        at += np.arange(len(starts))[:, None] * raw.shape[1]
        flat = raw.reshape(-1, raw.shape[2])
        return self._sums(flat, at.reshape(-1), new.reshape(-1)).reshape(*new.shape, -1)

    def _sums(self, raw: HostArray, at: HostArray, new: HostArray) -> HostArray:
        missing = np.isnan(raw)
        if missing.any():
            # What has a weight of 0 is not needed, and a NaN times 0 would be one.
            out = self._weigh(np.where(missing, 0.0, raw), self.taps, at, new)
            needed = self._weigh(missing.astype(np.float64), np.abs(self.taps), at, new)
            return np.where(needed > 0.0, np.nan, out)
        return self._weigh(raw.astype(np.float64), self.taps, at, new)

    def _weigh(self, raw: HostArray, taps: HostArray, at: HostArray, new: HostArray) -> HostArray:
        spans = sliding_window_view(raw, self.width, axis=0)
        phase = self._position(new) % self.ratio.numerator
        out = np.empty((len(at), raw.shape[1]))
        step = max(1, _BLOCK // (self.width * raw.shape[1]))
        for first in range(0, len(out), step):
            rows = slice(first, first + step)
            out[rows] = np.einsum("tcw,tw->tc", spans[at[rows]], taps[phase[rows]])
        return out


@lru_cache(maxsize=4)
def antialias(ratio: Fraction) -> Polyphase:
    """Return the zero-phase low-pass filter that `scipy.signal.resample_poly` has by default.

    It is a sinc with its edge at the lower of the two Nyquist frequencies, 10 zero crossings long
    on each side, under a Kaiser window with beta 5.
    """
    up, widest = ratio.numerator, max(ratio.numerator, ratio.denominator)
    half = _ZERO_CROSSINGS * widest
    filtered = np.sinc(np.arange(-half, half + 1) / widest) * np.kaiser(2 * half + 1, 5.0)
    filtered *= up / filtered.sum()
    width = -(-len(filtered) // up)
    padded = np.zeros(width * up)
    padded[: len(filtered)] = filtered
    return Polyphase(ratio, np.ascontiguousarray(padded.reshape(width, up).T[:, ::-1]), half)


@lru_cache(maxsize=4)
def linear(ratio: Fraction) -> Polyphase:
    """Return the weights of a straight line between the old samples on either side."""
    part = np.arange(ratio.numerator) / ratio.numerator
    return Polyphase(ratio, np.stack([1 - part, part], axis=1), ratio.numerator)
