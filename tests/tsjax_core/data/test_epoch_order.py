from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from grain.experimental import index_shuffle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tsjax_core.data.permutation import permuted
from tsjax_core.data.sampling import epoch_order


@given(n=st.integers(1, 200), seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6))
def test_each_index_once(n, seed, epoch):
    """An epoch visits every index exactly once."""
    assert sorted(epoch_order(n, seed=seed, epoch=epoch)[:]) == list(range(n))


@given(n=st.integers(1, 300), bs=st.integers(1, 70), start=st.integers(0, 310))
def test_any_part_by_itself(n, bs, start):
    """A part is the same whether or not the rest is computed."""
    order = epoch_order(n, seed=3, epoch=1)
    part = order[start : start + bs]
    assert part.dtype == np.int64
    np.testing.assert_array_equal(part, order[:][start : start + bs])


@pytest.mark.parametrize("n", [16385, 70000])
def test_is_made_by_grains_sampler(n):
    """Each position is given by Grain's permutation of n for the seed of the epoch, in 8 rounds."""
    order = epoch_order(n, seed=5, epoch=2)
    wanted = [index_shuffle(i, n - 1, order.epoch_seed, 8) for i in range(100, 200)]
    assert order[100:200].tolist() == wanted
    assert len(order) == n


@pytest.mark.slow
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), rounds=st.integers(2, 40))
@settings(deadline=None, max_examples=30)
def test_permutation_is_that_of_grain(data, seed, rounds):
    """Any positions of any permutation are those that Grain computes one by one."""
    n = data.draw(st.integers(1, 2**61) | st.integers(1, 10**6) | st.just(2**24))
    # Of n - 1 in these Grain keeps 16, 18, ... bits, which are those of 0.
    assume(n - 1 not in {4**k for k in range(8, 31)})
    positions = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20))
    wanted = [index_shuffle(i, n - 1, seed, 2 * rounds) for i in positions]
    assert permuted(np.array(positions, np.int64), n, seed, 2 * rounds).tolist() == wanted


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
@pytest.mark.parametrize("rounds", [68, 622, 624])
def test_many_rounds(seed, rounds):
    """The keys of very many rounds, for which they are mixed otherwise, are those of Grain too."""
    wanted = [index_shuffle(i, 10**8, seed, rounds) for i in range(5)]
    assert permuted(np.arange(5), 10**8 + 1, seed, rounds).tolist() == wanted


def test_one_more_than_a_power_of_four():
    """Every index comes once where Grain, which drops the highest bit, has one of them twice."""
    n = 4**8 + 1
    assert index_shuffle(n - 1, n - 1, 3, 8) == index_shuffle(0, n - 1, 3, 8)
    assert np.array_equal(np.sort(permuted(np.arange(n), n, 3, 8)), np.arange(n))


@pytest.mark.parametrize("n", [16384, 16385])
def test_whole_epoch_either_way(n):
    """On both sides of the bound, up to which orders are ranked, an epoch is a permutation."""
    assert np.array_equal(np.sort(epoch_order(n, seed=0, epoch=0)[:]), np.arange(n))


def test_part_of_many_blocks():
    """A part that begins and ends inside blocks is a part of the permutation of all positions."""
    order = epoch_order(10**8, seed=4, epoch=0)
    for first, last in ((16383, 16385), (1000, 60000), (99_990_000, 10**9), (40, 40), (50, 40)):
        wanted = permuted(np.arange(first, min(last, 10**8)), 10**8, order.epoch_seed, 8)
        np.testing.assert_array_equal(order[first:last], wanted)


def test_changed_part_changes_no_other():
    """What a caller does with the indices does not reach the next one who asks."""
    order = epoch_order(100, seed=0, epoch=0)
    first = order[:10]
    first[:] = 0
    assert len(set(order[:10].tolist())) == 10


def excess_of_steps(order):
    """Chi-square per degree of freedom of the steps between neighbours, 1 for a random order."""
    n = len(order)
    steps = (np.asarray(order)[1:] - np.asarray(order)[:-1]) % n
    counts = np.bincount(steps * 256 // n, minlength=256)
    return float(((counts - counts.mean()) ** 2).sum() / counts.mean() / 255)


@pytest.mark.parametrize("n", [5000, 65536])
def test_neighbours_are_unrelated(n):
    """The steps from one index to the next are as evenly spread as in a random order."""
    assert 0.7 < excess_of_steps(epoch_order(n, seed=0, epoch=0)[:]) < 1.4


def test_pattern_of_few_rounds_is_seen():
    """The test above fails for the order that Grain's own shuffle gives."""
    assert excess_of_steps([index_shuffle(i, 65535, 1, 4) for i in range(65536)]) > 10


def test_epochs_and_seeds_are_unrelated():
    """No order of a pair of seed and epoch returns for another pair."""
    orders = {
        tuple(epoch_order(50, seed=seed, epoch=epoch)[:])
        for seed in range(20)
        for epoch in range(20)
    }
    assert len(orders) == 400


def test_places_are_equally_likely():
    """Over many epochs each index comes first about equally often."""
    first = [int(epoch_order(10, seed=0, epoch=e)[:1][0]) for e in range(3000)]
    counts = np.bincount(first, minlength=10)
    assert counts.min() > 200
    assert counts.max() < 400


def test_is_the_same_in_every_process():
    """The order is that of this list, whatever the process, its hash seed and the machine."""
    code = (
        "from tsjax_core.data.sampling import epoch_order;"
        "print(epoch_order(100, seed=1, epoch=1)[:8].tolist())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [80, 3, 83, 63, 46, 44, 92, 56]
    assert told.stdout.strip() == str(here)
    assert epoch_order(100, seed=1, epoch=1)[:8].tolist() == here


@pytest.mark.parametrize("seed, epoch", [(-1, 0), (0, -1)])
def test_negative_seed(seed, epoch):
    """Seed and epoch are not negative."""
    with pytest.raises(ValueError):
        epoch_order(3, seed=seed, epoch=epoch)
