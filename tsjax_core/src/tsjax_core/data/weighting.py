"""A source whose windows are drawn by weight instead of once each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np

from tsjax_core.data.sampling import uniform_draws
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchedSource, DrawnSource, ResidentSource, WeighableSource
from tsjax_core.types import HostArray, Sample


class WeightedSource:
    """A source whose epochs draw with replacement; `weighted_source` makes and checks it.

    `source` is the source behind it, and `weights` (len(source),) are relative to the largest.
    """

    def __init__(self, source: BatchedSource, weights: HostArray) -> None:
        self.source = source
        self.weights = weights

    def __repr__(self) -> str:
        never = int((self.weights == 0).sum())
        return f"weighted_source({self.source!r}, {never} of {len(self)} never drawn)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightedSource):
            return NotImplemented
        return self.source == other.source and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` of the source behind; IndexError outside 0 to len - 1."""
        return self.source[index]

    def read_batch(self, indices: HostArray) -> Sample:
        """Return the samples at `indices`, stacked along a new first axis."""
        return self.source.read_batch(indices)

    def draw(self, n: int, *, seed: int, epoch: int) -> HostArray:
        """Return `n` indices of `epoch` as int64, each drawn by weight; more begin with fewer."""
        return self.at(uniform_draws(n, seed=seed, epoch=epoch))

    def at(self, draws: HostArray) -> HostArray:
        """Return the index that each uniform draw in [0, 1) stands for."""
        drawable, cumulative = self._table
        # Even the greatest float64 below 1 times the sum is rounded to less than the sum, and
        # windows of weight zero have no interval, so that neither needs a case of its own.
        place = np.searchsorted(cumulative, draws * cumulative[-1], side="right")
        indices: HostArray = drawable[place]
        return indices

    @cached_property
    def _table(self) -> tuple[HostArray, HostArray]:
        drawable = np.flatnonzero(self.weights)
        return drawable, np.cumsum(self.weights[drawable])


class WeightedResidentSource(WeightedSource):
    """A weighted source whose windows can be cut on the device."""

    source: ResidentSource

    @property
    def win_sz(self) -> int:
        """Samples in a window."""
        return self.source.win_sz

    @property
    def resident_bytes(self) -> int:
        """Device memory that `read_resident` would take."""
        return self.source.resident_bytes

    def read_resident(self) -> Sample:
        """Return all files joined: sequences (all samples, n), scalars (files, n)."""
        return self.source.read_resident()

    def locate(self, indices: HostArray) -> tuple[HostArray, HostArray]:
        """Return where each window starts in the joined signals, and the number of its file."""
        return self.source.locate(indices)


def weighted_source(source: BatchedSource, weights: Sequence[float] | HostArray) -> BatchedSource:
    """Return `source` with epochs that draw with replacement, window i with weights[i] / sum.

    The draws depend on seed and epoch alone, and a window of weight zero is never drawn. Put it in
    the place of the training windows by `dataclasses.replace(pipeline, train=...)`. Windows are cut
    on the device where those of `source` can be. Weights of a weighted source are multiplied with
    those that it has.

    Args:
        source: The windows.
        weights: One finite number of at least 0 for each window, (len(source),).

    A source with an order of its own follows the weights within it, where it is a
    `WeighableSource`.

    Raises ConfigError for other weights, for weights that are all zero, for a source that does not
    read batches, and for one with an order of its own that takes no weights.
    """
    if not isinstance(source, BatchedSource):
        raise ConfigError(
            f"source is a {type(source).__name__}, which reads no batches (it is no "
            "BatchedSource); weigh a source of windows.",
            key="source",
        )
    relative = _relative(checked_weights("weights", weights, len(source)))
    if isinstance(source, WeightedSource):
        product = relative * source.weights
        if not product.any():
            raise ConfigError(
                "weights are zero wherever those of the weighted source are not, so that no "
                "window is left; give some window two weights above 0.",
                key="weights",
            )
        return weighted_source(source.source, product)
    if isinstance(source, WeighableSource):
        return source.with_weights(relative)
    if isinstance(source, DrawnSource):
        raise ConfigError(
            f"source is a {type(source).__name__}, which decides by itself which samples an epoch "
            "sees, and takes no weights (it is no WeighableSource); weigh it by its own options.",
            key="source",
        )
    if isinstance(source, ResidentSource):
        return WeightedResidentSource(source, relative)
    return WeightedSource(source, relative)


def checked_column(
    key: str, values: Any, each: str, *, n: int | None = None, kinds: str = "biuf"
) -> HostArray:
    """Return `values` as an array with one entry for each of what `each` names, `n` if given.

    Raises ConfigError for another shape, no entry, or another kind of data than NumPy's `kinds`.
    """
    try:
        column = np.asarray(values)
        got = f"{column.dtype} of shape {column.shape}"
    except ValueError:
        column, got = np.zeros((0, 0)), "lists of unequal length"
    fits = column.ndim == 1 and len(column) == (n or len(column)) > 0
    if not fits or column.dtype.kind not in kinds:
        what = "number or text" if "U" in kinds else "number"
        raise ConfigError(
            f"{key}: got {got}; give one {what} for each of the "
            f"{'' if n is None else f'{n} '}{each}.",
            key=key,
        )
    return column


def checked_weights(key: str, weights: Sequence[float] | HostArray, n: int) -> HostArray:
    """Return `weights` as float64, (n,); ConfigError unless finite, 0 or more, and not all 0."""
    values = checked_column(key, weights, "windows", n=n).astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if wrong.size:
        raise ConfigError(
            f"{key}[{wrong[0]}] is {values[wrong[0]]}; a weight is a finite number of at least 0 "
            f"({wrong.size} of {n} are not).",
            key=key,
        )
    if not values.any():
        raise ConfigError(f"{key} are all zero; give some window a weight above 0.", key=key)
    return values


def _relative(weights: HostArray) -> HostArray:
    # Sums and products of very large or very small weights stay finite and above 0.
    return cast("HostArray", weights / weights.max())
