from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsjax_core import create_grain_dls, limit_batches, weighted_source
from tsjax_core.data.sampling import uniform_draws
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchedSource, DrawnSource, ResidentSource


class Numbers:
    """Samples that are their index, of two time steps, which are read in batches."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return {key: np.full((2, 1), index, np.float32) for key in "uy"}

    def read_batch(self, indices):
        values = np.repeat(np.asarray(indices, np.float32)[:, None, None], 2, axis=1)
        return {"u": values, "y": values.copy()}


@pytest.fixture(scope="module")
def windows(two_by_three):
    """A pipeline of windows of three files, by which the training set has 9, 5 and 7 windows."""
    pipeline = create_grain_dls(["a"], ["p"], two_by_three, win_sz=50, stp_sz=30, bs=4, seed=2)
    assert len(pipeline.train) == 9 + 5 + 7
    return pipeline


def counts_of(source, n, *, seed=0, epoch=0):
    return np.bincount(source.draw(n, seed=seed, epoch=epoch), minlength=len(source))


def chi_square(counts, probabilities):
    """Return the statistic of Pearson's test and what one true case in a thousand exceeds."""
    drawn = probabilities > 0
    assert not counts[~drawn].any()
    expected = counts.sum() * probabilities[drawn]
    statistic = float(((counts[drawn] - expected) ** 2 / expected).sum())
    return statistic, float(stats.chi2.ppf(0.999, drawn.sum() - 1))


WEIGHTS = {
    "uniform": np.full(50, 7.0),
    "linear": np.arange(50.0),
    "few": np.where(np.arange(50) % 10 == 3, 1e-6, 0.0),
    "whole numbers": np.arange(50) % 4,
    "truth values": np.arange(50) % 2 == 0,
    "skew": np.geomspace(1e-3, 1e3, 50),
    "huge": np.linspace(0.0, 1.7e308, 50),
    "tiny": np.arange(50) * 5e-324,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_windows_are_drawn_by_weight(name):
    """Drawn frequencies pass Pearson's test of weights / sum, in every epoch and for every seed."""
    weights = WEIGHTS[name]
    relative = weights / weights.max()
    source = weighted_source(Numbers(50), weights)
    for seed, epoch in ((0, 0), (0, 1), (5, 0)):
        counts = counts_of(source, 200_000, seed=seed, epoch=epoch)
        statistic, bound = chi_square(counts, relative / relative.sum())
        assert statistic < bound


def test_other_weights_are_told_apart():
    """The test above fails for weights that are changed by a tenth of the mean in one window."""
    source = weighted_source(Numbers(50), np.ones(50) + 0.1 * (np.arange(50) == 7))
    statistic, bound = chi_square(counts_of(source, 2_000_000), np.full(50, 0.02))
    assert statistic > bound


def test_draws_are_independent_of_each_other():
    """Pairs of successive draws, of epochs and of seeds are as often as independent ones are."""
    n, source = 200_000, weighted_source(Numbers(6), np.arange(6))
    p = np.arange(6) / 15
    one = source.draw(n, seed=0, epoch=0)
    others = {
        "successive": np.roll(one, 1),
        "epochs": source.draw(n, seed=0, epoch=1),
        "seeds": source.draw(n, seed=1, epoch=0),
        "swapped": source.draw(n, seed=1, epoch=0),
    }
    for other in others.values():
        pairs = np.bincount(6 * one + other, minlength=36)
        statistic, bound = chi_square(pairs, np.outer(p, p).ravel())
        assert statistic < bound
    assert not np.array_equal(source.draw(50, seed=1, epoch=0), source.draw(50, seed=0, epoch=1))


@given(
    weights=st.lists(
        st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.floats(0.1, 1.0)),
        min_size=1,
        max_size=40,
    ).filter(any)
)
@settings(max_examples=300, deadline=None)
def test_weight_zero_is_never_drawn(weights):
    """From 0 to the greatest number below 1, and at all edges, a draw is a window with weight."""
    weights = np.array(weights)
    source = weighted_source(Numbers(len(weights)), weights)
    relative = weights / weights.max()
    edges = np.cumsum(relative) / relative.sum()
    near = [np.nextafter(edges, 0), edges, np.nextafter(edges, 1)]
    extremes = [0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-52, 1 - 2.0**-53]
    draws = np.clip(np.concatenate([*near, extremes]), 0, 1 - 2.0**-53)
    indices = source.at(draws)
    assert indices.dtype == np.int64
    assert (weights[indices] > 0).all()
    least, greatest = source.at(np.array([0.0, 1 - 2.0**-53]))
    assert least == np.flatnonzero(relative)[0]
    assert greatest >= indices.max()


