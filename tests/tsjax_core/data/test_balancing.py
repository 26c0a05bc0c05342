from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsjax_core import (
    category_weights,
    create_grain_dls,
    file_weights,
    value_weights,
    weighted_source,
    window_attributes,
    window_values,
)
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.sources import WindowedSource
from tsjax_core.errors import ConfigError, MissingSignalError

LENGTHS = (300, 20, 60, 120, 90)
LOADS = (2.0, 7.0, 2.0, 2.0, 0.5)


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_hdf5):
    """Windows of files of 28, 0, 4, 10 and 7 windows, whose attribute `load` differs."""
    folder = tmp_path_factory.mktemp("balancing")
    rng = np.random.default_rng(0)
    paths = []
    for number, (n, load) in enumerate(zip(LENGTHS, LOADS, strict=True)):
        signals = {key: rng.standard_normal(n) for key in "uy"}
        attrs = {"load": load, "fs": 10.0, "x0": [number, -number], "road": "gravel"}
        paths.append(write_hdf5(folder / f"{number}.hdf5", signals, attrs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return WindowedSource(HDF5Store(paths), ["u"], ["y"], win_sz=30, stp_sz=10)


FILES = np.repeat(np.arange(5), (28, 0, 4, 10, 7))


def shares(weights, groups):
    """Return the share of each group that has a window, by its label."""
    total = np.sum(weights)
    return {key: np.sum(weights[groups == key]) / total for key in np.unique(groups).tolist()}


def drawn_evenly(source, weights, groups):
    """Tell whether Pearson's test takes the groups of 20 000 draws for equally likely."""
    drawn = groups[weighted_source(source, weights).draw(20_000, seed=1, epoch=2)]
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == len(np.unique(groups))
    return stats.chisquare(counts).pvalue > 1e-3


def test_files_get_equal_shares(source):
    """Each file that has a window is drawn equally often, and its windows among themselves."""
    weights = file_weights(source)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, (1 / np.array([28, np.inf, 4, 10, 7]))[FILES], rtol=1e-15)
    assert drawn_evenly(source, weights, FILES)
    assert not drawn_evenly(source, np.ones(49), FILES)
    drawn = weighted_source(source, weights).draw(20_000, seed=0, epoch=0)
    assert stats.chisquare(np.bincount(drawn[drawn < 28])).pvalue > 1e-3
    np.testing.assert_array_equal(file_weights(weighted_source(source, np.arange(49))), weights)


def test_attributes_of_windows(source):
    """A window has the attribute of its file, also behind a weighted and of a resampled source."""
    wanted = np.array(LOADS)[FILES]
    np.testing.assert_array_equal(window_attributes(source, "load"), wanted)
    weighted = weighted_source(weighted_source(source, np.arange(49)), np.ones(49))
    np.testing.assert_array_equal(window_attributes(weighted, "load"), wanted)
    np.testing.assert_array_equal(window_attributes(source, "x0:1"), -FILES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        store = ResampledStore(source.records.store, target_fs=20.0)
        resampled = WindowedSource(store, ["u"], ["y"], win_sz=60, stp_sz=600)
    assert window_attributes(resampled, "load").tolist() == [2.0, 2.0, 2.0, 0.5]


def test_values_of_windows(source):
    """One value for each file, a number or a text, is given to the windows of the file."""
    roads = ["a", "b", "c", "a", "b"]
    assert window_values(source, roads).tolist() == [roads[file] for file in FILES]
    np.testing.assert_array_equal(window_values(source, np.arange(5)), FILES)


def test_categories_get_equal_shares(source):
    """Each value of an attribute is drawn equally often, however many windows it has."""
    load = window_attributes(source, "load")
    weights = category_weights(load)
    np.testing.assert_allclose(weights[:42], 1 / 42)
    np.testing.assert_allclose(weights[42:], 1 / 7)
    assert drawn_evenly(source, weights, load)
    assert not drawn_evenly(source, file_weights(source), load)


def test_categories_of_equal_files(source):
    """With a base, categories get equal shares of the product, and files those of a category."""
    load = window_attributes(source, "load")
    base = file_weights(source)
    weights = base * category_weights(load, base=base)
    assert drawn_evenly(source, weights, load)
    in_files = shares(weights, FILES)
    assert in_files == pytest.approx({0: 1 / 6, 2: 1 / 6, 3: 1 / 6, 4: 1 / 2})
    uneven = shares(base * category_weights(load), load)
    assert uneven == pytest.approx({2.0: 1 / 3, 0.5: 2 / 3})


@given(st.lists(st.sampled_from(["wet", "dry", "ice"]), min_size=1, max_size=60))
def test_weight_of_a_label_is_its_count(labels):
    """The weight is 1 / (windows of the label), for texts, numbers and truth values alike."""
    wanted = [1 / labels.count(label) for label in labels]
    numbers = [len(label) * 0.1 + ord(label[0]) for label in labels]
    np.testing.assert_allclose(category_weights(labels), wanted, rtol=1e-15)
    np.testing.assert_allclose(category_weights(numbers), wanted, rtol=1e-15)
    truth = [label == "wet" for label in labels]
    wanted = [1 / truth.count(each) for each in truth]
    np.testing.assert_allclose(category_weights(truth), wanted, rtol=1e-15)


@given(
    values=st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=80),
    bins=st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_bins_of_equal_width(values, bins):
    """Each bin of NumPy's histogram that holds a window has the same share."""
    weights = value_weights(values, bins)
    counts, edges = np.histogram(values, bins)
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    if len(set(values)) > 1:
        np.testing.assert_allclose(weights, 1 / counts[which], rtol=1e-15)
    else:
        np.testing.assert_allclose(weights, 1 / len(values), rtol=1e-15)
    assert weights.sum() == pytest.approx(len(set(which.tolist())))


@given(
    values=st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=80),
    bins=st.integers(1, 100),
)
@settings(max_examples=200, deadline=None)
def test_bins_of_equal_counts(values, bins):
    """With quantiles, the share of a bin is its width, and the bins cover the whole range."""
    weights = value_weights(values, bins, quantiles=True)
    distinct = len(set(values))
    if distinct == 1:
        np.testing.assert_allclose(weights, 1 / len(values))
        return
    edges = np.unique(np.quantile(values, np.linspace(0, 1, min(bins, distinct) + 1)))
    filled = np.histogram(values, edges)[0] > 0
    edges = np.array(
        [edges[0], *(edge for edge, any_ in zip(edges[1:], filled, strict=True) if any_)]
    )
    counts, _ = np.histogram(values, edges)
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(counts) - 1)
    np.testing.assert_allclose(weights, np.diff(edges)[which] / counts[which], rtol=1e-12)
    assert weights.sum() == pytest.approx(max(values) - min(values))


