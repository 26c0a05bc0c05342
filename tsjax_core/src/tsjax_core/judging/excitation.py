"""What recorded signals are good for: do the inputs move, how fast, and how long is the memory?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsjax_core.errors import DataError
from tsjax_core.judging.spectra import estimate_spectra
from tsjax_core.models.arx_coefficients import fit_arx
from tsjax_core.types import AnyArray, HostArray

_EXCITED = 1e-3
"""Share of the largest power density above which a frequency counts as excited."""

_HELD = 0.95
"""Share of the samples at which an input that hardly moves keeps its value."""

_ORDER = 10
_LONGEST = 2000
_MOST_SAMPLES = 100_000

_BEGUN, _ENDED = 0.05, 0.02
"""Shares of the step response: what has not begun is delay, what is nearer than this has ended."""


@dataclass(frozen=True)
class ChannelFacts:
    """A signal in figures.

    Args:
        count: Finite samples.
        missing: Samples that are NaN or infinite.
        low: Least of the finite samples.
        high: Largest of them.
        mean: Their mean.
        std: Their standard deviation.
        levels: Different values among the first 100 000 samples.
        held: Share of the samples that are equal to the one before.
        saturated: Share of the samples at the least or the largest value, where these come in runs.
    """

    count: int
    missing: int
    low: float
    high: float
    mean: float
    std: float
    levels: int
    held: float
    saturated: float

    def remarks(self) -> list[str]:
        """Return what stands out, in words."""
        if not self.count:
            return ["no finite sample"]
        if self.low == self.high:
            return ["constant"]
        found = []
        if self.missing:
            found.append(f"{self.missing} missing")
        if self.held > _HELD:
            found.append(f"hardly moved: {100 * self.held:.0f} % of the samples repeat the last")
        if self.saturated > 0.02 and self.levels > 2:
            found.append(f"saturated? {100 * self.saturated:.0f} % of the samples at an end")
        if 2 < self.levels <= 64 and self.count >= 1000:
            found.append(f"quantised: {self.levels} levels")
        elif self.levels == 2:
            found.append("two levels")
        return found


@dataclass(frozen=True)
class Memory:
    """How an output answers to a step of an input, in samples: delay, and the time to its end."""

    delay: int
    length: int


def describe_channel(values: AnyArray) -> ChannelFacts:
    """Return the figures of a signal (time,)."""
    every = np.asarray(values, float)
    known = every[np.isfinite(every)]
    if not len(known):
        nan = float("nan")
        return ChannelFacts(0, len(every), nan, nan, nan, nan, 0, 0.0, 0.0)
    low, high = float(known.min()), float(known.max())
    at_end = (known == low) | (known == high)
    # An end that is reached once is a peak; in runs, it is a limit.
    runs = at_end[1:] & at_end[:-1] & (known[1:] == known[:-1])
    return ChannelFacts(
        len(known),
        len(every) - len(known),
        low,
        high,
        float(known.mean()),
        float(known.std()),
        len(np.unique(known[:_MOST_SAMPLES])),
        float(np.mean(known[1:] == known[:-1])) if len(known) > 1 else 0.0,
        float(np.mean(runs)) if len(runs) else 0.0,
    )


def measure_excitation(records: Sequence[AnyArray], dt: float | None) -> list[tuple[float, float]]:
    """Return for each input the highest frequency that it excites, and the share of the band.

    Records are (time, n_u). A frequency is excited where the power density is above 0.1 % of the
    largest one. Frequencies are in Hz, or in cycles per sample without `dt`.
    """
    frequencies, density = estimate_spectra(records, dt)
    found = []
    for column in density.T:
        above = column > _EXCITED * column[1:].max(initial=0.0)
        above[0] = False
        highest = float(frequencies[above].max(initial=0.0))
        found.append((highest, float(np.mean(above[1:]))))
    return found


def estimate_memory(
    records: Sequence[tuple[HostArray, HostArray]],
) -> list[list[Memory | None]]:
    """Return delay and memory of each output (row) for each input, None where there is no answer.

    They are those of the step responses of an ARX model of order 10, computed by least squares from
    records of inputs (time, n_u) and outputs (time, n_y): the delay ends where 5 % of the largest
    answer are reached, and the memory where the answer stays within 2 % of its last value.

    Raises:
        DataError: No record is longer than the model's lags.
    """
    shortened = [(u[:_MOST_SAMPLES], y[:_MOST_SAMPLES]) for u, y in records]
    n_u, n_y = shortened[0][0].shape[1], shortened[0][1].shape[1]
    model = fit_arx(shortened, _ORDER, _ORDER + 1)
    spread = np.nanstd(np.concatenate([u for u, _ in shortened]), axis=0)
    scale = np.nanstd(np.concatenate([y for _, y in shortened]), axis=0)
    rest = model.simulate(np.zeros((1, n_u)))[0]
    rows: list[list[Memory | None]] = [[None] * n_u for _ in range(n_y)]
    for column in range(n_u):
        u = np.zeros((_LONGEST, n_u))
        u[:, column] = spread[column]
        answer = model.simulate(u) - rest
        for row in range(n_y):
            rows[row][column] = _measure_answer(answer[:, row], float(scale[row]))
    return rows


def suggest_windows(memories: Sequence[Sequence[Memory | None]]) -> tuple[int, int] | None:
    """Return a length of training windows and how many of their samples not to count.

    The longest memory is left out of the score, and windows are three times as long as that; None
    where no memory was found.
    """
    lengths = [each.length for row in memories for each in row if each is not None]
    if not lengths:
        return None
    skip = max(10, round(max(lengths), -1))
    return max(60, 3 * skip), skip


def _measure_answer(answer: HostArray, scale: float) -> Memory | None:
    largest = float(np.abs(answer).max())
    if not np.isfinite(largest) or largest < 1e-3 * scale:
        return None
    delay = int(np.argmax(np.abs(answer) > _BEGUN * largest))
    away = np.abs(answer - answer[-1]) > _ENDED * largest
    length = int(np.flatnonzero(away).max(initial=0)) + 1
    # An answer that has not ended is that of an integrator, or of no model.
    return None if length > 0.9 * _LONGEST else Memory(delay, length)


def require_records(records: Sequence[tuple[HostArray, HostArray]]) -> None:
    """Raise DataError where no record is long enough to look at."""
    if max((len(u) for u, _ in records), default=0) <= 4 * _ORDER:
        raise DataError(
            f"the longest record has fewer than {4 * _ORDER} samples, too few to look at."
        )
