"""Files whose quaternions are resampled as rotations, and the angles that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tsjax_core.data.checks import common_length, sample_range
from tsjax_core.data.polyphase import resampled_length
from tsjax_core.data.resample import ResampledStore, ResampleMethod
from tsjax_core.errors import ConfigError, MissingSignalError
from tsjax_core.protocols import SampledStore, SignalStore
from tsjax_core.types import AnyArray, HostArray
from tsjax_quat.algebra import normalize, to_roll_pitch_yaw
from tsjax_quat.angles import inclination
from tsjax_quat.interpolation import slerp

_ANGLES: Final[Mapping[str, Callable[[HostArray], AnyArray]]] = {
    "inclination": inclination,
    "roll": lambda q: to_roll_pitch_yaw(q)[..., 0],
    "pitch": lambda q: to_roll_pitch_yaw(q)[..., 1],
}
_UNITS: Final[Mapping[str, float]] = {"rad": 1.0, "deg": 180.0 / np.pi}


class QuaternionStore:
    """The files of another store, with quaternions interpolated by slerp, of unit length.

    A part of a quaternion resampled by itself is no rotation, and where the file changes between q
    and -q, which are the same, the samples between them would be nothing at all. Other signals are
    resampled as `ResampledStore` does. Slerp does not filter: choose a rate well above twice the
    highest frequency of the motion. A new sample beside a missing one is missing, NaN.

    Beside the signals of the files there are the angles of each quaternion as signals of their own,
    for models whose target is an angle: of `quat` these are `quat_inclination_rad`,
    `quat_inclination_deg`, and the same with `roll` and `pitch`.

    Args:
        store: The files as they are.
        quaternions: The first part of the names of each quaternion, to which `_w`, `_x`, `_y` and
            `_z` are added, or w, x, y and z alone.
        method: How other signals are resampled: antialias (zero-phase low-pass filter) or linear.
        target_fs: New rate in Hz, that of the files unless given.
        dt: Sampling time in seconds of files that do not say.

    Raises:
        ConfigError: No quaternion is named, or the rate is out of range.
    """

    def __init__(
        self,
        store: SignalStore,
        *,
        quaternions: tuple[str, ...] = ("quat",),
        method: ResampleMethod = "antialias",
        target_fs: float | None = None,
        dt: float | None = None,
    ) -> None:
        if not quaternions or len(set(quaternions)) < len(quaternions):
            raise ConfigError(
                f"quat/slerp got quaternions = {list(quaternions)!r}; give the first part of the "
                'names of each quaternion once, such as ["quat"] for quat_w, quat_x, quat_y, '
                "quat_z.",
                key="quaternions",
            )
        self._raw = store
        self._dt = dt
        self._resampled = (
            None
            if target_fs is None
            else ResampledStore(store, target_fs=target_fs, method=method, dt=dt)
        )
        self._channels: dict[str, tuple[str, ...]] = {}
        for stem in quaternions:
            for form in (f"{stem}_", stem):
                channels = tuple(f"{form}{axis}" for axis in "wxyz")
                self._channels |= dict.fromkeys(channels, channels)
        self._stems = tuple(quaternions)

    def __repr__(self) -> str:
        return f"QuaternionStore({self._resampled or self._raw!r}, quaternions={self._stems!r})"

    @property
    def paths(self) -> Sequence[Path]:
        """The files."""
        return self._raw.paths

    def get_dt(self, path: Path) -> float | None:
        """Return the sampling time in seconds, None where it is not known."""
        if self._resampled is not None:
            return self._resampled.get_dt(path)
        dt = self._raw.get_dt(path) if isinstance(self._raw, SampledStore) else None
        return self._dt if dt is None else dt

    def get_seq_len(self, path: Path, signal: str | None = None) -> int:
        """Return the number of samples of `signal` in `path`, or of the first signal there."""
        if signal is not None and (angle := self._angle(signal)):
            lengths = {n: self._below.get_seq_len(path, n) for n in self._stem(path, angle[0])}
            return common_length(path, lengths)
        return self._below.get_seq_len(path, signal)

    def read_attributes(self, path: Path, names: Sequence[str]) -> HostArray:
        """Return the scalars `names` as float32, (len(names),)."""
        below: ResampledStore = self._resampled or ResampledStore(self._raw, factor=1.0)
        return below.read_attributes(path, names)

    def read_signals(
        self, path: Path, signals: Sequence[str], start: int = 0, stop: int | None = None
    ) -> HostArray:
        """Return samples `start` to `stop` as float32, (stop - start, len(signals))."""
        length = common_length(path, {name: self.get_seq_len(path, name) for name in signals})
        start, stop = sample_range(path, length, start, stop)
        out = np.empty((stop - start, len(signals)), np.float32)
        plain = [n for n, s in enumerate(signals) if not (self._angle(s) or s in self._channels)]
        if plain:
            names = [signals[n] for n in plain]
            out[:, plain] = self._below.read_signals(path, names, start, stop)
        read: dict[tuple[str, ...], HostArray] = {}
        for number, signal in enumerate(signals):
            if number in plain:
                continue
            angle = self._angle(signal)
            group = self._stem(path, angle[0]) if angle else self._channels[signal]
            if group not in read:
                read[group] = self._quaternion(path, group, start, stop)
            if angle:
                out[:, number] = np.asarray(_ANGLES[angle[1]](read[group])) * _UNITS[angle[2]]
            else:
                out[:, number] = read[group][:, group.index(signal)]
        return out

    @property
    def _below(self) -> SignalStore:
        return self._raw if self._resampled is None else self._resampled

    def _angle(self, signal: str) -> tuple[str, str, str] | None:
        """Return quaternion, angle and unit of a signal that is an angle."""
        rest, _, unit = signal.rpartition("_")
        stem, _, kind = rest.rpartition("_")
        known = stem in self._stems and kind in _ANGLES and unit in _UNITS
        return (stem, kind, unit) if known else None

    def _stem(self, path: Path, stem: str) -> tuple[str, ...]:
        """Return the channels of the quaternion `stem` in the form in which the file has them."""
        underscored, joined = (self._channels[f"{form}w"] for form in (f"{stem}_", stem))
        try:
            self._raw.get_seq_len(path, joined[0])
        except MissingSignalError:
            return underscored
        return joined

    def _quaternion(self, path: Path, group: tuple[str, ...], start: int, stop: int) -> HostArray:
        """Return a quaternion in float64, (stop - start, 4), NaN where a sample is missing."""
        if start == stop:
            return np.empty((0, 4))
        if self._resampled is None or (ratio := self._resampled.ratio(path)) == 1:
            return _unit(self._raw.read_signals(path, group, start, stop))
        raw_length = common_length(path, {n: self._raw.get_seq_len(path, n) for n in group})
        assert stop <= resampled_length(raw_length, ratio)
        # Sample m stands at m / ratio samples of the file, exactly in whole numbers.
        at = np.arange(start, stop, dtype=np.int64) * ratio.denominator
        before, part = at // ratio.numerator, (at % ratio.numerator) / ratio.numerator
        first, last = int(before[0]), min(int(before[-1]) + 2, raw_length)
        raw = _unit(self._raw.read_signals(path, group, first, last))
        here = raw[before - first]
        after = raw[np.minimum(before - first + 1, len(raw) - 1)]
        # A sample that stands on one of the file does not depend on the next.
        return np.where(part[:, None] == 0.0, here, np.asarray(slerp(here, after, part)))


def _unit(raw: HostArray) -> HostArray:
    """Return quaternions of length 1 in float64, NaN as a whole where one part is."""
    missing = ~np.isfinite(raw).all(-1, keepdims=True)
    unit = np.asarray(normalize(np.where(missing, 1.0, raw.astype(np.float64))))
    return np.where(missing, np.nan, unit)
