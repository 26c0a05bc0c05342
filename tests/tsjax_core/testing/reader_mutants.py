"""Sources and stores that break one clause each of their contract."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tsjax_core.errors import DataError, MissingSignalError, SavedModelError, WindowError


class SoundSource:
    """Five windows of 8 samples with two inputs, one output and a scalar: keeps every clause."""

    win_sz = 8
    n = 5
    resident_bytes = 4 * 40 * 3

    def read_resident(self):
        rng = np.random.default_rng(0)
        shapes = {"u": (40, 2), "y": (40, 1), "u_scalar": (1, 1)}
        return {key: rng.standard_normal(s).astype(np.float32) for key, s in shapes.items()}

    def locate(self, indices):
        return indices * 8, np.zeros_like(indices)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < 5:
            raise IndexError(index)
        return self.read(index)

    def read(self, index):
        whole = self.read_resident()
        part = slice(index * 8, index * 8 + 8)
        return {"u": whole["u"][part], "y": whole["y"][part], "u_scalar": whole["u_scalar"][0]}

    def read_batch(self, indices):
        samples = [self[int(index)] for index in indices]
        return {key: np.stack([s[key] for s in samples]) for key in samples[0]}


class Plain:
    """One sample at a time, and nothing else."""

    def __init__(self):
        self.inner = SoundSource()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self.inner[index]


class Ordered(Plain):
    """Positions, an order of its own, and weights: keeps every clause."""

    weights = None

    def __getitem__(self, index):
        position = np.arange(8, dtype=np.int32) + 8 * np.int32(index)
        return {**self.inner[index], "position": position}

    def read_batch(self, indices):
        samples = [self[int(index)] for index in indices]
        return {key: np.stack([s[key] for s in samples]) for key in samples[0]}

    def draw(self, n, *, seed, epoch):
        usable = np.arange(5) if self.weights is None else np.flatnonzero(self.weights)
        rng = np.random.default_rng((seed, epoch))
        rounds = [rng.permutation(usable) for _ in range(-(-n // len(usable)) or 1)]
        return np.concatenate(rounds)[:n].astype(np.int64)

    def count_batches(self, bs):
        return -(-5 // bs)

    def with_weights(self, weights):
        other = type(self)()
        other.weights = weights
        return other


class PositionsInPairs(Ordered):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "position": sample["position"] // 2}


class PositionsAsNumbers(Ordered):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "position": sample["position"].astype(np.float32)}


class FewerAreOthers(Ordered):
    def draw(self, n, *, seed, epoch):
        return super().draw(n, seed=seed + n, epoch=epoch)


class OneOrderForAll(Ordered):
    def draw(self, n, *, seed, epoch):
        return super().draw(n, seed=0, epoch=0)


class OneBatchTooFew(Ordered):
    def count_batches(self, bs):
        return max(1, 5 // bs - (bs == 1))


class ForgetsItsWeights(Ordered):
    def with_weights(self, weights):
        return self


class OneMoreThanDeclared(Plain):
    def __len__(self):
        return 6


class CountsFromTheEnd(Plain):
    def __getitem__(self, index):
        return self.inner[index + 5 if index < 0 else index]


class NoEnd(Plain):
    def __getitem__(self, index):
        if index < 0:
            raise IndexError(index)
        return self.inner[index % 5]


class DoublePrecision(Plain):
    def __getitem__(self, index):
        return {key: value.astype(np.float64) for key, value in self.inner[index].items()}


class OutputsInOneColumnWithoutAxis(Plain):
    def __getitem__(self, index):
        sample = self.inner[index]
        return {**sample, "y": sample["y"][:, 0]}


class ShorterOutput(Plain):
    def __getitem__(self, index):
        sample = self.inner[index]
        return {**sample, "y": sample["y"][:-1]}


class OneChannelMoreAtTheEnd(Plain):
    def __getitem__(self, index):
        sample = self.inner[index]
        return {**sample, "u": np.tile(sample["u"], (1, 2))} if index == 4 else sample


class AddsNoise(Plain):
    def __getitem__(self, index):
        sample = self.inner[index]
        noise = np.random.default_rng().standard_normal(sample["u"].shape).astype(np.float32)
        return {**sample, "u": sample["u"] + noise}


class HoldsALambda(Plain):
    def __init__(self):
        super().__init__()
        self.scale = lambda x: x


class DependsOnTheProcess(Plain):
    def __getitem__(self, index):
        sample = self.inner[index]
        return {**sample, "u": sample["u"] + np.float32(os.getpid())}


class SortsItsBatch(SoundSource):
    def read_batch(self, indices):
        return super().read_batch(np.sort(indices))


class GivesItsOwnSamples(Plain):
    def __init__(self):
        super().__init__()
        self.held = [SoundSource()[index] for index in range(5)]

    def __getitem__(self, index):
        if index < 0:
            raise IndexError(index)
        return self.held[index]


class WrapsItsBatch(SoundSource):
    def read_batch(self, indices):
        return super().read_batch(np.asarray(indices) % 5)


class LocatesOneTooFar(SoundSource):
    def locate(self, indices):
        starts, files = super().locate(indices)
        return np.where(starts < 32, starts + 1, starts), files


class SoundStore:
    """Two files of two signals, made up where they are read: keeps every clause."""

    def __init__(self):
        self.lengths = {Path("first.dat"): 20, Path("second.dat"): 13}

    @property
    def paths(self):
        return tuple(self.lengths)

    def column(self, path, name):
        if name not in {"a", "b"}:
            raise MissingSignalError(f"{path}: no signal {name!r}.")
        return np.random.default_rng(ord(name)).standard_normal(self.lengths[path])

    def get_seq_len(self, path, signal=None):
        return len(self.column(path, signal or "a"))

    def read_signals(self, path, signals, start=0, stop=None):
        n = self.get_seq_len(path, signals[0])
        stop = n if stop is None else stop
        if not 0 <= start <= stop <= n:
            raise WindowError(f"{path}: samples {start} to {stop} of {n}.")
        columns = [self.column(path, name)[start:stop] for name in signals]
        return np.stack(columns, 1).astype(np.float32)

    def read_windows(self, path, signals, starts, win_sz):
        return np.stack([self.read_signals(path, signals, s, s + win_sz) for s in starts])

    def read_attributes(self, path, names):
        return np.ones(len(names), np.float32)

    def get_dt(self, path):
        return 0.1 if path.name == "first.dat" else None


class PathsInTurn(SoundStore):
    @property
    def paths(self):
        self.lengths = dict(reversed(self.lengths.items()))
        return tuple(self.lengths)


class OneMoreThanRead(SoundStore):
    def get_seq_len(self, path, signal=None):
        return super().get_seq_len(path, signal) + 1

    def read_signals(self, path, signals, start=0, stop=None):
        return SoundStore().read_signals(path, signals, start, stop)


class DoublePrecisionStore(SoundStore):
    def read_signals(self, path, signals, start=0, stop=None):
        return super().read_signals(path, signals, start, stop).astype(np.float64)


class OwnOrder(SoundStore):
    def read_signals(self, path, signals, start=0, stop=None):
        return super().read_signals(path, sorted(signals), start, stop)


class FiltersWhatIsAsked(SoundStore):
    def read_signals(self, path, signals, start=0, stop=None):
        values = super().read_signals(path, signals, start, stop)
        return np.cumsum(values, 0, dtype=np.float32)

    def read_windows(self, path, signals, starts, win_sz):
        super().read_windows(path, signals, starts, win_sz)
        whole = self.read_signals(path, signals)
        return np.stack([whole[s : s + win_sz] for s in starts])


class CutsTheRange(SoundStore):
    def read_signals(self, path, signals, start=0, stop=None):
        n = self.get_seq_len(path, signals[0])
        stop = min(n if stop is None else stop, n)
        return super().read_signals(path, signals, min(max(start, 0), stop), stop)

    def read_windows(self, path, signals, starts, win_sz):
        return SoundStore().read_windows(path, signals, starts, win_sz)


class RefusesWithoutTheFile(SoundStore):
    def read_signals(self, path, signals, start=0, stop=None):
        try:
            return super().read_signals(path, signals, start, stop)
        except WindowError:
            raise WindowError("out of range") from None


class CutsTheRangeOfTheSecond(CutsTheRange):
    def read_signals(self, path, signals, start=0, stop=None):
        chosen = super() if path.name == "second.dat" else SoundStore()
        return chosen.read_signals(path, signals, start, stop)


class CountsNothingUnasked(SoundStore):
    def get_seq_len(self, path, signal=None):
        return super().get_seq_len(path, signal) if signal else 0


class ZerosForUnknown(SoundStore):
    def column(self, path, name):
        return super().column(path, name) if name in {"a", "b"} else np.zeros(self.lengths[path])


class RefusesWithoutTheName(SoundStore):
    def column(self, path, name):
        if name not in {"a", "b"}:
            raise DataError(f"{path}: no such thing")
        return super().column(path, name)


class GivesItsOwnMemory(SoundStore):
    def __init__(self):
        super().__init__()
        self.held = {}

    def read_signals(self, path, signals, start=0, stop=None):
        part = super().read_signals(path, signals, start, stop)
        if (start, stop) != (0, None) or len(signals) == 1:
            return part
        return self.held.setdefault((path, *signals), part)


class HoldsAFile(SoundStore):
    def __init__(self):
        super().__init__()
        self.file = lambda: None


class WindowsOneTooFar(SoundStore):
    def read_windows(self, path, signals, starts, win_sz):
        n = self.get_seq_len(path) - win_sz
        return super().read_windows(path, signals, np.minimum(starts + 1, n), win_sz)


class WrapsItsWindows(SoundStore):
    def read_windows(self, path, signals, starts, win_sz):
        whole = np.concatenate([self.read_signals(path, signals)] * 3)
        n = self.get_seq_len(path)
        return np.stack([whole[n + s : n + s + win_sz] for s in starts])


class RaisesWhatCannotBeSent(SoundStore):
    def __init__(self):
        super().__init__()
        self.process = os.getpid()

    def read_signals(self, path, signals, start=0, stop=None):
        if os.getpid() != self.process:
            raise SavedModelError("not here", path=path)
        return super().read_signals(path, signals, start, stop)


class AttributesInTurn(SoundStore):
    def read_attributes(self, path, names):
        self.turn = getattr(self, "turn", 0.0) + 1.0
        return np.full(len(names), self.turn, np.float32)


class AttributesAsRows(SoundStore):
    def read_attributes(self, path, names):
        return np.ones((len(names), 1), np.float32)


class SamplingRate(SoundStore):
    def get_dt(self, path):
        return float("inf")
