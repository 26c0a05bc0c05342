"""Signals in HDF5 files."""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsjax_core.checks import choice
from tsjax_core.data.checks import common_length, missing_signal, sample_range, window_starts
from tsjax_core.data.hdf5_layout import (
    Layout,
    find_layout,
    open_hdf5,
    read_scalar,
    reading,
    signal_names,
)
from tsjax_core.data.hdf5_time import read_axis, read_unit
from tsjax_core.data.offsets import check_offsets
from tsjax_core.data.time_axis import UNITS, TimeAxis
from tsjax_core.errors import DataError, UnreadableFileError
from tsjax_core.types import HostArray

# A mapping and an open file each hold a descriptor, and a process has 256 of them on some systems.
_MAX_MAPS = 96
_MAX_FILES = 16
_CHUNK_CACHE = 1 << 20

# Bytes of mapped files that may be resident before they are given back: what was read stays in
# the system's cache, but counts as memory of the process while it is mapped.
_MAX_RESIDENT = 128 << 20
# The most that Linux maps around a byte that is read: on common processors, the pages of its
# cache are no larger.
_AROUND = 2 << 20


class HDF5Store:
    """Signals in HDF5 files, read where they lie.

    A signal is named by the path of its data set in the file (`u`, `imu/acc_x`), or by
    `name:column` where it is a column of a 2-D (time, columns) data set. Any integer or float type
    of either byte order is returned as float32. Contiguous uncompressed data sets are mapped into
    memory, of which no more than 128 MB stay resident from one read to the next; others are read
    through HDF5. Nothing is opened before the first read, at most about one hundred files are open
    at once, and the store can be sent to another process.

    Scalars are attributes of the file, `name:index` for one value of an array attribute. The
    sampling time is the attribute `dt` in seconds or `fs` in Hz of the file, of a group or of a
    signal, or a data set of one such number, or follows from a data set of times; these must agree.

    Args:
        paths: The files.
        preload: Keep each signal in memory from its first read on. Another process that gets the
            store reads for itself.
        time: The data set of times. Unless given, one that is called like a time and has as many
            samples as the signals; an empty text for none.
        time_unit: Its unit: s, ms, us, ns, min, h or d. Unless given, the one of its attribute
            `units` or at the end of its name; without any, numbers that are dates counted from 1970
            are taken as such, and others are seconds.
        gaps: refuse: a gap between times is an error. split: `get_stretches` gives the samples
            between the gaps.
        offsets: Numbers that are taken off signals, by name, before these become 32-bit numbers.

    Raises UnreadableFileError, MissingSignalError, UnsupportedDatasetError, UnequalLengthError and
    WindowError, each naming the file, when the signals are first asked for.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        preload: bool = False,
        time: str | None = None,
        time_unit: str | None = None,
        gaps: Literal["refuse", "split"] = "refuse",
        offsets: Mapping[str, float] | None = None,
    ) -> None:
        if time_unit is not None:
            choice("time_unit", time_unit, tuple(UNITS))
        choice("gaps", gaps, ("refuse", "split"))
        self._paths = tuple(Path(path) for path in paths)
        self._preload = preload
        self._time: dict[str, Any] = {"time": time, "time_unit": time_unit, "gaps": gaps}
        self._offsets = check_offsets(offsets)
        self._axes: dict[tuple[Path, tuple[str, ...]], TimeAxis | None] = {}
        self._layouts: dict[Path, dict[str, Layout]] = {}
        self._asked: dict[str, None] = {}
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.RLock()
        self._maps: OrderedDict[Path, mmap.mmap] = OrderedDict()
        self._files: OrderedDict[Path, tuple[Any, dict[str, Any]]] = OrderedDict()
        self._held: dict[tuple[Path, str], HostArray] = {}
        self._touched = 0

    def __getstate__(self) -> dict[str, Any]:
        left_behind = ("_lock", "_maps", "_files", "_held", "_touched")
        return {name: value for name, value in vars(self).items() if name not in left_behind}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start_empty()

    def __repr__(self) -> str:
        return f"HDF5Store({len(self._paths)} files, preload={self._preload})"

    @property
    def paths(self) -> Sequence[Path]:
        """The files, in the order given."""
        return self._paths

    def signal_names(self, path: Path) -> list[str]:
        """Return every name that can be read from `path`."""
        with open_hdf5(path) as file:
            return signal_names(file)

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal` in `path`, or of the first signal there."""
        if signal is None:
            names = self.signal_names(path)
            if not names:
                raise missing_signal(path, "", names)
            signal = names[0]
        return self._layout(path, signal).length

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time of `path` in seconds, None where the file does not say.

        It is that of the signals that were asked for.
        """
        axis = self.read_axis(path, tuple(self._asked))
        return None if axis is None else axis.dt

    def get_stretches(self, path: Path) -> Sequence[tuple[int, int]]:
        """Return first sample and end of each stretch of `path` without a gap between times."""
        axis = self.read_axis(path, tuple(self._asked))
        whole = ((0, self.get_seq_len(path, next(iter(self._asked), None))),)
        return whole if axis is None or not axis.stretches else axis.stretches

    def read_axis(self, path: Path, signals: Sequence[str]) -> TimeAxis | None:
        """Return what `path` says of the sampling of `signals`, None where it says nothing."""
        key = path, tuple(signals)
        if key not in self._axes:
            with open_hdf5(path) as file:
                self._axes[key] = read_axis(file, path, signals, **self._time)
        return self._axes[key]

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the attribute unit or units of a signal, empty where there is none."""
        with open_hdf5(path) as file:
            return read_unit(file, signal)

    def locate(self, path: Path, signal: str) -> object:
        """Return what is equal for two names of the same numbers."""
        return self._layout(path, signal).key

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the file attributes `names` as float32, (len(names),)."""
        with open_hdf5(path) as file:
            return np.array([read_scalar(file, path, name) for name in names], np.float32)

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` as float32, (stop - start, len(signals))."""
        layouts, length = self._layouts_of(path, signals)
        start, stop = sample_range(path, length, start, stop)
        out = np.empty((stop - start, len(signals)), np.float32)
        unmapped = []
        for j, (signal, layout) in enumerate(zip(signals, layouts, strict=True)):
            array = self._array(path, signal, layout)
            if array is None:
                unmapped.append(j)
            else:
                _assign(out[:, j], array[start:stop], self._still_to_take_off(layout))
                self._count_read(array, len(out))
        self._read_unmapped(path, layouts, unmapped, start, out)
        return out

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the windows from `starts` on as float32, (len(starts), win_sz, len(signals))."""
        layouts, length = self._layouts_of(path, signals)
        out = np.empty((len(starts), win_sz, len(signals)), np.float32)
        if len(starts) == 0:
            return out
        window_starts(path, length, starts, win_sz)
        unmapped = []
        for j, (signal, layout) in enumerate(zip(signals, layouts, strict=True)):
            array = self._array(path, signal, layout)
            if array is None:
                unmapped.append(j)
            else:
                _assign(
                    out[..., j],
                    sliding_window_view(array, win_sz)[starts],
                    self._still_to_take_off(layout),
                )
                self._count_read(array, win_sz, len(starts))
        # In order of time, so that neighbouring windows find their chunk decompressed.
        for i in np.argsort(starts) if unmapped else ():
            self._read_unmapped(path, layouts, unmapped, int(starts[i]), out[i])
        return out

    def _layouts_of(self, path: Path, signals: Sequence[str]) -> tuple[list[Layout], int]:
        layouts = [self._layout(path, signal) for signal in signals]
        lengths = {name: layout.length for name, layout in zip(signals, layouts, strict=True)}
        return layouts, common_length(path, lengths)

    def _layout(self, path: Path, signal: str) -> Layout:
        known = self._layouts.get(path, {})
        if signal not in known:
            with self._lock, open_hdf5(path) as file:
                found = {signal: find_layout(file, path, signal)}
                # Files of one data set are alike: what was asked of one is asked of the next,
                # and opening a file costs more than looking at it.
                for other in self._asked.keys() - {signal}:
                    with contextlib.suppress(DataError):
                        found[other] = find_layout(file, path, other)
                self._asked[signal] = None
                found = {
                    name: replace(layout, taken_off=self._offsets.get(name, 0.0))
                    for name, layout in found.items()
                }
                known = self._layouts[path] = {**known, **found}
        return known[signal]

    def _array(self, path: Path, signal: str, layout: Layout) -> HostArray | None:
        """Return the whole channel, held in memory or mapped; None where only HDF5 can read it."""
        if not self._preload:
            return self._mapped(path, layout)
        held = self._held.get((path, signal))
        if held is None:
            held = np.empty(layout.length, np.float32)
            array = self._mapped(path, layout)
            if array is None:
                self._read_unmapped(path, [layout], [0], 0, held[:, None])
            else:
                _assign(held, array, layout.taken_off)
                self._give_back()
            self._held[path, signal] = held
        return held

    def _still_to_take_off(self, layout: Layout) -> float:
        """Return what is taken off a channel that is read; what is held is without it."""
        return 0.0 if self._preload else layout.taken_off

    def _mapped(self, path: Path, layout: Layout) -> HostArray | None:
        if layout.offset is None:
            return None
        with self._lock:
            mapping = self._maps.pop(path, None)
            if mapping is None:
                with reading(path), path.open("rb") as file:
                    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[path] = mapping
            # A mapping that is dropped here stays until the arrays on it are gone.
            while len(self._maps) > _MAX_MAPS:
                self._maps.popitem(last=False)
        end = layout.offset + int(np.prod(layout.shape)) * layout.dtype.itemsize
        if end > len(mapping):
            raise UnreadableFileError(
                f"{path}: {layout.dataset!r} ends at byte {end} and the file at {len(mapping)}; "
                "it is truncated. Copy or write it again.",
                path=path,
                signal=layout.dataset,
            )
        if layout.is_row and layout.column is not None:
            array = np.ndarray(layout.shape[::-1], layout.dtype, mapping, layout.offset).T
        else:
            array = np.ndarray(layout.shape, layout.dtype, mapping, layout.offset)
        return array if layout.column is None else array[:, layout.column]

    def _count_read(self, array: HostArray, samples: int, pieces: int = 1) -> None:
        """Count what was read of a mapped `array`, and give it all back when it is much."""
        if self._preload:
            return  # read from what is held
        touched = pieces * (samples * array.strides[0] + _AROUND)
        with self._lock:
            self._touched += min(touched, len(array) * array.strides[0])
            if self._touched >= _MAX_RESIDENT:
                self._give_back()

    def _give_back(self) -> None:
        """Let no page of a mapped file be resident; the next read of one maps it again."""
        with self._lock:
            self._touched = 0
            # Windows has no such advice, and trims what is mapped by itself.
            if advice := getattr(mmap, "MADV_DONTNEED", None):
                for mapping in self._maps.values():
                    mapping.madvise(advice)

    def _read_unmapped(
        self,
        path: Path,
        layouts: Sequence[Layout],
        which: Sequence[int],
        start: int,
        out: HostArray,
    ) -> None:
        """Fill the channels `which` of `out` (time, channels) with samples from `start` on."""
        blocks: dict[str, HostArray] = {}
        for j in which:
            layout = layouts[j]
            if layout.dataset not in blocks:
                # The lock is held over the read: another thread may close the file after it.
                with self._lock, reading(path):
                    dataset = self._dataset(path, layout.dataset)
                    part = slice(start, start + len(out))
                    block = dataset[:, part].T if layout.is_row else dataset[part]
                    blocks[layout.dataset] = block
            block = blocks[layout.dataset]
            # A data set of one column is one channel, and has two axes.
            flat = block.reshape(-1) if layout.column is None else block[:, layout.column]
            _assign(out[:, j], flat, layout.taken_off)

    def _dataset(self, path: Path, name: str) -> Any:
        import h5py

        file, datasets = self._files.pop(path, (None, {}))
        if file is None:
            file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE)
        self._files[path] = file, datasets
        while len(self._files) > _MAX_FILES:
            self._files.popitem(last=False)[1][0].close()
        # A data set that is opened anew has lost its decompressed chunks.
        if name not in datasets:
            datasets[name] = file[name]
        return datasets[name]


def _assign(out: HostArray, values: HostArray, taken_off: float) -> None:
    # A value beyond float32 becomes infinite, which the statistics report with its place.
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = values - taken_off if taken_off else values
