"""Statistics of channels, and the checks that a training set has to pass.

Mean and variance are merged block by block in float64 by the formula of Chan, Golub and LeVeque
(Updating formulae and a pairwise algorithm for computing sample variances, 1979), which does not
cancel where a small signal stands on a large offset.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.data.checks import common_length, listing
from tsjax_core.errors import ConstantChannelError, NonFiniteError
from tsjax_core.protocols import SignalStore
from tsjax_core.types import HostArray, NormStats

_BLOCK = 1 << 16

_STEPS = 4.0
"""Steps of 32-bit numbers that a standard deviation has at least."""

_LARGE = 1e4
"""Below that, a channel that hardly varies is one that is constant."""


@dataclass(frozen=True, eq=False)
class ChannelStats:
    """Statistics of each channel over the finite samples of a split, all (n,), in float64.

    `std` is that of the population (divided by the count). `nonfinite` counts the samples that are
    NaN or infinite by file and channel name, only where there are any, and `infinite` those that
    are infinite; `lengths` has the samples of each file, and `checksums` one of all that was read
    of it, further signals included.
    """

    names: tuple[str, ...]
    count: HostArray
    mean: HostArray
    std: HostArray
    min: HostArray
    max: HostArray
    files: int
    nonfinite: Mapping[tuple[Path, str], int] = field(default_factory=dict)
    infinite: Mapping[tuple[Path, str], int] = field(default_factory=dict)
    lengths: Mapping[Path, int] = field(default_factory=dict)
    checksums: Mapping[Path, int] = field(default_factory=dict)

    @property
    def checksum(self) -> int:
        """One checksum of all files, in their order."""
        return zlib.crc32(repr(list(self.checksums.values())).encode())

    def norm_stats(self, names: Sequence[str]) -> NormStats:
        """Return mean and standard deviation of the channels `names`, in that order."""
        rows = [self.names.index(name) for name in names]
        return NormStats(self.mean[rows], self.std[rows])

    def require_varying(self, split: str) -> None:
        """Raise ConstantChannelError for a channel that has one value, or nearly, throughout.

        Raise NonFiniteError for one that has no finite sample at all.
        """
        for row, name in enumerate(self.names):
            where = f"all of {split} ({self.files} {'file' if self.files == 1 else 'files'})"
            if self.count[row] == 0:
                raise NonFiniteError(
                    f"{name!r} has no finite sample in {where}; leave it out.", signal=name
                )
            largest = max(abs(self.min[row]), abs(self.max[row]))
            spacing = float(np.spacing(np.float32(largest)))
            lost = (
                f" The 32-bit numbers of models stand {spacing:.3g} apart there, and smaller "
                f"changes are lost. Take the level off before: offsets = {{{name!r} = "
                f"{self.mean[row]:.9g}}}."
                if largest > _LARGE
                else ""
            )
            # Below `tiny`, float32 cannot hold the deviation that models divide by.
            if self.min[row] == self.max[row] or self.std[row] < np.finfo(np.float32).tiny:
                raise ConstantChannelError(
                    f"{name!r} has the value {self.min[row]:.9g} in {where}; a channel that never "
                    "changes cannot be normalised and teaches nothing. Leave it out, or train on "
                    f"files in which it changes.{lost}",
                    signal=name,
                    level=float(f"{self.mean[row]:.9g}") if lost else None,
                )
            if self.std[row] < _STEPS * spacing and largest > _LARGE:
                raise ConstantChannelError(
                    f"{name!r} lies near {self.mean[row]:.9g} in {where}, and varies by "
                    f"{self.std[row]:.3g}.{lost}",
                    signal=name,
                    level=float(f"{self.mean[row]:.9g}"),
                )


def require_measured(
    scans: Mapping[Any, Mapping[str, ChannelStats]], outputs: Sequence[str]
) -> None:
    """Raise NonFiniteError for a split in which no output was measured at all."""
    for split, by_key in scans.items():
        scan = by_key.get("y")
        if scan is None or not outputs:
            continue
        rows = [scan.names.index(name) for name in outputs]
        if not scan.count[rows].any():
            raise NonFiniteError(
                f"{listing(outputs)}: no finite sample in any file of {split}, so that nothing can "
                "be compared there. Give other files, or other shares in split.",
                signal=outputs[0],
            )


def blame_samples(scans: Mapping[Any, Mapping[str, ChannelStats]], inputs: Sequence[str]) -> str:
    """Return a sentence where samples reach the model that no model can compute with, else ''.

    Of inputs these are those that are not finite, of outputs those that are infinite.
    """
    places = []
    for split in ("train", "valid"):
        scan = scans[split].get("u")
        if scan is None:
            continue
        for (path, name), count in scan.nonfinite.items():
            infinite = scan.infinite.get((path, name), 0)
            if name in inputs or infinite:
                places.append(f"{path}: {count if name in inputs else infinite} in {name!r}")
    if not places:
        return ""
    return (
        f"Samples that are NaN or infinite reach the model or the loss: {listing(places, shown=3)}."
        " Correct or cut them; allow_nan leaves out outputs that are NaN alone."
    )


def require_finite(scans: Iterable[ChannelStats]) -> None:
    """Raise NonFiniteError that lists what is NaN or infinite in any of `scans`."""
    bad = {place: count for scan in scans for place, count in scan.nonfinite.items()}
    if bad:
        places = [f"{path}: {count} in {name!r}" for (path, name), count in bad.items()]
        path, signal = next(iter(bad))
        raise NonFiniteError(
            f"samples are NaN or infinite: {listing(places)}. Correct or cut them. With allow_nan "
            "they are accepted: the losses and metrics of core leave out targets that are NaN; "
            "NaN in inputs and infinite values are yours to treat.",
            path=path,
            signal=signal,
        )


def scan_signals(
    store: SignalStore, signals: Sequence[str], further: Sequence[str] = ()
) -> ChannelStats:
    """Return the statistics of `signals` over all files of `store`, read once block by block.

    Signals in `further` are part of the checksum alone.
    """
    total = _Moments(len(signals))
    nonfinite: dict[tuple[Path, str], int] = {}
    both = [*signals, *further]
    samples: dict[Path, int] = {}
    checksums: dict[Path, int] = {}
    infinite: dict[tuple[Path, str], int] = {}
    for path in store.paths:
        lengths = {name: store.get_seq_len(path, name) for name in both}
        length = samples[path] = common_length(path, lengths)
        missing = np.zeros(len(signals), np.int64)
        beyond = np.zeros(len(signals), np.int64)
        checksum = zlib.crc32(f"{length} ".encode())
        for start in range(0, length, _BLOCK):
            block = store.read_signals(path, both, start, min(start + _BLOCK, length))
            checksum = zlib.crc32(block.tobytes(), checksum)
            block = block[:, : len(signals)]
            beyond += np.isinf(block).sum(axis=0)
            missing += len(block) - total.add(block.astype(np.float64))
        checksums[path] = checksum
        for name, count in zip(signals, missing.tolist(), strict=True):
            if count:
                nonfinite[path, name] = count
        for name, count in zip(signals, beyond.tolist(), strict=True):
            if count:
                infinite[path, name] = count
    return total.stats(signals, nonfinite, infinite, samples, checksums)


def scan_scalars(paths: Sequence[Path], names: Sequence[str], values: HostArray) -> ChannelStats:
    """Return the statistics of scalars `values` (files, n), every file counting once."""
    total = _Moments(len(names))
    total.add(np.asarray(values, np.float64))
    bad = np.argwhere(~np.isfinite(values))
    nonfinite = {(paths[file], names[row]): 1 for file, row in bad}
    rows = np.asarray(values, np.float32)
    checksums = {path: zlib.crc32(row.tobytes()) for path, row in zip(paths, rows, strict=True)}
    return total.stats(names, nonfinite, {}, dict.fromkeys(paths, 1), checksums)


def compute_norm_stats(
    store: SignalStore, signals: Sequence[str], *, allow_nan: bool = False
) -> NormStats:
    """Return mean and standard deviation of `signals` over all files of `store`.

    The files are read once, in blocks, however long they are. Raises NonFiniteError for samples
    that are NaN or infinite, unless `allow_nan` leaves them out of the statistics, and
    ConstantChannelError for a channel that has one value throughout.
    """
    stats = scan_signals(store, signals)
    if not allow_nan:
        require_finite([stats])
    stats.require_varying("the files")
    return stats.norm_stats(signals)


class _Moments:
    """Count, mean, sum of squared deviations and range, grown block by block."""

    def __init__(self, n: int) -> None:
        self.count = np.zeros(n, np.int64)
        self.mean = np.zeros(n)
        self.squares = np.zeros(n)
        self.min = np.full(n, np.inf)
        self.max = np.full(n, -np.inf)

    def add(self, block: HostArray) -> HostArray:
        """Merge a block (time, n) and return how many finite samples each channel had in it."""
        finite = np.isfinite(block)
        count: HostArray = finite.sum(axis=0)
        if len(block) == 0:
            return count
        held = np.where(finite, block, 0.0)
        mean = held.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(finite, block - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        step = np.where(count > 0, mean - self.mean, 0.0)
        self.squares += squares + step**2 * self.count * count / total
        self.mean += step * count / total
        self.count += count
        self.min = np.minimum(self.min, np.where(finite, block, np.inf).min(axis=0))
        self.max = np.maximum(self.max, np.where(finite, block, -np.inf).max(axis=0))
        return count

    def stats(
        self,
        names: Sequence[str],
        nonfinite: Mapping[tuple[Path, str], int],
        infinite: Mapping[tuple[Path, str], int],
        lengths: Mapping[Path, int],
        checksums: Mapping[Path, int],
    ) -> ChannelStats:
        """Return what was merged."""
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        return ChannelStats(
            tuple(names),
            self.count,
            self.mean,
            std,
            self.min,
            self.max,
            len(lengths),
            nonfinite,
            infinite,
            lengths,
            checksums,
        )
