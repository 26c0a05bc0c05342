"""Signals at another sampling rate than that of their files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from tsjax_core.data.checks import common_length, sample_range, window_starts
from tsjax_core.data.polyphase import antialias, as_ratio, linear, resampled_length
from tsjax_core.errors import ConfigError, DataError
from tsjax_core.protocols import (
    AttributeStore,
    LocatingStore,
    SampledStore,
    SignalStore,
    UnitStore,
    WindowStore,
)
from tsjax_core.types import HostArray

ResampleMethod: TypeAlias = Literal["antialias", "linear"]

_MOST = 1e4
_MOST_UP = 50.0
"""More samples than that for each old one are no resampling, but a time in another unit."""

_FILTERS = {"antialias": antialias, "linear": linear}


class ResampledStore:
    """The signals of another store at another sampling rate, resampled as they are read.

    Sample m of the new record stands at time m / rate after the first sample of the file. A record
    of n samples has floor((n - 1) * factor) + 1 new ones by either method: those that lie within
    it. A part that is read equals that part of the whole record resampled, and takes only its
    surroundings from the file, so long records stream.

    The factor is used as a ratio of integers within 1e-6 of it: over a million samples the new
    rate is off by at most one sample.

    Attributes are those of the file, except that `dt` and `fs` are those of the new rate.

    Args:
        store: Where the signals are.
        factor: New rate over old rate, 1e-4 to 1e4: 0.5 has half as many samples. Either this or
            `target_fs` is given.
        target_fs: New rate in Hz, the same for all files, whatever the rate of each.
        method: `antialias` is a zero-phase low-pass filter below the lower of the two Nyquist
            frequencies. `linear` interpolates between neighbours, and aliases where the new rate
            is the lower one.
        dt: Sampling time in seconds of the files that do not say, for `target_fs`.

    Raises ConfigError for a wrong argument, and DataError where `target_fs` meets a file that does
    not tell its sampling time.
    """

    def __init__(
        self,
        store: SignalStore,
        *,
        factor: float | None = None,
        target_fs: float | None = None,
        method: ResampleMethod = "antialias",
        dt: float | None = None,
    ) -> None:
        if (factor is None) == (target_fs is None):
            raise ConfigError(
                f"ResampledStore got factor = {factor} and target_fs = {target_fs}; "
                "give exactly one of them.",
                key="target_fs",
            )
        if method not in ("antialias", "linear"):
            raise ConfigError(
                f"method is {method!r}; it is 'antialias' or 'linear'.", key="resample"
            )
        if target_fs is not None and not 0 < target_fs < math.inf:
            raise ConfigError(
                f"target_fs is {target_fs}; a rate in Hz is finite and above 0.", key="target_fs"
            )
        self._store = store
        self._target_fs = target_fs
        self._method = method
        self._dt = dt
        self._ratio = None if factor is None else _checked_ratio(factor, "factor")
        self._ratios: dict[Path, Fraction] = {}

    def __repr__(self) -> str:
        rate = f"factor={self._ratio}" if self._ratio else f"target_fs={self._target_fs}"
        return f"ResampledStore({self._store!r}, {rate}, method={self._method!r})"

    @property
    def paths(self) -> Sequence[Path]:
        """The files of the store below."""
        return self._store.paths

    def ratio(self, path: Path) -> Fraction:
        """Return new rate over old rate as it is used for `path`."""
        if self._ratio is not None:
            return self._ratio
        if path not in self._ratios:
            assert self._target_fs is not None
            dt = self._raw_dt(path)
            if dt is None:
                raise DataError(
                    f"{path}: the file does not say how it was sampled, so it cannot be brought to "
                    f"{self._target_fs} Hz. Store the file attribute 'dt' (s) or 'fs' (Hz), name "
                    "the column of time of a CSV file, or give dt.",
                    path=path,
                )
            self._ratios[path] = _checked_ratio(self._target_fs * dt, "target_fs")
        return self._ratios[path]

    def get_dt(self, path: Path) -> float | None:
        """Return the new sampling time in seconds, None where the old one is not known."""
        dt = self._raw_dt(path)
        return None if dt is None else float(dt / self.ratio(path))

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of new samples of `signal` in `path`, or of the first signal there."""
        return resampled_length(self._store.get_seq_len(path, signal), self.ratio(path))

    def get_unit(self, path: Path, signal: str) -> str:
        """Return the unit of a signal as the file states it, empty where it does not."""
        store = self._store
        return store.get_unit(path, signal) if isinstance(store, UnitStore) else ""

    def locate(self, path: Path, signal: str) -> object:
        """Return what is equal for two names of the same numbers."""
        store = self._store
        return store.locate(path, signal) if isinstance(store, LocatingStore) else signal

    def count_targets(self, path: Path, signal: str) -> tuple[int, int]:
        """Return how many finite samples a signal has before, and after resampling."""
        before = self._store.read_signals(path, [signal])
        after = self.read_signals(path, [signal])
        return int(np.isfinite(before).sum()), int(np.isfinite(after).sum())

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the scalars `names` as float32, (len(names),)."""
        if not isinstance(self._store, AttributeStore):
            raise ConfigError(
                f"{path}: scalars ({', '.join(names)}) are attributes of HDF5 files, and "
                f"{type(self._store).__name__} has none.",
                key="u_scalars",
            )
        values = self._store.read_attributes(path, names)
        ratio = float(self.ratio(path))
        scale = {"fs": ratio, "dt": 1 / ratio}
        return values * np.array([scale.get(name, 1.0) for name in names], np.float32)

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return new samples `start` to `stop` as float32, (stop - start, len(signals))."""
        ratio, raw_length = self._ratio_and_length(path, signals)
        start, stop = sample_range(path, resampled_length(raw_length, ratio), start, stop)
        if ratio == 1:
            return self._store.read_signals(path, signals, start, stop)
        if start == stop:
            return np.empty((0, len(signals)), np.float32)
        filtering = _FILTERS[self._method](ratio)
        first, last = filtering.raw_range(start, stop, raw_length)
        raw = self._store.read_signals(path, signals, first, last)
        out = filtering.part(raw, first, start, stop).astype(np.float32)
        if np.isnan(out).any():
            self._keep_measured(path, signals, start, out, raw_length)
        return out

    def _keep_measured(
        self, path: Path, signals: Sequence[str], start: int, out: HostArray, raw_length: int
    ) -> None:
        """Give each new sample without a value the mean of the old ones that are nearest to it.

        So every sample that was measured stays, moved by half a new sampling time at most, where
        the filter would have needed others that are missing.
        """
        ratio = self.ratio(path)
        up, down = ratio.numerator, ratio.denominator
        # Old sample i is nearest to new sample floor(i ratio + 1/2).
        first = max(0, ((2 * start - 1) * down) // (2 * up))
        last = min(raw_length, ((2 * (start + len(out)) - 1) * down) // (2 * up) + 2)
        raw = self._store.read_signals(path, signals, first, last)
        number = (2 * np.arange(first, last) * up + down) // (2 * down) - start
        inside = (number >= 0) & (number < len(out))
        sums, counts = np.zeros(out.shape), np.zeros(out.shape)
        known = np.isfinite(raw[inside])
        np.add.at(sums, number[inside], np.where(known, raw[inside], 0.0))
        np.add.at(counts, number[inside], known)
        fill = np.isnan(out) & (counts > 0.0)
        out[fill] = sums[fill] / counts[fill]

    def read_windows(
        self, path: Path, signals: Sequence[str], starts: HostArray, win_sz: int
    ) -> HostArray:
        """Return the new windows from `starts` on as float32, (len(starts), win_sz, signals)."""
        ratio, raw_length = self._ratio_and_length(path, signals)
        out = np.empty((len(starts), win_sz, len(signals)), np.float32)
        if len(starts) == 0:
            return out
        window_starts(path, resampled_length(raw_length, ratio), starts, win_sz)
        inside = np.zeros(len(starts), bool)
        if ratio != 1 and isinstance(self._store, WindowStore):
            filtering = _FILTERS[self._method](ratio)
            first = filtering.lowest(starts)
            span = int((filtering.lowest(starts + win_sz - 1) - first).max()) + filtering.width
            inside = (first >= 0) & (first + span <= raw_length)
            if inside.any():
                raw = self._store.read_windows(path, signals, first[inside], span)
                out[inside] = filtering.windows(raw, starts[inside], win_sz)
                # Near missing samples, the filter does not say all.
                inside &= ~np.isnan(out).any(axis=(1, 2))
        for row in np.flatnonzero(~inside):
            start = int(starts[row])
            out[row] = self.read_signals(path, signals, start, start + win_sz)
        return out

    def _ratio_and_length(self, path: Path, signals: Sequence[str]) -> tuple[Fraction, int]:
        lengths = {name: self._store.get_seq_len(path, name) for name in signals}
        return self.ratio(path), common_length(path, lengths)

    def _raw_dt(self, path: Path) -> float | None:
        dt = self._store.get_dt(path) if isinstance(self._store, SampledStore) else None
        return self._dt if dt is None else dt


def _checked_ratio(factor: float, key: str) -> Fraction:
    if _MOST_UP < factor <= _MOST and key == "target_fs":
        raise ConfigError(
            f"target_fs asks for {factor:g} new samples for each one of the file, which has no "
            "such detail: is the unit of its time or rate another one? Correct it, by time_unit "
            f"for a column of time, or give a target_fs of at most {_MOST_UP:g} times the rate.",
            key=key,
        )
    if not 1 / _MOST <= factor <= _MOST:
        raise ConfigError(
            f"{key} asks for {factor:g} times the rate of the file; "
            f"between {1 / _MOST:g} and {_MOST:g} times is possible.",
            key=key,
        )
    return as_ratio(factor)
