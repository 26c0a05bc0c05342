"""Figures of merit of a split, and of each of its files and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

import numpy as np

from tsjax_core.data.store import Split
from tsjax_core.inference.chunks import padded_length
from tsjax_core.losses.compose import NamedTerm
from tsjax_core.losses.wrapping import Arguments, form_of
from tsjax_core.protocols import BatchedSource, Source
from tsjax_core.signatures import name_of
from tsjax_core.types import AnyArray, Array, HostArray, Sample

_MOST_SAMPLES = 1 << 18
"""Time steps in a batch of whole records, so that long records do not fill the memory."""


Pairs: TypeAlias = list[tuple[HostArray, HostArray]]
"""Predictions and targets, both (batch, time, n_y), or (batch, n) for scalars."""


@dataclass(frozen=True)
class Scores:
    """Metrics by name, and by name and channel for the metrics that are channelwise."""

    metrics: Mapping[str, float]
    channels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation(Scores):
    """Scores of a whole split. `files` holds those of each file, where the split has files."""

    split: Split = "valid"
    loss: float = float("nan")
    files: Mapping[str, Scores] = field(default_factory=dict)


def compute_scores(
    metrics: Sequence[Callable[..., Array]],
    pairs: Pairs,
    y_stats: tuple[HostArray, HostArray],
    names: Sequence[str],
) -> Scores:
    """Return the metrics over all `pairs` of prediction and target together.

    Sequences (batch, time, n_y) of any lengths are joined into one record, so that a metric of a
    split is computed once on all its samples and is not a mean over batches or files.
    """
    values: dict[str, float] = {}
    channels: dict[str, dict[str, float]] = {}
    for metric in metrics:
        inner, pred, target, stats = _joined(metric, pairs, y_stats)
        values[name_of(metric)] = float(inner(pred, target, *stats))
        if getattr(metric, "channelwise", False) and len(names) > 1:
            channels[name_of(metric)] = {
                name: float(inner(pred[..., [i]], target[..., [i]], *(stat[[i]] for stat in stats)))
                for i, name in enumerate(names)
            }
    return Scores(values, channels)


def _joined(
    metric: Callable[..., Array],
    pairs: Pairs,
    y_stats: tuple[HostArray, HostArray],
) -> tuple[Callable[..., Array], HostArray, HostArray, tuple[HostArray, HostArray]]:
    """Return the metric and what it is computed on, with all sequences joined into one record.

    Of a metric that is another one of a part of each sequence, that other one and those parts.
    """
    while (form := form_of(metric)) is not None and form.narrow is not None:
        parts = [form.narrow(Arguments(*pair, *y_stats, {})) for pair in pairs]
        metric = vars(metric)["inner"]
        pairs = [(part.pred, part.target) for part in parts]
        y_stats = parts[0].y_mean, parts[0].y_std
    pred, target = (
        np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])[None]
        for arrays in zip(*pairs, strict=True)
    )
    return metric, pred, target, y_stats


def compute_loss(
    terms: Sequence[NamedTerm],
    pairs: Pairs,
    y_stats: tuple[HostArray, HostArray],
) -> float:
    """Return the sum of the terms, averaged over sequences of unequal length.

    Each length counts by its measured elements, so that a loss that is a mean over them is that of
    the whole split; targets that are NaN were not measured. Equally long sequences are given to
    the terms as one batch, so that the loss of a split of windows is computed once.
    """
    by_shape = sorted(pairs, key=lambda pair: pair[0].shape[1:])
    totals, weights = np.zeros(len(terms)), np.zeros(len(terms))
    for _, group in groupby(by_shape, key=lambda pair: pair[0].shape[1:]):
        pred, target = (np.concatenate(arrays) for arrays in zip(*group, strict=True))
        measured = count_measured(target)
        for number, term in enumerate(terms):
            value = float(term(pred, target, *y_stats, {}))
            # A term that looks at a part of the channels or samples may have none measured here.
            if np.isnan(value) and measured < target.size and np.isfinite(pred).all():
                continue
            totals[number] += measured * value
            weights[number] += measured
    if not weights.all():
        return float("nan")
    return float((totals / weights).sum())


def count_measured(target: AnyArray) -> int:
    """Return how many elements of `target` are not NaN."""
    return int(np.count_nonzero(~np.isnan(target)))


def cut_pairs(
    batches: Sequence[tuple[Sequence[int], AnyArray, HostArray]], *, records: bool
) -> Pairs:
    """Return predictions and targets without what filled up the batches of `split_batches`.

    Each batch is its lengths, the predictions, which are waited for, and the targets. Records are
    a pair each; windows stay together.
    """
    pairs: Pairs = []
    for lengths, computed, target in batches:
        pred = np.asarray(computed)
        if not records:
            pairs.append((pred[: len(lengths)], target[: len(lengths)]))
            continue
        for row, length in enumerate(lengths):
            first, second = (
                x[row : row + 1, :length] if x.ndim == 3 else x[row : row + 1]
                for x in (pred, target)
            )
            pairs.append((first, second))
    return pairs


def split_batches(
    source: Source, *, bs: int, pad: bool, fill: bool
) -> Iterator[tuple[list[int], Sample]]:
    """Yield the samples of a split in order: the true length of each that counts, and the batch.

    Windows come in batches of `bs`; with `fill`, the last batch repeats samples so that it has the
    shape of the others, and as many lengths as count. Whole records come in batches of neighbours
    of equal length; with `pad`, sequences are continued by their last sample to `padded_length`.
    """
    if not isinstance(source, BatchedSource):
        yield from _record_batches(source, bs, pad=pad)
        return
    bs = min(bs, len(source))
    for start in range(0, len(source), bs):
        indices = np.arange(start, min(start + bs, len(source)))
        batch = source.read_batch(np.resize(indices, bs) if fill else indices)
        yield [_length(batch, axis=1)] * len(indices), batch


def _length(sample: Sample, axis: int) -> int:
    return int(sample["u"].shape[axis])


def _record_batches(source: Source, bs: int, *, pad: bool) -> Iterator[tuple[list[int], Sample]]:
    waiting: list[tuple[int, Sample]] = []
    current = 0

    def stacked() -> tuple[list[int], Sample]:
        lengths, samples = zip(*waiting, strict=True)
        return list(lengths), {name: np.stack([s[name] for s in samples]) for name in samples[0]}

    for index in range(len(source)):
        sample = source[index]
        length = _length(sample, axis=0)
        wanted = padded_length(length) if pad else length
        full = len(waiting) >= bs or (len(waiting) + 1) * wanted > _MOST_SAMPLES
        if waiting and (wanted != current or full):
            yield stacked()
            waiting.clear()
        current = wanted
        more = ((0, wanted - length), (0, 0))
        waiting.append(
            (length, {k: np.pad(x, more, "edge") if x.ndim == 2 else x for k, x in sample.items()})
        )
    if waiting:
        yield stacked()
