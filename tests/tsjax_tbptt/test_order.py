"""In which row of which batch each chunk comes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tsjax_tbptt.order import ByWeight, EveryOnce, draw_chunks, order_of
from tsjax_tbptt.sequences import cut_files

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def sequences_of(sizes):
    return cut_files(np.array(sizes), None, 1)


def check_rows(table, sequences):
    """Down a row, every chunk follows the one before, or begins a sequence after a whole one."""
    first, blank = sequences.first, sequences.n_chunks
    last = set((first[1:] - 1).tolist())
    for row in table.T.tolist() if len(table) else ():
        assert row[0] in [*first[:-1].tolist(), blank]
        for before, after in pairwise(row):
            goes_on = after == before + 1 and before not in last
            begins = before in last and after in [*first[:-1].tolist(), blank]
            assert goes_on or begins or before == after == blank


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 5), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_shows_every_chunk_once_in_rows_that_go_on(sizes, rows, seed, epoch):
    """And takes hardly more steps than the best arrangement could."""
    sequences = sequences_of(sizes)
    order = EveryOnce(sequences, rows, sequences.n_chunks)
    table = order.round(seed, (epoch, 0), order.steps)
    assert table.shape == (order.steps, rows)
    real = table[table < sequences.n_chunks]
    assert sorted(real.tolist()) == list(range(sequences.n_chunks))
    check_rows(table, sequences)
    # Graham's bound (1969) for the longest first: 4/3 - 1/(3 rows) of the best.
    least = max(*sizes, -(-sum(sizes) // rows))
    best = min_steps(sizes, rows) if len(sizes) <= 6 else None
    assert order.steps >= least
    if best is not None:
        assert order.steps <= (4 / 3 - 1 / (3 * rows)) * best + 1e-9


def min_steps(sizes, rows):
    """The fewest steps, by trying every arrangement."""
    best = sum(sizes)

    def deal(rest, loads):
        nonlocal best
        if max(loads) >= best:
            return
        if not rest:
            best = max(loads)
            return
        for row in range(rows):
            deal(rest[1:], [*loads[:row], loads[row] + rest[0], *loads[row + 1 :]])

    best += 1
    deal(sizes, [0] * rows)
    return best


def test_equal_sequences_that_divide_by_the_rows_leave_no_row_blank():
    """Ordinary training has as many batches."""
    sequences = sequences_of([4] * 12)
    order = EveryOnce(sequences, 3, sequences.n_chunks)
    assert order.steps == 16
    assert (order.round(0, (0, 0), order.steps) < sequences.n_chunks).all()


def test_orders_follow_seed_and_epoch_and_mix_all_sequences():
    """Equal ones are equal, others differ; every sequence comes in every row, early and late."""
    sequences = sequences_of([3] * 8)
    order = EveryOnce(sequences, 2, sequences.n_chunks)
    tables = [
        order.round(seed, (epoch, 0), order.steps) for seed in range(40) for epoch in range(2)
    ]
    # Of 40320 orders, 80 draws may hit one twice.
    assert len({table.tobytes() for table in tables}) >= len(tables) - 2
    np.testing.assert_array_equal(order.round(3, (1, 0), 12), tables[7])
    places = np.zeros((8, 2, 4))
    for table in tables:
        for row in range(2):
            for slot, chunk in enumerate(table[::3, row]):
                places[chunk // 3, row, slot] += 1
    assert chisquare(places.reshape(-1)).pvalue > 1e-3


def test_an_order_stays_the_same_from_version_to_version():
    """Philox and sorting decide it; a change of either would show here."""
    sequences = sequences_of([2, 1, 2, 3])
    order = EveryOnce(sequences, 2, sequences.n_chunks)
    print(
        order.round(0, (0, 0), order.steps).tolist(), order.round(1, (2, 0), order.steps).tolist()
    )
    assert order.round(0, (0, 0), order.steps).tolist() == PINNED[0]
    assert order.round(1, (2, 0), order.steps).tolist() == PINNED[1]


PINNED = [[[5, 3], [6, 4], [7, 0], [2, 1]], [[2, 3], [5, 4], [6, 0], [7, 1]]]


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 7), st.integers(0, 4))
def test_an_order_without_end_goes_on_from_epoch_to_epoch(sizes, rows, batches, seed):
    """Epochs one after the other are the rounds one after the other, wherever they are cut."""
    sequences = sequences_of(sizes)
    order = EveryOnce(sequences, rows, sequences.n_chunks)
    epochs = [
        draw_chunks(order, batches * rows, seed=seed, epoch=e, epoch_batches=batches)
        for e in range(5)
    ]
    joined = np.concatenate(epochs).reshape(-1, rows)
    n_rounds = -(-len(joined) // order.steps)
    rounds = np.concatenate([order.round(seed, (k,), order.steps) for k in range(n_rounds)])
    np.testing.assert_array_equal(joined, rounds[: len(joined)])


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 80), st.booleans())
def test_more_samples_than_an_epoch_are_further_rounds(sizes, rows, n, weighted):
    """Each of them whole, and fewer samples are the first of more."""
    sequences = sequences_of(sizes)
    weights = np.append(np.ones(sequences.n_chunks), 0.0) if weighted else None
    order = order_of(sequences, rows, weights)
    drawn = draw_chunks(order, n, seed=1, epoch=2, epoch_batches=None)
    assert drawn.shape == (n,)
    more = draw_chunks(order, n + 7, seed=1, epoch=2, epoch_batches=None)
    np.testing.assert_array_equal(drawn, more[:n])
    check_rows(drawn[: n // rows * rows if weighted else 0].reshape(-1, rows), sequences)
    for k in range(0 if weighted else n // (order.steps * rows)):
        part = drawn[k * order.steps * rows : (k + 1) * order.steps * rows]
        check_rows(part.reshape(-1, rows), sequences)


@pytest.mark.parametrize("rows", [1, 4])
def test_sequences_get_the_share_of_their_weights(rows):
    """Of the batches, in proportion to the sum over their chunks; none of weight 0."""
    sequences = sequences_of([2] * 6)
    per_chunk = np.repeat([1.0, 0.0, 3.0, 2.0, 0.5, 1.5], 2)
    order = order_of(sequences, rows, np.append(per_chunk, 0.0))
    assert isinstance(order, ByWeight)
    n = 400 * order.steps
    drawn = draw_chunks(order, n * rows, seed=0, epoch=0, epoch_batches=None)
    counts = np.bincount(drawn, minlength=12)
    assert (counts[per_chunk == 0.0] == 0).all()
    begun = counts[::2][[0, 2, 3, 4, 5]]
    expected = np.array([1.0, 3.0, 2.0, 0.5, 1.5])
    assert chisquare(begun, expected / expected.sum() * begun.sum()).pvalue > 1e-3


def test_long_sequences_are_drawn_less_often_for_the_same_share():
    """Two of equal total weight fill as many batches, though one is three times as long."""
    sequences = sequences_of([9, 3])
    order = order_of(sequences, 1, np.append(np.repeat([1.0, 3.0], [9, 3]), 0.0))
    drawn = draw_chunks(order, 12 * 3000, seed=0, epoch=0, epoch_batches=None)
    begun = (drawn == 0).sum(), (drawn == 9).sum()
    assert begun[0] / begun[1] == pytest.approx(1 / 3, rel=0.1)
