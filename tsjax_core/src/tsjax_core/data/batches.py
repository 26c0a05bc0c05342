"""What training takes from a data set: the order of the windows and the batches of each epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.data.cutting import Division
from tsjax_core.data.sampling import EpochOrder, RoundsOrder, epoch_order, repeated_order
from tsjax_core.data.sources import FullSequenceSource, StackedSource
from tsjax_core.data.store import SPLITS, Split
from tsjax_core.data.weighting import WeightedSource
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchedSource, DrawnSource, PlannedSource, ResidentSource, Source
from tsjax_core.types import Batch, HostArray, Sample, Signals

_READ_THREADS = 2
_READ_AHEAD = 8
_MISSING_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class GrainPipeline:
    """The three splits of a data set, and the batches of each epoch.

    `train` gives windows in an order that `seed` and the epoch decide, in batches of `bs`; `valid`
    and `test` are read in order. `signals` has the names, the statistics of the training split
    and the sampling time. With `resident`, the training signals are meant to be kept on the device
    and windows cut there; `batch_indices` gives the same windows as `train_batches` reads.

    An epoch visits each window once at most, unless `train` is a `DrawnSource`, which decides that
    itself. It has `n_batches` batches where that is given, for which windows come again if they
    must, and never more than `max_batches`; `exact_batches` and `limit_batches` set these.

    `checksums` has one of the content of each split, made when its files were read. `division` is
    how a data set without splits of its own was cut, and `missing` says which signals have missing
    samples, and `blamed` which samples no model can compute with.

    Two pipelines are equal if they give equal batches and evaluate on equal data. Each field may be
    exchanged by `dataclasses.replace`, such as `train` by another source of
    equally shaped samples; `resident` then needs a `ResidentSource`.
    """

    train: BatchedSource
    valid: Source
    test: Source
    signals: Signals
    files: Mapping[Split, FullSequenceSource]
    bs: int = 16
    seed: int = 0
    resident: bool = False
    n_batches: int | None = None
    max_batches: int | None = None
    checksums: Mapping[Split, int] = field(default_factory=dict)
    division: Division | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    blamed: str = ""

    def __post_init__(self) -> None:
        given: Any = self.train
        if self.resident and not isinstance(given, ResidentSource):
            raise ConfigError(
                f"resident is true, and {type(given).__name__} cannot be kept on the device "
                "(it is no ResidentSource). Give resident=False.",
                key="resident",
            )
        if not isinstance(given, BatchedSource):
            object.__setattr__(self, "train", StackedSource(given))
        whole_number("bs", self.bs, "windows", least=1)
        for key, count in (("n_batches", self.n_batches), ("max_batches", self.max_batches)):
            if count is not None:
                whole_number(key, count, "batches", least=1)
        whole_number("seed", self.seed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GrainPipeline):
            return NotImplemented
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(self))

    def __hash__(self) -> int:
        return hash((self.train, self.bs, self.seed))

    @property
    def training_identity(self) -> tuple[Any, ...]:
        """What is equal in two pipelines whose training windows are the same."""
        return self.checksums.get("train"), self.train

    @cached_property
    def _example(self) -> Sample:
        return self.train.read_batch(np.zeros(1, np.int64))

    @property
    def has_position(self) -> bool:
        """Whether training batches say where in its sequence each sample stands."""
        return "position" in self._example

    def example_batch(self) -> Batch:
        """Return the keys, shapes and types of a training batch, without its values."""
        shape: Any = jax.ShapeDtypeStruct
        rows: Any = {
            key: shape((self.windows_per_batch, *x.shape[1:]), x.dtype)
            for key, x in self._example.items()
        }
        batch: Batch = rows
        return batch

    @property
    def win_sz(self) -> int:
        """Samples in a training window."""
        if isinstance(self.train, ResidentSource):
            return self.train.win_sz
        return int(self._example["u"].shape[1])

    @property
    def windows_per_batch(self) -> int:
        """Windows in a training batch: `bs`, or all where they are fewer and come once."""
        if self.n_batches is not None or isinstance(self.train, PlannedSource):
            return self.bs
        return min(self.bs, len(self.train))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; those windows that do not fill a batch wait for another epoch."""
        if self.n_batches is not None:
            steps = self.n_batches
        elif isinstance(self.train, PlannedSource):
            steps = self.train.count_batches(self.windows_per_batch)
        else:
            steps = max(1, len(self.train) // self.bs)
        return steps if self.max_batches is None else min(steps, self.max_batches)

    def batch_indices(self, epoch: int) -> Iterator[HostArray]:
        """Yield the indices into `train` of each batch of `epoch`, (windows_per_batch,)."""
        order, size = self._order(epoch), self.windows_per_batch
        return (order[k * size : (k + 1) * size] for k in range(self.steps_per_epoch))

    def index_blocks(self, epoch: int, size: int) -> Iterator[HostArray]:
        """Yield what `batch_indices` yields, `size` batches at a time.

        Each block is int64, (size, windows_per_batch), and the last one may be shorter. Raises
        ConfigError unless `size` is at least 1.
        """
        whole_number("size", size, "batches", least=1)
        order, width = self._order(epoch), self.windows_per_batch
        steps = self.steps_per_epoch
        for first in range(0, steps, size):
            last = min(first + size, steps)
            yield order[first * width : last * width].reshape(last - first, width)

    def train_batches(self, epoch: int) -> Iterator[Sample]:
        """Yield the batches of `epoch`, read ahead in two threads."""
        import grain

        order, size = self._order(epoch), self.windows_per_batch
        train = self.train

        def read(step: int) -> Sample:
            return train.read_batch(order[step * size : (step + 1) * size])

        ahead = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_READ_AHEAD)
        batches = grain.MapDataset.range(self.steps_per_epoch).map(read).to_iter_dataset(ahead)
        yield from batches

    def _order(self, epoch: int) -> EpochOrder | RoundsOrder | HostArray:
        """Return the windows that `epoch` visits, by position."""
        n, total = len(self.train), self.steps_per_epoch * self.windows_per_batch
        if isinstance(self.train, DrawnSource):
            return self.train.draw(total, seed=self.seed, epoch=epoch)
        if total <= n:
            return epoch_order(n, seed=self.seed, epoch=epoch)
        return repeated_order(n, total, seed=self.seed, epoch=epoch)

    def split(self, split: str) -> Source:
        """Return the source of `split`; ConfigError if there is no such split."""
        sources: dict[str, Source] = {s: getattr(self, s) for s in SPLITS}
        if split not in sources:
            raise ConfigError(
                f"there is no split {split!r}; give {', '.join(SPLITS)}.", key="split"
            )
        return sources[split]

    def records(self, split: Split) -> FullSequenceSource:
        """Return the whole files of `split`, whether or not it is read in windows."""
        return self.files[split]

    def file_names(self, split: Split) -> tuple[str, ...]:
        """Return a different name for each sample of a split of whole files, else nothing."""
        source = self.split(split)
        if not isinstance(source, FullSequenceSource):
            return ()
        paths = [path.absolute() for path in source.paths]
        if len({path.anchor for path in paths}) > 1:
            return tuple(path.as_posix() for path in paths)
        folder = Path(os.path.commonpath([path.parent for path in paths]))
        return tuple(path.relative_to(folder).as_posix() for path in paths)

    def file_lengths(self, split: Split) -> dict[str, int]:
        """Return the number of samples of each file of a split of whole files, else nothing."""
        names = self.file_names(split)
        return dict(zip(names, self.files[split].lengths.tolist(), strict=True)) if names else {}

    def __repr__(self) -> str:
        names = ", ".join(f"{key}={list(value)}" for key, value in self.signals.names.items())
        sizes = ", ".join(f"{split}: {_size_text(self.split(split))}" for split in SPLITS)
        counts = [
            f"{key}={getattr(self, key)}"
            for key in ("bs", "n_batches", "max_batches")
            if getattr(self, key) is not None
        ]
        return f"GrainPipeline({names}, {sizes}, {', '.join(counts)})"

    def summary(self) -> str:
        """Return what the pipeline holds, for a person to read."""
        signals = self.signals
        names = "; ".join(f"{key} = {', '.join(value)}" for key, value in signals.names.items())
        rate = "unknown" if signals.dt is None else f"{signals.dt:.6g} s ({1 / signals.dt:.6g} Hz)"
        lines = [names, f"sampling time {rate}"]
        if self.division is not None:
            lines.append(f"split: {self.division}")
        for split in SPLITS:
            records, source = self.files[split], self.split(split)
            count = f"{len(records)} {'file' if len(records) == 1 else 'files'}"
            total = f"{records.lengths.sum()} samples"
            lines.append(f"{split:<6}{count:<14}{total:<20}{_size_text(source)}")
        shown = list(self.missing.items())
        lines += [f"{what}: {text}" for what, text in shown[:_MISSING_SHOWN]]
        if len(shown) > _MISSING_SHOWN:
            lines.append(f"missing samples in {len(shown) - _MISSING_SHOWN} more signals")
        where = "cut on the device" if self.resident else "read from the files"
        lines.append(
            f"{self.steps_per_epoch} {'batch' if self.steps_per_epoch == 1 else 'batches'} of "
            f"{self.windows_per_batch} windows an epoch, {self._windows_text()}{where}"
        )
        return "\n".join(lines)

    def _windows_text(self) -> str:
        n, total = len(self.train), self.steps_per_epoch * self.windows_per_batch
        if isinstance(self.train, DrawnSource):
            return "drawn by weight, " if isinstance(self.train, WeightedSource) else "drawn, "
        if total > n:
            times = f"{total // n}" if total % n == 0 else f"{total // n} or {total // n + 1}"
            return f"each window {times} times, "
        if self.n_batches is not None or self.max_batches is not None:
            return f"{total} of {n} windows, "
        return ""


