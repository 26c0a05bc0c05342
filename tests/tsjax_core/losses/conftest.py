"""Predictions and targets that the tests of losses share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest


class Example(NamedTuple):
    """Two outputs of different scales in 4 sequences of 30 samples, and their statistics."""

    pred: np.ndarray
    target: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def example(seed: int, *, gaps: bool = False) -> Example:
    """Return random outputs; with gaps, each channel has its own, and one sequence has nothing."""
    rng = np.random.default_rng(seed)
    scale = np.array([0.1, 20.0])
    target = (rng.standard_normal((4, 30, 2)) + 1.0) * scale
    pred = target + 0.7 * rng.standard_normal(target.shape) * scale
    if gaps:
        target[rng.random(target.shape) < 0.3] = np.nan
        target[1, ::4, 0] = np.nan
        target[2] = np.nan
    return Example(*(x.astype(np.float32) for x in (pred, target, scale, scale)))


@pytest.fixture(scope="session")
def whole() -> Example:
    return example(0)


@pytest.fixture(scope="session")
def gappy() -> Example:
    return example(1, gaps=True)
