from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsjax_core import (
    category_weights,
    create_grain_dls,
    exact_batches,
    limit_batches,
    weighted_source,
    window_attributes,
)
from tsjax_core.data.sampling import epoch_order, repeated_order
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.experiment import parse_experiment

SETTINGS = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def data(two_by_three):
    """23 training windows of files of unequal length."""
    pipeline = create_grain_dls(["a"], ["p", "q"], two_by_three, win_sz=50, stp_sz=27, bs=4)
    assert len(pipeline.train) == 10 + 5 + 8
    return pipeline


def indices_of(pipeline, epoch=0):
    """Return the windows of an epoch, in one array."""
    return np.concatenate(list(pipeline.batch_indices(epoch)))


@SETTINGS
@given(bs=st.integers(1, 30), n=st.integers(1, 40), epoch=st.integers(0, 5))
def test_at_most_so_many_batches(data, bs, n, epoch):
    """A limited epoch is the beginning of the whole one, with no window twice."""
    whole = dataclasses.replace(data, bs=bs)
    limited = limit_batches(whole, n)
    assert limited.steps_per_epoch == min(n, whole.steps_per_epoch)
    batches, all_batches = list(limited.batch_indices(epoch)), list(whole.batch_indices(epoch))
    assert len(batches) == limited.steps_per_epoch
    np.testing.assert_array_equal(batches, all_batches[: len(batches)])
    used = np.concatenate(batches)
    assert len(set(used.tolist())) == len(used)