def limit_batches(pipeline: GrainPipeline, n_batches: int) -> GrainPipeline:
    """Return `pipeline` with epochs of at most `n_batches` training batches.

    A shorter epoch is the beginning of the whole one: a random part of the windows, none twice,
    and other windows in the next epoch. Evaluation still covers whole splits. Of several limits
    the least holds, also that of `exact_batches`.

    Raises ConfigError unless `n_batches` is a whole number of at least 1.
    """
    n_batches = whole_number("n_batches", n_batches, "batches", least=1)
    if pipeline.max_batches is not None:
        n_batches = min(n_batches, pipeline.max_batches)
    return replace(pipeline, max_batches=n_batches)


def exact_batches(pipeline: GrainPipeline, n_batches: int) -> GrainPipeline:
    """Return `pipeline` with epochs of exactly `n_batches` training batches of `bs` windows.

    Where the windows do not suffice they come again in another order, each once before any comes
    once more. A weighted source draws as many as are needed. Limits set before are lifted.

    Raises ConfigError unless `n_batches` is a whole number of at least 1.
    """
    n_batches = whole_number("n_batches", n_batches, "batches", least=1)
    return replace(pipeline, n_batches=n_batches, max_batches=None)


def _size_text(source: Source) -> str:
    if isinstance(source, FullSequenceSource):
        return "1 whole file" if len(source) == 1 else f"{len(source)} whole files"
    if isinstance(source, ResidentSource):
        weighted = "weighted " if isinstance(source, WeightedSource) else ""
        return f"{len(source)} {weighted}windows of {source.win_sz}"
    return f"{len(source)} samples"
