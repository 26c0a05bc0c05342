"""Figures of merit of a split, and of each of its files and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
from flax import nnx

from tsjax_core.data.store import Split
from tsjax_core.inference.chunks import ModelRunner, padded_length
from tsjax_core.inference.initial_state import InitialState, simulate_with
from tsjax_core.losses.compose import NamedTerm
from tsjax_core.losses.wrapping import Arguments, NarrowedLoss
from tsjax_core.protocols import BatchedSource, Source
from tsjax_core.signatures import Declared, declare
from tsjax_core.training.step.engine import Engine, drop_skipped_samples
from tsjax_core.types import AnyArray, Batch, HostArray, Sample, is_sequence

if TYPE_CHECKING:
    from tsjax_core.data.batches import GrainPipeline

_MOST_SAMPLES = 1 << 18
"""Time steps in a batch of whole records, so that long records do not fill the memory."""


_WINDOWS = 64
"""Windows that are simulated together."""


Pairs: TypeAlias = list[tuple[HostArray, HostArray]]
"""Predictions and targets, both (batch, time, n_y), or (batch, n) for scalars."""


@dataclass(frozen=True)
class Scores:
    """Metrics by name, and by name and channel for the metrics that are channelwise."""

    metrics: Mapping[str, float]
    channels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation(Scores):
    """Scores of a whole split. `files` holds those of each file, where the split has files.

    `initial_state` says where the simulations began. `pairs` has the simulated and the measured
    outputs, without the samples that do not count: one pair (1, time, n_y) for each file of a split
    of whole files, else one for each batch of windows.
    """

    split: Split = "valid"
    loss: float = float("nan")
    files: Mapping[str, Scores] = field(default_factory=dict)
    initial_state: InitialState = field(default_factory=InitialState)
    pairs: Pairs = field(default_factory=list, repr=False, compare=False)

    @property
    def paired_files(self) -> Iterator[tuple[str, HostArray, HostArray]]:
        """The name of each file, and its simulated and measured outputs, (time, n_y)."""
        for name, (pred, target) in zip(self.files, self.pairs, strict=bool(self.files)):
            yield name, pred[0], target[0]

    def early_share(self, shortest: int = 10) -> tuple[int, float]:
        """Return how many samples are the first twentieth of each file, and their share of error.

        The share is that of the sum of the squared errors over all files, 0 to 1; NaN where no
        file has more than twice as many samples. `shortest` is the least number of samples.
        """
        lengths = [pred.shape[1] for pred, _ in self.pairs if pred.ndim == 3]
        count = max(shortest, min(lengths, default=0) // 20)
        if not self.files or min(lengths, default=0) < 2 * count:
            return count, float("nan")
        squares = [np.nan_to_num(np.square(pred - y, dtype=float)) for pred, y in self.pairs]
        total = sum(float(x.sum()) for x in squares)
        early = sum(float(x[:, :count].sum()) for x in squares)
        return count, early / total if total > 0.0 else float("nan")


class SplitEvaluator:
    """Simulates the splits of a pipeline, and computes loss and metrics on the whole of each.

    Args:
        pipeline: The data.
        engine: Computes losses that declare more than prediction and target, and transforms.
        terms: The loss.
        metrics: Metrics, with what they declare.
        reads: Batch keys that the model takes.
        n_skip: Samples at the start of each sequence that do not count.
        init_window: Samples of measured output that the model may use.
        initial: Where simulations begin.
        key: Decides what transforms that act in evaluation draw.
    """

    def __init__(
        self,
        pipeline: GrainPipeline,
        engine: Engine,
        terms: Sequence[NamedTerm],
        metrics: Sequence[Declared],
        *,
        reads: Sequence[str],
        n_skip: int,
        init_window: int,
        initial: InitialState,
        key: Any,
    ) -> None:
        self._pipeline = pipeline
        self._engine = engine
        self._terms = tuple(terms)
        self.metrics = tuple(metrics)
        """The metrics, with what they declare."""
        self._reads = tuple(reads)
        self._n_skip = n_skip
        self._init_window = init_window
        self._initial = initial
        self._key = key
        signals = pipeline.signals
        self._target = signals.target
        stats = signals.stats[self._target]
        self._y_stats = (stats.mean, stats.std)
        self._outputs = signals.names[self._target]

    def begin(self, split: Split, model: nnx.Module) -> PendingEvaluation:
        """Begin to simulate `split` by `model` as it is at the moment."""
        source = self._pipeline.split(split)
        runner = ModelRunner(model)
        pad = runner.is_stateful and self._target == "y"
        pending = []
        for lengths, batch in self._changed(
            split_batches(source, bs=self._pipeline.bs, pad=pad, fill=True)
        ):
            target = np.asarray(batch[self._target])
            _, counted = drop_skipped_samples(target, target, batch, self._n_skip, xp=np)
            cut = target.shape[1] - counted.shape[1] if target.ndim == 3 else 0
            counts = [length - cut for length in lengths]
            pending.append((counts, self._simulate(runner, batch), counted))
        records = not isinstance(source, BatchedSource)
        return PendingEvaluation(self, split, model, pending, records=records)

    def _simulate(self, runner: ModelRunner, batch: Batch) -> Callable[[], HostArray]:
        inputs = [np.asarray(batch[key]) for key in self._reads]
        if "y" in self._reads and self._init_window:
            at = self._reads.index("y")
            inputs[at] = keep_window(inputs[at], self._init_window)
        if not self._initial.needs_outputs:
            return runner.begin(inputs)
        y = simulate_with(self._initial, runner, inputs, np.asarray(batch[self._target]))
        return lambda: y

    def simulate_windows(
        self, model: nnx.Module, source: BatchedSource
    ) -> tuple[HostArray, HostArray]:
        """Return simulated and measured outputs of all windows, (windows, time, n_y) each.

        Every window is simulated by itself, from the state that the policy gives it.
        """
        runner = ModelRunner(model)
        pred, target = [], []
        for lengths, batch in self._changed(
            split_batches(source, bs=_WINDOWS, pad=False, fill=True)
        ):
            pred.append(self._simulate(runner, batch)()[: len(lengths)])
            target.append(np.asarray(batch[self._target])[: len(lengths)])
        return np.concatenate(pred), np.concatenate(target)

    def finish(
        self,
        split: Split,
        model: nnx.Module,
        pending: Sequence[tuple[Sequence[int], Callable[[], HostArray], HostArray]],
        *,
        records: bool,
        files: bool,
    ) -> Evaluation:
        """Wait for the simulations, and compute loss and metrics."""
        pairs: Pairs = []
        for lengths, computed, target in pending:
            pred = computed()
            if pred.ndim == 3:
                # The samples that do not count, which the targets lack.
                pred = pred[:, pred.shape[1] - target.shape[1] :]
            pairs += cut_pairs([(lengths, pred, target)], records=records)
        total = compute_scores(self.metrics, pairs, self._y_stats, self._outputs)
        # One scalar per file has no spread that a metric could relate its error to.
        names = self._pipeline.file_names(split) if files and self._target == "y" else ()
        by_file: dict[str, Scores] = {
            name: compute_scores(self.metrics, [pair], self._y_stats, self._outputs)
            for name, pair in zip(names, pairs, strict=False)
        }
        loss = self._loss_of(split, model, pairs)
        return Evaluation(total.metrics, total.channels, split, loss, by_file, self._initial, pairs)

    def _loss_of(self, split: Split, model: nnx.Module, pairs: Pairs) -> float:
        plain = [term for term in self._terms if not term.wants]
        if plain:
            return compute_loss(plain, pairs, self._y_stats)
        engine = self._engine
        weights = np.array([term.weight for term in self._terms], np.float32)
        total = weight = 0.0
        batches = split_batches(
            self._pipeline.split(split), bs=self._pipeline.bs, pad=False, fill=False
        )
        for _, batch in self._changed(batches):
            target = np.asarray(batch[self._target])
            _, target = drop_skipped_samples(target, target, batch, self._n_skip, xp=np)
            counted = count_measured(target)
            if not counted:
                continue
            terms = engine.batch_loss(model, batch, weights)
            total += counted * float(sum(terms.values()))
            weight += counted
        return total / weight if weight else float("nan")

    def _changed(
        self, batches: Iterator[tuple[list[int], Sample]]
    ) -> Iterator[tuple[list[int], Batch]]:
        """Yield the batches of a split after the transforms that act in evaluation too."""
        for number, (lengths, batch) in enumerate(batches):
            key = jax.random.fold_in(self._key, number)
            yield lengths, self._engine.transform.in_evaluation(batch, key)


@dataclass(frozen=True)
class PendingEvaluation:
    """Simulations of a split that are begun and perhaps not finished."""

    evaluator: SplitEvaluator
    split: Split
    model: nnx.Module
    pending: Sequence[tuple[Sequence[int], Callable[[], HostArray], HostArray]]
    records: bool

    def result(self, *, files: bool = False) -> Evaluation:
        """Wait for the simulations; with `files`, the scores of each file are computed too."""
        return self.evaluator.finish(
            self.split, self.model, self.pending, records=self.records, files=files
        )


def keep_window(y: AnyArray, window: int) -> HostArray:
    """Return measured outputs (batch, time, n_y) with zeros beyond the first `window` samples."""
    kept = np.zeros_like(np.asarray(y))
    kept[:, :window] = y[:, :window]
    return kept


def compute_scores(
    metrics: Sequence[Callable[..., Any]],
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
        declared = declare("metric", metric)
        inner, pred, target, stats = _join_pairs(declared, pairs, y_stats)
        values[declared.name] = float(inner(pred, target, *stats))
        if getattr(declared.component, "channelwise", False) and len(names) > 1:
            channels[declared.name] = {
                name: float(inner(pred[..., [i]], target[..., [i]], *(stat[[i]] for stat in stats)))
                for i, name in enumerate(names)
            }
    return Scores(values, channels)


def _join_pairs(
    metric: Declared, pairs: Pairs, y_stats: tuple[HostArray, HostArray]
) -> tuple[Declared, HostArray, HostArray, tuple[HostArray, HostArray]]:
    """Return the metric and what it is computed on, with all sequences joined into one record.

    Of a metric that is another one of a part of each sequence, that other one and those parts.
    """
    component: Any = metric.component
    while isinstance(component, NarrowedLoss):
        parts = [component.narrow(Arguments(*pair, *y_stats, {})) for pair in pairs]
        component = component.inner
        pairs = [(part.pred, part.target) for part in parts]
        y_stats = parts[0].y_mean, parts[0].y_std
    pred, target = (
        np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])[None]
        for arrays in zip(*pairs, strict=True)
    )
    return declare("metric", component).bind(**metric.bound), pred, target, y_stats


def compute_loss(
    terms: Sequence[NamedTerm],
    pairs: Pairs,
    y_stats: tuple[HostArray, HostArray],
) -> float:
    """Return the sum of the terms, averaged over sequences of unequal length.

    Each length counts by the measured elements that the term looks at, so that a loss that is a
    mean over them is that of the whole split; targets that are NaN were not measured. Equally long
    sequences are given to the terms as one batch, so that the loss of a split of windows is
    computed once.
    """
    by_shape = sorted(pairs, key=lambda pair: pair[0].shape[1:])
    totals, weights = np.zeros(len(terms)), np.zeros(len(terms))
    for _, group in groupby(by_shape, key=lambda pair: pair[0].shape[1:]):
        pred, target = (np.concatenate(arrays) for arrays in zip(*group, strict=True))
        for number, term in enumerate(terms):
            seen = _seen_by(term.loss.component, Arguments(pred, target, *y_stats, {}))
            measured = count_measured(seen)
            value = float(term(pred, target, *y_stats, {}))
            # A term that looks at a part of the channels or samples may have none measured here.
            if np.isnan(value) and measured < target.size and np.isfinite(pred).all():
                continue
            totals[number] += measured * value
            weights[number] += measured
    if not weights.all():
        return float("nan")
    return float((totals / weights).sum())


def _seen_by(loss: Any, arguments: Arguments) -> HostArray:
    """Return the targets that `loss` looks at."""
    while isinstance(loss, NarrowedLoss):
        arguments, loss = loss.narrow(arguments), loss.inner
    seen: HostArray = arguments.target
    return seen


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

    def stack() -> tuple[list[int], Sample]:
        lengths, samples = zip(*waiting, strict=True)
        return list(lengths), {name: np.stack([s[name] for s in samples]) for name in samples[0]}

    for index in range(len(source)):
        sample = source[index]
        length = _length(sample, axis=0)
        wanted = padded_length(length) if pad else length
        full = len(waiting) >= bs or (len(waiting) + 1) * wanted > _MOST_SAMPLES
        if waiting and (wanted != current or full):
            yield stack()
            waiting.clear()
        current = wanted
        waiting.append((length, {k: _continued(k, x, wanted) for k, x in sample.items()}))
    if waiting:
        yield stack()


def _continued(key: str, x: HostArray, length: int) -> HostArray:
    """Return a sequence of a sample, continued by its last value; scalars as they are."""
    if not is_sequence(key) or len(x) == length:
        return x
    return np.pad(x, [(0, length - len(x)), *[(0, 0)] * (x.ndim - 1)], "edge")
