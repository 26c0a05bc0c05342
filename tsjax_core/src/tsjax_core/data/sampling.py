"""The order in which an epoch visits the windows of a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsjax_core.types import HostArray

# With the 4 rounds that Grain's MapDataset.shuffle takes, the steps from one index to the next
# show a pattern (chi-square 35 times its expectation over 65 536 windows); with 8 they do not.
_ROUNDS = 8

# Grain permutes blocks of at least 16 bits and skips what lies beyond n, so that an order of few
# windows costs as much as one of 65 536. Ranking as many members of a block is cheaper.
_RANKED = 1 << 14
_BLOCK = 1 << 16


@dataclass(frozen=True)
class EpochOrder:
    """A permutation of 0 to n - 1, made by Grain's sampler from a seed of 32 bits.

    `order[a:b]` returns positions a to b as int64, and beyond 16 384 windows computes no others.
    """

    n: int
    epoch_seed: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, part: slice) -> HostArray:
        """Return the indices at the positions `part`."""
        if self.n <= _RANKED:
            return self._ranked[part]
        return self._shuffled(range(self.n)[part], self.n)

    @cached_property
    def _ranked(self) -> HostArray:
        return np.argsort(self._shuffled(range(self.n), _BLOCK))

    def _shuffled(self, positions: range, block: int) -> HostArray:
        from grain.experimental import index_shuffle

        last, seed = block - 1, self.epoch_seed
        shuffled = (index_shuffle(position, last, seed, _ROUNDS) for position in positions)
        return np.fromiter(shuffled, np.int64, len(positions))


@dataclass(frozen=True)
class RoundsOrder:
    """Permutations of the same windows, one after the other: each comes once in every round."""

    rounds: tuple[EpochOrder, ...]

    def __len__(self) -> int:
        return sum(len(order) for order in self.rounds)

    def __getitem__(self, part: slice) -> HostArray:
        """Return the indices at the positions `part`, which is contiguous."""
        start, stop, _ = part.indices(len(self))
        n = len(self.rounds[0])
        touched = range(start // n, -(-stop // n))
        pieces = [self.rounds[k][max(start - k * n, 0) : stop - k * n] for k in touched]
        return np.concatenate([np.empty(0, np.int64), *pieces])


def epoch_order(n: int, *, seed: int, epoch: int) -> EpochOrder:
    """Return the shuffled order of `n` windows in `epoch`, the same on every machine.

    `seed` and `epoch` are 0 or more; the orders of two different pairs are unrelated.
    """
    return EpochOrder(n, _seed_of(seed, epoch))


def repeated_order(n: int, length: int, *, seed: int, epoch: int) -> RoundsOrder:
    """Return an order of at least `length` positions, that of `epoch_order` and then others.

    Every further round is an independent permutation of the `n` windows, 1 or more.
    """
    further = (EpochOrder(n, _seed_of(seed, epoch, k)) for k in range(1, -(-length // n)))
    return RoundsOrder((epoch_order(n, seed=seed, epoch=epoch), *further))


def uniform_draws(n: int, *, seed: int, epoch: int) -> HostArray:
    """Return `n` uniform draws of `epoch` in [0, 1), in steps of 2**-53, the same on every machine.

    More draws begin with fewer. Counter-based generator Philox 4x64-10 (Salmon et al. 2011).
    """
    # NumPy keeps the raw stream of a bit generator from version to version, and that of a
    # Generator not.
    raw = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(epoch,))).random_raw(n)
    return (raw >> np.uint64(11)) * 2.0**-53


def _seed_of(seed: int, *key: int) -> int:
    # Grain adds the epoch to the seed, by which seed 1 would repeat the second epoch of seed 0.
    mixed = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint32)
    return int(mixed[0])
