from __future__ import annotations

import math
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from tsjax_core.data.csv import CSVStore
from tsjax_core.data.hdf5 import HDF5Store
from tsjax_core.data.polyphase import as_ratio
from tsjax_core.data.resample import ResampledStore
from tsjax_core.errors import ConfigError, DataError, UnequalLengthError, WindowError

FACTORS = [0.5, 2.0, 1 / 3, 0.6103, 3.7, 0.03, 1.0, 1.00007, 0.35000002, math.pi]
METHODS = ["antialias", "linear"]


@pytest.fixture(scope="module")
def path(tmp_path_factory, write_hdf5):
    rng = np.random.default_rng(0)
    signals = {"u": rng.standard_normal(500).astype("f4") + 2, "y": rng.standard_normal(500)}
    attrs = {"fs": 100.0, "mass": 3.0}
    return write_hdf5(tmp_path_factory.mktemp("resampled") / "a.hdf5", signals, attrs)


@pytest.mark.parametrize("factor", FACTORS)
def test_antialias_is_scipys_polyphase_filter(path, factor):
    """A whole record equals `scipy.signal.resample_poly` with continued ends."""
    store = ResampledStore(HDF5Store([path]), factor=factor)
    ratio = store.ratio(path)
    raw = HDF5Store([path]).read_signals(path, ["u", "y"]).astype(np.float64)
    length = store.get_seq_len(path, "u")
    wanted = resample_poly(raw, ratio.numerator, ratio.denominator, axis=0, padtype="edge")
    got = store.read_signals(path, ["u", "y"])
    assert got.shape == (length, 2)
    np.testing.assert_allclose(got, wanted[:length], rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_linear_interpolates(path, factor):
    """Between two samples stands what a straight line has there."""
    store = ResampledStore(HDF5Store([path]), factor=factor, method="linear")
    raw = HDF5Store([path]).read_signals(path, ["y"])[:, 0].astype(np.float64)
    times = np.arange(store.get_seq_len(path)) / float(store.ratio(path))
    wanted = np.interp(times, np.arange(len(raw)), raw)
    got = store.read_signals(path, ["y"])
    np.testing.assert_allclose(got[:, 0], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@given(
    factor=st.one_of(st.sampled_from(FACTORS), st.floats(0.02, 20)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=40, deadline=None)
def test_part_equals_part_of_the_whole(path, method, factor, place):
    """Any part that is read, alone or among windows, is that part of the whole record."""
    store = ResampledStore(HDF5Store([path]), factor=factor, method=method)
    whole = store.read_signals(path, ["u", "y"])
    start, stop = sorted(round(each * len(whole)) for each in place)
    part = store.read_signals(path, ["u", "y"], start, stop)
    np.testing.assert_allclose(part, whole[start:stop], rtol=0, atol=1e-6)
    win_sz = max(1, min(stop - start, 50))
    starts = np.unique([0, start - (start == len(whole)), len(whole) - win_sz])
    starts = starts[starts <= len(whole) - win_sz]
    windows = store.read_windows(path, ["u", "y"], starts, win_sz)
    wanted = np.stack([whole[s : s + win_sz] for s in starts])
    np.testing.assert_allclose(windows, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_windows_without_a_store_that_gathers(path, array_store, method):
    """A store that only reads ranges gives the same windows."""
    plain = HDF5Store([path])
    signals = dict(zip("uy", plain.read_signals(path, ["u", "y"]).T, strict=True))
    starts = np.array([3, 0, 120])
    got = [
        ResampledStore(store, factor=0.6103, method=method).read_windows(path, ["y"], starts, 60)
        for store in (plain, array_store({path: signals}))
    ]
    np.testing.assert_array_equal(got[0], got[1])


@given(n=st.integers(1, 400), factor=st.one_of(st.sampled_from(FACTORS), st.floats(0.02, 20)))
@settings(max_examples=100, deadline=None)
def test_length(array_store, n, factor):
    """A record of n samples has floor((n - 1) factor) + 1 new ones, by either method."""
    path = Path("a")
    store = array_store({path: {"u": np.arange(n)}})
    for method in METHODS:
        resampled = ResampledStore(store, factor=factor, method=method)
        length = resampled.get_seq_len(path, "u")
        assert length == math.floor((n - 1) * resampled.ratio(path)) + 1
        assert len(resampled.read_signals(path, ["u"])) == length


@given(factor=st.one_of(st.floats(1e-4, 1e4), st.floats(0.999, 1.001)))
@settings(max_examples=300, deadline=None)
def test_rate_error(factor):
    """The ratio of integers lies within one part in a million of the factor."""
    ratio = as_ratio(factor)
    assert abs(ratio / Fraction(factor) - 1) <= 1e-6


def test_simple_ratios_are_found():
    """A rate that was rounded to float32 still gives the simple ratio, odd ones keep all digits."""
    assert as_ratio(0.35000002) == Fraction(7, 20)
    assert as_ratio(0.6103) == Fraction(6103, 10000)
    assert as_ratio(100 / 285.7142944335937) == Fraction(7, 20)
    assert as_ratio(3.0) == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.2, 0.6103, 4.0])
def test_slow_sine_keeps_amplitude_and_phase(array_store, method, factor):
    """A sine far below both Nyquist frequencies is the same function of time afterwards."""
    path, time = Path("a"), np.arange(2000.0)
    store = array_store({path: {"u": np.sin(0.03 * time)}})
    resampled = ResampledStore(store, factor=factor, method=method)
    got = resampled.read_signals(path, ["u"])[:, 0]
    wanted = np.sin(0.03 * np.arange(len(got)) / float(resampled.ratio(path)))
    inner = slice(len(got) // 10, -len(got) // 10)
    np.testing.assert_allclose(got[inner], wanted[inner], atol=2e-3)


def test_only_antialias_removes_what_cannot_be_represented(array_store):
    """A sine above the new Nyquist frequency is gone, and aliases where lines are drawn."""
    path = Path("a")
    store = array_store({path: {"u": np.sin(2.7 * np.arange(2000.0))}})
    read = {
        method: ResampledStore(store, factor=0.2, method=method).read_signals(path, ["u"])
        for method in METHODS
    }
    assert read["antialias"][50:-50].std() < 1e-3
    assert read["linear"][50:-50].std() > 0.5


def test_constant_record_stays_constant(array_store):
    """A constant is kept to its very ends, to the ripple of the filter."""
    path = Path("a")
    store = array_store({path: {"u": np.full(100, 5.0)}})
    for factor in (0.37, 2.5):
        got = ResampledStore(store, factor=factor).read_signals(path, ["u"])
        np.testing.assert_allclose(got, 5.0, rtol=1e-3)


def test_reads_only_the_surroundings(path):
    """A window of a long record takes from the file no more than the filter reaches."""
    asked = []

    class Spy(HDF5Store):
        def read_signals(self, path, signals, start=0, stop=None):
            asked.append((start, stop))
            return super().read_signals(path, signals, start, stop)

    ResampledStore(Spy([path]), factor=0.5).read_signals(path, ["u"], 100, 110)
    ResampledStore(Spy([path]), factor=0.5, method="linear").read_signals(path, ["u"], 100, 110)
    (start, stop), narrow = asked
    assert 175 <= start <= 180
    assert 239 <= stop <= 245
    assert narrow == (200, 220)


def test_sampling_time_and_attributes(path):
    """The sampling time and the attributes that tell it are those of the new rate."""
    store = ResampledStore(HDF5Store([path]), target_fs=61.03)
    assert store.get_dt(path) == pytest.approx(1 / 61.03, rel=1e-6)
    assert store.read_attributes(path, ["mass"]).tolist() == [3.0]
    assert store.read_attributes(path, ["fs", "mass"]) == pytest.approx([61.03, 3.0], rel=1e-6)
    assert ResampledStore(HDF5Store([path]), factor=0.5).get_dt(path) == 0.02
    assert list(store.paths) == [path]


def test_files_of_different_rates_become_equal(tmp_path, write_hdf5):
    """With `target_fs` each file is brought from its own rate to the one asked for."""
    paths = []
    for fs in (80.0, 100.0, 285.7):
        time = np.arange(int(10 * fs)) / fs
        paths.append(write_hdf5(tmp_path / f"{fs}.hdf5", {"u": np.sin(time)}, {"fs": fs}))
    store = ResampledStore(HDF5Store(paths), target_fs=40.0)
    for path in paths:
        got = store.read_signals(path, ["u"], 40, 360)[:, 0]
        np.testing.assert_allclose(got, np.sin(np.arange(40, 360) / 40), atol=2e-3)
        assert store.get_dt(path) == pytest.approx(0.025, rel=1e-6)


def test_rate_of_files_that_do_not_say(tmp_path, write_csv, told):
    """Without a sampling time `target_fs` is refused unless `dt` is given; `factor` is not."""
    path = write_csv(tmp_path / "a.csv", {"u": np.arange(50.0)})
    store = CSVStore([path])
    error = told(DataError, ResampledStore(store, target_fs=5.0).get_seq_len, path, "u")
    assert f"{path}: the file does not say how it was sampled" in str(error)
    assert "or give dt" in str(error)
    assert ResampledStore(store, target_fs=5.0, dt=0.1).get_seq_len(path, "u") == 25
    halved = ResampledStore(store, factor=0.5)
    assert halved.get_seq_len(path, "u") == 25
    assert halved.get_dt(path) is None
    error = told(ConfigError, halved.read_attributes, path, ["mass"])
    assert "scalars (mass) are attributes of HDF5 files, and CSVStore has none" in str(error)


@pytest.mark.parametrize(
    "options, says",
    [
        ({}, "give exactly one of them"),
        ({"factor": 0.5, "target_fs": 3.0}, "give exactly one of them"),
        ({"factor": 0.0}, "between 0.0001 and 10000 times"),
        ({"factor": -1.0}, "between"),
        ({"factor": math.nan}, "between"),
        ({"factor": 2e4}, "factor asks for 20000 times the rate"),
        ({"target_fs": 0.0}, "target_fs is 0.0; a rate in Hz is finite and above 0"),
        ({"target_fs": math.inf}, "target_fs is inf"),
        ({"factor": 0.5, "method": "cubic"}, "method is 'cubic'; it is 'antialias' or 'linear'"),
    ],
)
def test_wrong_arguments(path, told, options, says):
    """Impossible rates and unknown methods are refused when the store is built."""
    assert says in str(told(ConfigError, ResampledStore, HDF5Store([path]), **options))


def test_impossible_target(path, told):
    """A rate far from that of a file is refused when the file is met."""
    store = ResampledStore(HDF5Store([path]), target_fs=1e-3)
    error = told(ConfigError, store.get_seq_len, path, "u")
    assert error.key == "target_fs"


@pytest.mark.parametrize("method", METHODS)
def test_errors_of_reading(tmp_path, path, write_hdf5, told, method):
    """Ranges are checked against the new length, and unequal lengths are found."""
    store = ResampledStore(HDF5Store([path]), factor=0.5, method=method)
    assert store.read_signals(path, ["u"], 250, 250).shape == (0, 1)
    assert store.read_windows(path, ["u"], np.array([], int), 9).shape == (0, 9, 1)
    assert "the file has 250" in str(told(WindowError, store.read_signals, path, ["u"], 0, 251))
    told(WindowError, store.read_windows, path, ["u"], np.array([0, 245]), 9)
    odd = write_hdf5(tmp_path / "odd.hdf5", {"u": np.zeros(10), "y": np.zeros(9)})
    told(
        UnequalLengthError,
        ResampledStore(HDF5Store([odd]), factor=0.5, method=method).read_signals,
        odd,
        ["u", "y"],
    )


def test_pickle(path):
    """A store is the same after pickling."""
    store = ResampledStore(HDF5Store([path]), target_fs=61.03)
    wanted = store.read_signals(path, ["u"])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(store)).read_signals(path, ["u"]), wanted
    )