def test_greatest_draw_is_the_last_window():
    """The greatest draw stands for the last window with weight, whatever the weights sum up to."""
    rng = np.random.default_rng(0)
    for n in [1, 2, 3, 50] * 500:
        weights = rng.random(n) * 10.0 ** rng.integers(-3, 3)
        source = weighted_source(Numbers(n + 1), [*weights, 0.0])
        assert source.at(np.array([1 - 2.0**-53])).tolist() == [n - 1]


def test_uniform_draws_are_those_of_the_reference():
    """Uniform draws are those of NumPy's generator on Philox, below 1 and in steps of 2**-53."""
    draws = uniform_draws(1000, seed=3, epoch=4)
    seeds = np.random.SeedSequence(3, spawn_key=(4,))
    np.testing.assert_array_equal(draws, np.random.Generator(np.random.Philox(seeds)).random(1000))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(uniform_draws(20_000, seed=0, epoch=0), "uniform").pvalue > 1e-3


def test_draws_are_the_same_in_every_process():
    """The draws are those of this list, in another process too, and more begin with fewer."""
    code = (
        "import numpy as np;"
        "from tsjax_core.data.weighting import WeightedSource;"
        "print(WeightedSource([], np.arange(100) / 99).draw(8, seed=1, epoch=1).tolist())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    source = weighted_source(Numbers(100), np.arange(100))
    here = source.draw(8, seed=1, epoch=1).tolist()
    assert told.stdout.strip() == str(here)
    assert here == HERE
    assert source.draw(1000, seed=1, epoch=1)[:8].tolist() == here
    assert source.draw(0, seed=1, epoch=1).shape == (0,)


HERE = [42, 42, 20, 86, 98, 76, 69, 80]


def test_weights_multiply(windows):
    """A weighted source that is weighted again has the product, and one source behind it."""
    inner = windows.train
    a, b = np.arange(21.0), np.arange(21)[::-1] ** 2
    twice = weighted_source(weighted_source(inner, a), b)
    once = weighted_source(inner, a * b)
    assert twice.source is inner
    np.testing.assert_allclose(twice.weights, once.weights, rtol=1e-15)
    drawn = twice.draw(2000, seed=0, epoch=0)
    np.testing.assert_array_equal(drawn, once.draw(2000, seed=0, epoch=0))


def test_is_what_the_source_is(windows):
    """Windows, places and signals are those of the source behind, and so is where they can be."""
    source, inner = weighted_source(windows.train, np.arange(21)), windows.train
    assert isinstance(source, ResidentSource)
    assert isinstance(source, DrawnSource)
    assert not isinstance(inner, DrawnSource)
    assert (len(source), source.win_sz, source.resident_bytes) == (21, 50, inner.resident_bytes)
    indices = np.array([20, 0, 13])
    for got, wanted in (
        (source[3], inner[3]),
        (source.read_batch(indices), inner.read_batch(indices)),
        (source.read_resident(), inner.read_resident()),
    ):
        assert set(got) == set(wanted)
        for key, values in wanted.items():
            np.testing.assert_array_equal(got[key], values)
    np.testing.assert_array_equal(source.locate(indices), inner.locate(indices))
    with pytest.raises(IndexError, match="window 21 of 21"):
        source[21]
    assert repr(source) == f"weighted_source({inner!r}, 1 of 21 never drawn)"

    streamed = weighted_source(Numbers(5), np.ones(5))
    assert isinstance(streamed, BatchedSource)
    assert isinstance(streamed, DrawnSource)
    assert not isinstance(streamed, ResidentSource)


def test_weights_are_those_that_were_given(windows):
    """A change of the array that was given changes nothing, and pickling keeps the draws."""
    given = np.ones(21)
    source = weighted_source(windows.train, given)
    before = source.draw(100, seed=0, epoch=0)
    given[:] = np.arange(21)
    again = weighted_source(windows.train, np.ones(21))
    for each in (source, again, pickle.loads(pickle.dumps(source))):
        np.testing.assert_array_equal(each.draw(100, seed=0, epoch=0), before)


@pytest.mark.parametrize(
    "weights, text",
    [
        (np.ones(20), r"weights: got float64 of shape \(20,\); give one number for each of the 21"),
        (np.ones((21, 1)), r"shape \(21, 1\)"),
        (["a"] * 21, "weights: got <U1"),
        ([[1.0], [1.0, 2.0]], "lists of unequal length"),
        (np.ones(21) * 1j, "complex128"),
        (np.zeros(21), "weights are all zero; give some window a weight above 0"),
        (np.arange(21) - 1, r"weights\[0\] is -1.0; a weight is a finite number of at least 0"),
        (np.full(21, np.nan), r"weights\[0\] is nan.*\(21 of 21 are not\)"),
        (np.where(np.arange(21) == 4, np.inf, 1), r"weights\[4\] is inf"),
    ],
)
def test_wrong_weights(windows, told, weights, text):
    """Weights are one non-negative finite number for each window, and not all zero."""
    error = told(ConfigError, weighted_source, windows.train, weights)
    assert error.key == "weights"
    with pytest.raises(ConfigError, match=text):
        weighted_source(windows.train, weights)


def test_weights_that_exclude_each_other(windows, told):
    """Weights are refused that leave no window of a weighted source."""
    first = weighted_source(windows.train, np.arange(21) < 5)
    error = told(ConfigError, weighted_source, first, np.arange(21) >= 5)
    assert error.key == "weights"
    assert "no window is left" in str(error)


def test_source_without_batches(windows, told):
    """A source of whole files of unequal length cannot be weighted."""
    error = told(ConfigError, weighted_source, windows.test, np.ones(3))
    assert error.key == "source"
    assert "FullSequenceSource, which reads no batches" in str(error)


def test_both_data_paths_give_the_drawn_windows(windows):
    """The streamed batches are the windows that are drawn, and so are those cut by place."""
    source = weighted_source(windows.train, np.arange(21) ** 2)
    pipeline = dataclasses.replace(windows, train=source)
    assert pipeline.resident
    joined = source.read_resident()
    for epoch in (0, 7):
        drawn = source.draw(20, seed=2, epoch=epoch).reshape(5, 4)
        np.testing.assert_array_equal(list(pipeline.batch_indices(epoch)), drawn)
        for indices, batch in zip(drawn, pipeline.train_batches(epoch), strict=True):
            starts, _ = source.locate(indices)
            for key in "uy":
                cut = joined[key][starts[:, None] + np.arange(50)]
                np.testing.assert_array_equal(batch[key], cut)
    again = list(pipeline.batch_indices(0))
    np.testing.assert_array_equal(again, list(pipeline.batch_indices(0)))
    assert not np.array_equal(again, list(pipeline.batch_indices(1)))
    other = dataclasses.replace(pipeline, seed=3)
    assert not np.array_equal(again, list(other.batch_indices(0)))


def test_batches_larger_than_the_data(windows):
    """A batch that is asked to be larger than the data has as many draws as there are windows."""
    source = weighted_source(windows.train, np.arange(21) == 3)
    pipeline = dataclasses.replace(windows, train=source, bs=100)
    assert [batch.tolist() for batch in pipeline.batch_indices(0)] == [[3] * 21]


def test_pipeline_tells_of_weights(windows):
    """A person is told that windows are drawn, and how a source of another kind is read."""
    pipeline = dataclasses.replace(windows, train=weighted_source(windows.train, np.arange(21)))
    print(pipeline.summary())
    assert "21 weighted windows of 50" in pipeline.summary()
    assert "5 batches of 4 windows an epoch, drawn by weight, cut on" in pipeline.summary()
    assert "train: 21 weighted windows of 50" in repr(pipeline)


class Backwards(Numbers):
    """Samples that are seen from the last to the first."""

    def draw(self, n, *, seed, epoch):
        return (self.n - 1 - np.arange(n)) % self.n


def test_source_that_decides_itself(windows):
    """Whatever has `draw` decides which samples an epoch sees, limited or not."""
    pipeline = dataclasses.replace(windows, train=Backwards(10), resident=False, bs=5)
    assert [batch.tolist() for batch in pipeline.batch_indices(0)] == [
        [9, 8, 7, 6, 5],
        [4, 3, 2, 1, 0],
    ]
    first = next(iter(limit_batches(pipeline, 1).train_batches(0)))
    assert first["u"][:, 0, 0].tolist() == [9, 8, 7, 6, 5]
    assert "windows an epoch, drawn, read from the files" in pipeline.summary()
    with pytest.raises(ConfigError, match="it is no WeighableSource") as caught:
        weighted_source(Backwards(10), np.arange(10) == 2)
    print(caught.value)
