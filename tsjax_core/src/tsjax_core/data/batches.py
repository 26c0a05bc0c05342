"""What training takes from a data set: the order of the windows and the batches of each epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tsjax_core.data import options
from tsjax_core.data.sampling import epoch_order
from tsjax_core.data.sources import FullSequenceSource
from tsjax_core.data.store import SPLITS, Split
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchedSource, ResidentSource, Source
from tsjax_core.types import HostArray, Sample, Signals

_READ_THREADS = 2
_READ_AHEAD = 8


@dataclass(frozen=True, eq=False, repr=False)
class GrainPipeline:
    """The three splits of a data set, and the batches of each epoch.

    `train` gives windows in an order that `seed` and the epoch decide, in batches of `bs`; `valid`
    and `test` are read in order. `signals` has the names, the statistics of the training split
    and the sampling time. With `resident`, the training signals are meant to be kept on the device
    and windows cut there; `batch_indices` gives the same windows as `train_batches` reads.

    Each field may be exchanged by `dataclasses.replace`, such as `train` by another source of
    equally shaped samples; `resident` then needs a `ResidentSource`.
    """

    train: BatchedSource
    valid: Source
    test: Source
    signals: Signals
    files: Mapping[Split, FullSequenceSource]
    bs: int = 64
    seed: int = 0
    resident: bool = False

    def __post_init__(self) -> None:
        options.checked_count("bs", self.bs)
        options.checked_count("seed", self.seed, least=0)
        if self.resident and not isinstance(self.train, ResidentSource):
            raise ConfigError(
                f"resident is true, and {type(self.train).__name__} cannot be kept on the device "
                "(it is no ResidentSource). Give resident=False.",
                key="resident",
            )

    @property
    def win_sz(self) -> int:
        """Samples in a training window."""
        if isinstance(self.train, ResidentSource):
            return self.train.win_sz
        return len(self.train[0]["u"])

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; those windows that do not fill a batch wait for another epoch."""
        return max(1, len(self.train) // self.bs)

    def batch_indices(self, epoch: int) -> Iterator[HostArray]:
        """Yield the indices into `train` of each batch of `epoch`, (bs,), or of all if fewer."""
        order = epoch_order(len(self.train), seed=self.seed, epoch=epoch)
        return (order[k * self.bs : (k + 1) * self.bs] for k in range(self.steps_per_epoch))

    def train_batches(self, epoch: int) -> Iterator[Sample]:
        """Yield the batches of `epoch`, read ahead in two threads."""
        import grain

        order = epoch_order(len(self.train), seed=self.seed, epoch=epoch)
        train, bs = self.train, self.bs

        def read(step: int) -> Sample:
            return train.read_batch(order[step * bs : (step + 1) * bs])

        ahead = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_READ_AHEAD)
        batches = grain.MapDataset.range(self.steps_per_epoch).map(read).to_iter_dataset(ahead)
        yield from batches

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
        return f"GrainPipeline({names}, {sizes}, bs={self.bs})"

    def summary(self) -> str:
        """Return what the pipeline holds, for a person to read."""
        signals = self.signals
        names = "; ".join(f"{key} = {', '.join(value)}" for key, value in signals.names.items())
        rate = "unknown" if signals.dt is None else f"{signals.dt:.6g} s ({1 / signals.dt:.6g} Hz)"
        lines = [names, f"sampling time {rate}"]
        for split in SPLITS:
            records, source = self.files[split], self.split(split)
            count = f"{len(records)} {'file' if len(records) == 1 else 'files'}"
            total = f"{records.lengths.sum()} samples"
            lines.append(f"{split:<6}{count:<14}{total:<20}{_size_text(source)}")
        where = "cut on the device" if self.resident else "read from the files"
        lines.append(
            f"{self.steps_per_epoch} {'batch' if self.steps_per_epoch == 1 else 'batches'} of "
            f"{min(self.bs, len(self.train))} windows an epoch, "
            f"{where}"
        )
        return "\n".join(lines)


def _size_text(source: Source) -> str:
    if isinstance(source, FullSequenceSource):
        return "1 whole file" if len(source) == 1 else f"{len(source)} whole files"
    if isinstance(source, ResidentSource):
        return f"{len(source)} windows of {source.win_sz}"
    return f"{len(source)} samples"