@SETTINGS
@given(bs=st.integers(1, 60), n=st.integers(1, 40), epoch=st.integers(0, 5))
def test_exactly_so_many_batches(data, bs, n, epoch):
    """Epochs have n full batches; every window comes once before any comes once more."""
    pipeline = exact_batches(dataclasses.replace(data, bs=bs), n)
    batches = list(pipeline.batch_indices(epoch))
    assert pipeline.steps_per_epoch == n
    assert [batch.shape for batch in batches] == [(bs,)] * n
    used = np.concatenate(batches)
    assert used.dtype == np.int64
    counts = np.bincount(used, minlength=23)
    assert counts.sum() == n * bs
    assert set(counts.tolist()) <= {n * bs // 23, -(-n * bs // 23)}
    for start in range(0, n * bs - 23 + 1, 23):
        assert set(used[start : start + 23].tolist()) == set(range(23))
    again = indices_of(exact_batches(dataclasses.replace(data, bs=bs), n), epoch)
    np.testing.assert_array_equal(used, again)


def test_whole_epoch_is_unchanged(data):
    """An epoch of exactly the batches that it has anyway, or limited to more, is the plain one."""
    for same in (exact_batches(data, 5), limit_batches(data, 5), limit_batches(data, 1000)):
        np.testing.assert_array_equal(indices_of(same, 3), indices_of(data, 3))


def test_next_epochs_see_other_windows(data):
    """Limited epochs come upon all windows in time, each about equally often."""
    for shorter in (limit_batches(data, 2), exact_batches(data, 2)):
        assert set(indices_of(shorter, 0).tolist()) != set(indices_of(shorter, 1).tolist())
        counts = sum(np.bincount(indices_of(shorter, e), minlength=23) for e in range(500))
        # Without replacement counts vary less than in independent draws, so that the bound holds.
        assert counts.min() > 0
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 7, 16385])
def test_rounds_are_independent_orders(n):
    """Further rounds are permutations unlike the first, those of other epochs and of seeds."""
    length = 2 * n + max(1, n // 2)
    order = repeated_order(n, length, seed=4, epoch=2)
    assert len(order) == 3 * n >= length
    np.testing.assert_array_equal(order[:n], epoch_order(n, seed=4, epoch=2)[:])
    np.testing.assert_array_equal(np.sort(order[n : 2 * n]), np.arange(n))
    rounds = [order[k * n : (k + 1) * n] for k in range(3)]
    if n > 1:
        rounds += [repeated_order(n, length, seed=4, epoch=e)[n : 2 * n] for e in (1, 3)]
        rounds.append(repeated_order(n, length, seed=5, epoch=2)[n : 2 * n])
        assert len({tuple(each.tolist()) for each in rounds}) == 6


@given(n=st.integers(1, 30), start=st.integers(0, 100), size=st.integers(0, 100))
def test_any_part_of_rounds_by_itself(n, start, size):
    """A part across rounds is the same whether or not the rest is computed."""
    order = repeated_order(n, 100, seed=0, epoch=0)
    whole = np.concatenate([each[:] for each in order.rounds])
    part = order[start : start + size]
    assert part.dtype == np.int64
    np.testing.assert_array_equal(part, whole[start : start + size])


@pytest.mark.parametrize("bs, n", [(4, 2), (4, 17), (50, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_data_paths_give_equal_batches(data, bs, n, weighted):
    """Streamed windows are those of the indices, cut by place, drawn by weight or not."""
    source = weighted_source(data.train, np.arange(23)) if weighted else data.train
    pipeline = exact_batches(dataclasses.replace(data, train=source, bs=bs), n)
    joined = source.read_resident()
    streamed = list(pipeline.train_batches(1))
    assert len(streamed) == n
    for indices, batch in zip(pipeline.batch_indices(1), streamed, strict=True):
        starts, _ = source.locate(indices)
        for key in "uy":
            cut = joined[key][starts[:, None] + np.arange(50)]
            np.testing.assert_array_equal(batch[key], cut)


def test_weighted_epochs_of_any_length(data):
    """Drawn epochs are as long as is asked for, and a longer one begins with a shorter."""
    source = weighted_source(data.train, np.arange(23) ** 2)
    weighted = dataclasses.replace(data, train=source)
    long = indices_of(exact_batches(weighted, 2000))
    assert len(long) == 8000
    for shorter in (exact_batches(weighted, 3), limit_batches(weighted, 3), weighted):
        used = indices_of(shorter)
        np.testing.assert_array_equal(used, long[: len(used)])
    drawn = np.bincount(long, minlength=23)
    assert drawn[0] == 0
    p = np.arange(1, 23) ** 2
    assert stats.chisquare(drawn[1:], p / p.sum() * 8000).pvalue > 1e-3


def test_in_any_order(data):
    """Weights, limits and exact numbers give the same epochs in whatever order they are set."""
    weights = np.arange(23)

    def weigh(pipeline):
        return dataclasses.replace(pipeline, train=weighted_source(pipeline.train, weights))

    for change in (limit_batches, exact_batches):
        one, other = weigh(change(data, 3)), change(weigh(data), 3)
        assert one.steps_per_epoch == other.steps_per_epoch == 3
        np.testing.assert_array_equal(indices_of(one, 2), indices_of(other, 2))
    assert limit_batches(limit_batches(data, 2), 4).steps_per_epoch == 2
    assert limit_batches(limit_batches(data, 4), 2).steps_per_epoch == 2
    assert limit_batches(exact_batches(data, 40), 2).steps_per_epoch == 2
    assert limit_batches(exact_batches(data, 2), 40).steps_per_epoch == 2
    assert exact_batches(limit_batches(data, 2), 40).steps_per_epoch == 40
    assert exact_batches(exact_batches(data, 2), 40).steps_per_epoch == 40
    shortened = limit_batches(exact_batches(data, 40), 20)
    np.testing.assert_array_equal(indices_of(shortened), indices_of(exact_batches(data, 20)))


def test_evaluation_is_of_whole_splits(data):
    """A limit changes neither the splits nor the statistics, nor the pipeline that it was given."""
    limited = limit_batches(data, 1)
    for field in ("train", "valid", "test", "signals", "files"):
        assert getattr(limited, field) is getattr(data, field)
    assert (data.max_batches, data.n_batches, data.steps_per_epoch) == (None, None, 5)


def test_person_is_told(data):
    """Summary and repr tell how many windows of how many an epoch sees."""
    limited, exact = limit_batches(data, 3), exact_batches(data, 17)
    for pipeline, text in (
        (data, "5 batches of 4 windows an epoch, cut on the device"),
        (limited, "3 batches of 4 windows an epoch, 12 of 23 windows, cut"),
        (exact, "17 batches of 4 windows an epoch, each window 2 or 3 times, cut"),
        (exact_batches(data, 46), "each window 8 times, cut"),
        (exact_batches(data, 1), "1 batch of 4 windows an epoch, 4 of 23 windows, cut"),
    ):
        print(pipeline.summary().splitlines()[-1])
        assert text in pipeline.summary()
    assert repr(data).endswith(", bs=4)")
    assert repr(limited).endswith(", bs=4, max_batches=3)")
    assert repr(exact).endswith(", bs=4, n_batches=17)")


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3", None])
def test_wrong_numbers(data, told, wrong):
    """A number of batches is whole and at least 1."""
    for change in (limit_batches, exact_batches):
        error = told(ConfigError, change, data, wrong)
        assert error.key == "n_batches"
        assert f"n_batches = {wrong!r}; give a whole number of batches, at least 1." == str(error)
    if wrong is not None:
        error = told(ConfigError, dataclasses.replace, data, max_batches=wrong)
        assert error.key == "max_batches"


def test_number_of_batches_of_a_data_set(two_by_three, told):
    """`n_batches` of create_grain_dls and of [data] is that of exact_batches."""
    options = {"u": ["a"], "y": ["p"], "win_sz": 50, "stp_sz": 27, "bs": 4}
    plain = create_grain_dls(dataset=two_by_three, **options)
    made = create_grain_dls(dataset=two_by_three, n_batches=9, balance="mass", **options)
    assert made.steps_per_epoch == 9
    balanced = weighted_source(
        plain.train, category_weights(window_attributes(plain.train, "mass"))
    )
    by_hand = exact_batches(dataclasses.replace(plain, train=balanced), 9)
    np.testing.assert_array_equal(indices_of(made), indices_of(by_hand))
    tables = {
        "data": {"dataset": str(two_by_three), "n_batches": 9, "balance": "mass", **options},
        "model": {"name": "core/gru", "hidden_size": 2},
    }
    said = parse_experiment(tables).pipeline()
    np.testing.assert_array_equal(indices_of(said, 1), indices_of(made, 1))
    error = told(ConfigError, create_grain_dls, dataset=two_by_three, n_batches=0, **options)
    assert error.key == "n_batches"
    tables["data"] |= {"n_batches": 3, "balance": 2}
    error = told(ConfigError, lambda: parse_experiment(tables).pipeline())
    assert "balance" in str(error)
