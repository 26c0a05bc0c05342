"""The order in which an epoch visits the windows of a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsjax_core.types import HostArray

# Grain's own MapDataset.shuffle takes as many rounds of its cipher.
_ROUNDS = 4


@dataclass(frozen=True)
class EpochOrder:
    """A permutation of 0 to n - 1, of which any part is computed by itself.

    `order[a:b]` returns positions a to b as int64 without computing the others. The permutation is
    that of Grain's sampler for `epoch_seed`, a number of 32 bits.
    """

    n: int
    epoch_seed: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, part: slice) -> HostArray:
        """Return the indices at the positions `part`."""
        from grain.experimental import index_shuffle

        positions = range(self.n)[part]
        last, seed = self.n - 1, self.epoch_seed
        shuffled = (index_shuffle(position, last, seed, _ROUNDS) for position in positions)
        return np.fromiter(shuffled, np.int64, len(positions))


def epoch_order(n: int, *, seed: int, epoch: int) -> EpochOrder:
    """Return the shuffled order of `n` windows in `epoch`, the same on every machine.

    `seed` and `epoch` are 0 or more; the orders of two different pairs are unrelated.
    """
    # Grain adds the epoch to the seed, by which seed 1 would repeat the second epoch of seed 0.
    mixed = np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(1, np.uint32)
    return EpochOrder(n, int(mixed[0]))
