"""Figures of merit of a split, and of each of its files and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from tsjax_core.losses.compose import NamedTerm
from tsjax_core.signatures import name_of
from tsjax_core.types import Array, HostArray, Sample


@dataclass(frozen=True)
class Scores:
    """Metrics by name, and by name and channel for the metrics that are channelwise."""

    metrics: Mapping[str, float]
    channels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation(Scores):
    """Scores of a whole split. `files` holds those of each file, where the split has files."""

    split: str = ""
    loss: float = float("nan")
    files: Mapping[str, Scores] = field(default_factory=dict)


def compute_scores(
    metrics: Sequence[Callable[..., Array]],
    pairs: Sequence[tuple[HostArray, HostArray]],
    y_stats: tuple[HostArray, HostArray],
    names: Sequence[str],
) -> Scores:
    """Return the metrics over all `pairs` of prediction and target together.

    Sequences (batch, time, n_y) of any lengths are joined into one record, so that a metric of a
    split is computed once on all its samples and is not a mean over batches or files.
    """
    pred, target = (
        np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])[None]
        for arrays in zip(*pairs, strict=True)
    )
    values = {name_of(m): float(m(pred, target, *y_stats)) for m in metrics}
    channels: dict[str, dict[str, float]] = {}
    for metric in metrics:
        if getattr(metric, "channelwise", False) and len(names) > 1:
            channels[name_of(metric)] = {
                name: float(
                    metric(
                        pred[..., [i]],
                        target[..., [i]],
                        *(stat[[i]] for stat in y_stats),
                    )
                )
                for i, name in enumerate(names)
            }
    return Scores(values, channels)


def compute_loss(
    terms: Sequence[NamedTerm],
    pairs: Sequence[tuple[HostArray, HostArray]],
    y_stats: tuple[HostArray, HostArray],
) -> float:
    """Return the sum of the terms, averaged over sequences of unequal length by their samples.

    Equally long sequences are given to the terms as one batch, so that the loss of a split of
    windows is computed once on the whole split.
    """
    by_shape = sorted(pairs, key=lambda pair: pair[0].shape[1:])
    total = weight = 0.0
    for _, group in groupby(by_shape, key=lambda pair: pair[0].shape[1:]):
        pred, target = (np.concatenate(arrays) for arrays in zip(*group, strict=True))
        samples = pred.size // pred.shape[-1]
        for term in terms:
            total += samples * float(term(pred, target, *y_stats, {}))
        weight += samples
    return total / weight


def padded_length(length: int) -> int:
    """Return the smallest m 2^e with m from 8 to 15 that is not below `length`.

    Records of similar length then share one compiled program, at up to 12.5 % more samples.
    """
    if length < 16:
        return length
    step: int = 1 << (length.bit_length() - 4)
    return -(-length // step) * step


def record_batches(
    source: Any, *, bs: int, pad: bool, most_samples: int = 1 << 18
) -> Iterator[tuple[list[int], list[int], Sample]]:
    """Yield whole records in batches: their indices, their lengths, and the stacked samples.

    Neighbouring records of equal (padded) length share a batch while it stays below `most_samples`
    time steps. With `pad`, sequences are continued by their last sample; the caller cuts the
    outputs to the lengths.
    """

    def target_length(sample: Sample) -> int:
        longest = max(x.shape[0] for x in sample.values() if x.ndim == 2)
        return padded_length(longest) if pad else longest

    waiting: list[tuple[int, int, Sample]] = []

    def stacked() -> tuple[list[int], list[int], Sample]:
        indices, lengths, samples = zip(*waiting, strict=True)
        batch = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
        return list(indices), list(lengths), batch

    current = 0
    for index in range(len(source)):
        sample = source[index]
        length = next(x.shape[0] for x in sample.values() if x.ndim == 2)
        wanted = target_length(sample)
        full = len(waiting) >= bs or (len(waiting) + 1) * wanted > most_samples
        if waiting and (wanted != current or full):
            yield stacked()
            waiting.clear()
        current = wanted
        padded = {
            name: np.pad(x, ((0, wanted - x.shape[0]), (0, 0)), mode="edge") if x.ndim == 2 else x
            for name, x in sample.items()
        }
        waiting.append((index, length, padded))
    if waiting:
        yield stacked()