def test_values_with_a_gap():
    """With quantiles, ten values beyond a gap stand for the gap; without, for one bin of two."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(990), 99 + rng.random(10)])
    far = values > 50
    assert shares(value_weights(values, 10), far)[True] == pytest.approx(0.5)
    assert 0.97 < shares(value_weights(values, 100, quantiles=True), far)[True] < 0.99


def test_width_of_an_empty_bin():
    """A quantile bin without values, as between equal ones, is part of the bin above it."""
    weights = value_weights([0.0, 0.0, 1.0, 1.0, 2.0], 3, quantiles=True)
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 5 / 9, 5 / 9, 5 / 9])


@pytest.mark.parametrize("quantiles", [False, True])
def test_normal_values_are_drawn_evenly(source, quantiles):
    """Values of a bell curve are drawn from each tenth of their range about equally often."""
    values = np.random.default_rng(1).normal(size=20_000)
    values = values[abs(values) < 2.5]
    weights = value_weights(values, 10 if not quantiles else 100, quantiles=quantiles)
    tenths = np.digitize(values, np.linspace(values.min(), values.max(), 11)[1:-1])
    found = np.array(list(shares(weights, tenths).values()))
    assert len(found) == 10
    assert abs(found - 0.1).max() < (0.012 if quantiles else 1e-12)
    assert abs(np.bincount(tenths) / len(values) - 0.1).max() > 0.05


def test_base_of_values():
    """With a base, bins get their shares of the product; groups without base have weight 0."""
    values = np.array([0.0, 0.0, 0.0, 5.0, 10.0, 10.0])
    base = np.array([1.0, 2.0, 0.0, 0.0, 1.0, 1.0])
    weights = base * value_weights(values, 3, base=base)
    assert shares(weights, values) == pytest.approx({0.0: 0.5, 5.0: 0.0, 10.0: 0.5})
    assert value_weights(values, 3, base=base)[3] == 0
    assert np.isfinite(weighted_source_weights(weights)).all()


def weighted_source_weights(weights):
    """Return the weights as a weighted source takes them."""

    class Six:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            raise IndexError(index)

        def read_batch(self, indices):
            raise IndexError(indices)

    return weighted_source(Six(), weights).weights


def test_weights_by_product_of_a_weighted_source(source):
    """Weights may be multiplied, or the source weighted twice: the draws are the same."""
    a, b = file_weights(source), value_weights(window_attributes(source, "load"), 3)
    one = weighted_source(source, a * b).draw(1000, seed=0, epoch=0)
    two = weighted_source(weighted_source(source, b), a).draw(1000, seed=0, epoch=0)
    assert np.mean(one == two) > 0.99


@pytest.mark.parametrize(
    "function, arguments, key, text",
    [
        (category_weights, ([[1], [2]],), "labels", r"shape \(2, 1\); give one number or text for"),
        (category_weights, ([],), "labels", r"shape \(0,\)"),
        (category_weights, ([None, "a"],), "labels", "got object"),
        (category_weights, ([[1], [1, 2]],), "labels", "lists of unequal length"),
        (category_weights, ([1.0, np.nan],), "labels", r"labels\[1\] is NaN; give it a label"),
        (value_weights, (["a"],), "values", "got <U1 of shape"),
        (value_weights, ([1.0, np.inf],), "values", r"values\[1\] is inf; a value to balance by"),
        (value_weights, ([1.0, 2.0], 0), "bins", "bins = 0; give a whole number, at least 1"),
        (value_weights, ([1.0, 2.0], 2.5), "bins", "bins = 2.5"),
    ],
)
def test_wrong_labels_and_values(told, function, arguments, key, text):
    """Labels and values are one for each window, and values are finite."""
    error = told(ConfigError, function, *arguments)
    assert error.key == key
    with pytest.raises(ConfigError, match=text):
        function(*arguments)


def test_wrong_base(told):
    """The base has one weight for each label."""
    error = told(ConfigError, category_weights, [1, 2, 3], base=[1, 2])
    assert error.key == "base"
    assert "base: got int64 of shape (2,); give one number for each of the 3 windows" in str(error)


def test_values_of_files_are_counted(source, told):
    """One value is needed for each file, also for those without a window."""
    error = told(ConfigError, window_values, source, [1, 2, 3, 4])
    assert error.key == "values"
    assert "shape (4,); give one number or text for each of the 5 files" in str(error)


def test_sources_without_files(source, told):
    """A source that does not tell its files is named."""

    class Anonymous:
        def __len__(self):
            return 3

    error = told(ConfigError, file_weights, Anonymous())
    assert "Anonymous, which does not know the files of its windows" in str(error)
    for function, argument in ((window_attributes, "load"), (window_values, [1])):
        error = told(ConfigError, function, Anonymous(), argument)
        assert error.key == "source"
        assert "only a source whose `records` are the files" in str(error)


def test_attributes_that_are_not_there(source, array_store, told):
    """A store without attributes, and a file without the one that is asked for, are told."""
    store = array_store({Path("a"): {"u": np.zeros(40), "y": np.zeros(40)}})
    plain = WindowedSource(store, ["u"], ["y"], win_sz=30)
    resampled = WindowedSource(
        ResampledStore(store, target_fs=1.0, dt=1.0), ["u"], ["y"], win_sz=30
    )
    for each, name in ((plain, "ArrayStore"), (resampled, "ResampledStore")):
        error = told(ConfigError, window_attributes, each, "load")
        assert error.key == "name"
        assert f"{name} reads none from these; only HDF5 files carry attributes" in str(error)
    error = told(MissingSignalError, window_attributes, source, "laod")
    assert "Did you mean 'load'?" in str(error)


def test_balance_of_a_data_set(dataset):
    """`balance` weighs the training windows, and leaves evaluation and statistics as they are."""
    for path in dataset.glob("train/*.hdf5"):
        with h5py.File(path, "r+") as file:
            file.attrs["load"] = float(path.stem == "c")
    plain = create_grain_dls(["u"], ["y"], dataset, win_sz=50, stp_sz=10, bs=8)
    files = create_grain_dls(["u"], ["y"], dataset, win_sz=50, stp_sz=10, bs=8, balance="files")
    load = create_grain_dls(["u"], ["y"], dataset, win_sz=50, stp_sz=10, bs=8, balance="load")
    numbers = np.repeat([0, 1, 2], (26, 13, 5))
    assert drawn_evenly(plain.train, files.train.weights, numbers)
    assert drawn_evenly(plain.train, load.train.weights, numbers == 2)
    for pipeline in (files, load):
        assert "44 weighted windows of 50" in pipeline.summary()
        assert pipeline.resident
        assert type(pipeline.valid) is type(plain.valid)
        assert len(pipeline.valid) == len(plain.valid)
        assert pipeline.signals.stats == plain.signals.stats
        assert pipeline.steps_per_epoch == plain.steps_per_epoch
    by_hand = dataclasses.replace(
        plain, train=weighted_source(plain.train, file_weights(plain.train))
    )
    for one, other in zip(files.train_batches(1), by_hand.train_batches(1), strict=True):
        np.testing.assert_array_equal(one["u"], other["u"])


def test_wrong_balance(dataset, told, write_csv, tmp_path):
    """`balance` is "files" or an attribute that every training file has as a number."""

    def made(folder, balance, **options):
        return create_grain_dls(["u"], ["y"], folder, win_sz=50, balance=balance, **options)

    for wrong in (3, ""):
        error = told(ConfigError, made, dataset, wrong)
        assert error.key == "balance"
        assert 'give "files" or the name of a file attribute' in str(error)
    error = told(MissingSignalError, made, dataset, "file")
    assert "no file attribute 'file'" in str(error)
    for seed, split in enumerate(("train", "valid", "test")):
        columns = {key: np.random.default_rng(seed).standard_normal(80) for key in "uy"}
        write_csv(tmp_path / "csv" / split / f"{split}.csv", columns)
    error = told(ConfigError, made, tmp_path / "csv", "mass", target_fs=10.0, dt=0.1)
    assert error.key == "balance"
    assert "balance = 'mass': 'mass' is asked for as an attribute of the files" in str(error)
    assert len(made(tmp_path / "csv", "files").train) == 31
