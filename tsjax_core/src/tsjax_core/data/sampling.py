"""The order in which an epoch visits the windows of a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tsjax_core.data.permutation import permuted
from tsjax_core.types import HostArray

# With the 4 rounds that Grain's MapDataset.shuffle takes, the steps from one index to the next
# show a pattern (chi-square 35 times its expectation over 65 536 windows); with 8 they do not.
_ROUNDS = 8

# A call for 16 384 positions takes 0.3 to 3 ms, and one for the 64 of a batch half of that.
_BLOCK = 1 << 14

# The cipher has blocks of at least 16 bits and skips what lies beyond n, so that an order of few
# windows costs as much as one of 65 536. Ranking as many members of a block is cheaper.
_RANKED_FROM = 1 << 16


@dataclass(frozen=True)
class EpochOrder:
    """A permutation of 0 to n - 1, that of Grain's sampler, made from a seed of 32 bits.

    `order[a:b]` returns positions a to b as int64. Blocks of 16 384 positions are computed where
    they are asked for, and the last few of them are kept.
    """

    n: int
    epoch_seed: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, part: slice) -> HostArray:
        """Return the indices at the positions `part`, which is contiguous."""
        start, stop, _ = part.indices(self.n)
        out = np.empty(max(0, stop - start), np.int64)
        for number in range(start // _BLOCK, -(-stop // _BLOCK)):
            first = number * _BLOCK
            block = _block(self.n, self.epoch_seed, number)[max(start - first, 0) : stop - first]
            place = max(first - start, 0)
            out[place : place + len(block)] = block
        return out


@lru_cache(maxsize=16)
def _block(n: int, seed: int, number: int) -> HostArray:
    """Return the indices at the positions from `number` times `_BLOCK` on."""
    positions = np.arange(number * _BLOCK, min(n, (number + 1) * _BLOCK))
    if n <= _BLOCK:
        return np.argsort(permuted(positions, _RANKED_FROM, seed, _ROUNDS))
    return permuted(positions, n, seed, _ROUNDS)


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
