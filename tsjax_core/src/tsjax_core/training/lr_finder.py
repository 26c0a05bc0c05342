"""Finds a learning rate in one short training, in which the rate rises step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tsjax_core.checks import positive, whole_number
from tsjax_core.errors import ConfigError, DivergenceError
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    from tsjax_core.training.learner import Learner

BANDWIDTH = 0.05
"""Standard deviation of the smoothing, as a share of the range of log rates."""

DIVERGED = 4.0
"""The loss has diverged where it is more than this many times its best."""

CLEAR = 4.0
"""A fall of the smoothed loss counts from this many of its standard errors on."""

FEWEST = 20


@dataclass(frozen=True)
class LearningRateCurve:
    """The loss of every step of a training whose rate rose from the lowest to the highest.

    `rates` and `losses` are (steps,); a loss may be NaN. `suggestion` is the rate at which the
    smoothed loss fell most steeply, NaN where it did not fall clearly.
    """

    rates: HostArray
    losses: HostArray
    suggestion: float


def find_learning_rate(
    learner: Learner, lowest: float = 1e-6, highest: float = 1.0, n_steps: int = 100
) -> LearningRateCurve:
    """Train while the rate rises exponentially from `lowest` to `highest`, and suggest a rate.

    The suggestion is the rate at which the loss falls most steeply over the logarithm of the rate,
    before its minimum; see `suggest_rate`. The learner is afterwards as if nothing had happened:
    parameters, counters and history. The test of rates is that of Smith, Cyclical learning rates
    for training neural networks (2017).

    Args:
        learner: Its optimizer must take the rate from the fit.
        lowest: The rate of the first step.
        highest: The rate of the last step.
        n_steps: Steps in all, rounded up to whole epochs, at least 20. The training ends before
            them, after the epoch in which it diverged.

    Raises:
        ConfigError: The rates or steps are out of range, or the optimizer has its own rate.
    """
    first, last = positive("lowest", lowest), positive("highest", highest)
    if first >= last:
        raise ConfigError(
            f"lowest = {lowest!r} is not below highest = {highest!r}; give a range such as 1e-6 "
            "to 1.",
            key="lowest",
        )
    n_steps = whole_number("n_steps", n_steps, "steps", least=FEWEST)
    n_epochs = math.ceil(n_steps / learner.pipeline.steps_per_epoch)
    total = n_epochs * learner.pipeline.steps_per_epoch

    def schedule(progress: HostArray) -> HostArray:
        share = np.asarray(progress, np.float64) * total / (total - 1)
        return np.asarray((first / last) ** (1.0 - share))

    # Before the search begins a fit: the learner may be in the middle of another one.
    before = learner.snapshot()
    try:
        fit = learner.fit_iter(n_epochs, last, schedule)
    except ConfigError as error:
        if error.key != "lr":
            raise
        raise ConfigError(
            "find_learning_rate changes the rate at every step, and the learner's optimizer is an "
            "optax transformation with a rate of its own. Give the learner a function of the rate, "
            "such as optimizer=optax.adam.",
            key="optimizer",
        ) from error
    losses: list[float] = []
    try:
        for result in fit:
            losses.extend(result.step_losses)
            if _n_before_divergence(np.array(losses)) < len(losses):
                break
    except DivergenceError as error:
        losses.extend(error.result.step_losses)
    finally:
        learner.restore(before)
    rates = last * schedule(np.arange(total) / total)[: len(losses)]
    return LearningRateCurve(rates, np.array(losses), suggest_rate(rates, np.array(losses)))


def suggest_rate(rates: HostArray, losses: HostArray) -> float:
    """Return the rate of the steepest descent of the smoothed loss before its minimum.

    The descent is that over the logarithm of the rate. Steps from where the loss is more than 4
    times its best do not count, nor do losses that are not finite, nor the lowest tenth of the
    range, in which slopes are uncertain. NaN where the fall of the smoothed loss is less than 4 of
    its standard errors, as they follow from the scatter of the single steps.
    """
    smooth = smooth_losses(rates, losses)
    if len(smooth.steps) < 2:
        return math.nan
    lowest = int(np.argmin(smooth.losses))
    # At the low end a slope rests on the steps of one side, and follows single batches.
    begin = int(
        np.searchsorted(rates[smooth.steps], rates[0] * (rates[-1] / rates[0]) ** (2 * BANDWIDTH))
    )
    if begin >= lowest:
        return math.nan
    part = slice(begin, lowest + 1)
    fall = (smooth.losses[part] - smooth.losses[lowest]).max()
    error = np.hypot(smooth.errors[part].max(), smooth.errors[lowest])
    steepest = begin + int(np.argmin(smooth.slopes[part]))
    clear = fall > CLEAR * error and smooth.slopes[steepest] < 0.0
    return float(rates[smooth.steps[steepest]]) if clear else math.nan


class SmoothedLosses(NamedTuple):
    """The smoothed loss at each step that counts, its standard error, and its slope.

    `steps` are the numbers of these steps; the slope is over log10 of the rate.
    """

    steps: HostArray
    losses: HostArray
    errors: HostArray
    slopes: HostArray


def smooth_losses(rates: HostArray, losses: HostArray) -> SmoothedLosses:
    """Return the losses of the steps before the divergence, smoothed over the log of the rate.

    Around each step a straight line is fitted, with the weights of a normal distribution: locally
    weighted regression, Cleveland (1979).
    """
    finite = np.isfinite(losses)
    finite[_n_before_divergence(losses) :] = False
    steps = np.flatnonzero(finite)
    x, y = np.log10(rates[steps]), losses[steps]
    width = BANDWIDTH * float(np.log10(rates[-1] / rates[0]))
    smoothed, factors, slopes = (np.zeros(len(steps)) for _ in range(3))
    for i, center in enumerate(x):
        weights = np.exp(-0.5 * ((x - center) / width) ** 2)
        weights /= weights.sum()
        apart = x - weights @ x
        spread = weights @ apart**2
        tilt = weights * apart / spread if spread > 0.0 else np.zeros_like(weights)
        row = weights + apart[i] * tilt
        smoothed[i], slopes[i], factors[i] = row @ y, tilt @ y, np.linalg.norm(row)
    # 1.48 times the median deviation is the standard deviation of a normal distribution.
    scatter = 1.4826 * float(np.median(np.abs(y - smoothed))) if len(steps) else 0.0
    return SmoothedLosses(steps, smoothed, scatter * factors, slopes)


def _n_before_divergence(losses: HostArray) -> int:
    """Return the number of steps before the loss exceeds 4 times its best, or is finite no more.

    Medians of five steps decide, so that single batches do not.
    """
    heights = np.where(np.isfinite(losses), losses, np.inf)
    medians = np.array([np.median(heights[max(0, i - 2) : i + 3]) for i in range(len(heights))])
    best = np.minimum.accumulate(medians)
    # A loss may be negative.
    diverged = (medians > best + (DIVERGED - 1.0) * np.abs(best)) | np.isinf(medians)
    return int(np.argmax(diverged)) if diverged.any() else len(losses)
