from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core.data import stats as stats_module
from tsjax_core.data.stats import compute_norm_stats, require_finite, scan_scalars, scan_signals
from tsjax_core.errors import ConstantChannelError, NonFiniteError, UnequalLengthError


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Records of a few hundred samples have several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats_module, "_BLOCK", 37)
        yield


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e6]),
    spread=st.sampled_from([1e-3, 1.0, 50.0, 1e4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_equal_to_numpy_in_float64(array_store, lengths, offset, spread, seed):
    """However files and blocks divide the samples, the figures are those of all together."""
    rng = np.random.default_rng(seed)
    files = {
        Path(f"{i}"): {
            "u": (offset + spread * rng.standard_normal(n)).astype("f4"),
            "y": rng.uniform(-1, 1, n).astype("f4"),
        }
        for i, n in enumerate(lengths)
    }
    joined = {key: np.concatenate([f[key] for f in files.values()]).astype("f8") for key in "uy"}
    scan = scan_signals(array_store(files), ["y", "u"])
    for row, key in enumerate("yu"):
        x = joined[key]
        assert scan.count[row] == x.size
        np.testing.assert_allclose(scan.mean[row], x.mean(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(scan.std[row], x.std(), rtol=1e-7, atol=1e-12 * abs(x).max())
        assert (scan.min[row], scan.max[row]) == (x.min(), x.max())
    assert not scan.nonfinite
    assert scan.files == len(lengths)


def test_small_signal_on_a_large_offset(array_store):
    """At a million times its spread, a signal keeps six digits of its standard deviation."""
    ripple = np.tile(np.array([0.0, 1.0], "f4"), 5000)
    store = array_store({Path("a"): {"u": ripple + np.float32(1e6)}})
    norm = compute_norm_stats(store, ["u"])
    assert norm.mean[0] == pytest.approx(1e6 + 0.5)
    assert norm.std[0] == pytest.approx(0.5, rel=1e-6)


def test_channels_by_name(array_store):
    """Statistics come in the order of the names that are asked for."""
    store = array_store({Path("a"): {"u": np.arange(4.0), "y": 10 * np.arange(4.0)}})
    scan = scan_signals(store, ["u", "y"])
    assert scan.norm_stats(["y", "u"]).mean.tolist() == [15.0, 1.5]
    assert scan.norm_stats([]).mean.shape == (0,)
    assert compute_norm_stats(store, ["y"]) == scan.norm_stats(["y"])


def test_samples_that_are_not_finite(array_store, told):
    """NaN and infinite samples are counted by file and channel."""
    ramp = np.arange(200.0)
    bad = ramp.copy()
    bad[[3, 50, 51]] = np.nan, np.inf, -np.inf
    one = ramp.copy()
    one[199] = np.nan
    store = array_store({Path("a"): {"u": ramp, "y": bad}, Path("b"): {"u": one, "y": ramp}})
    error = told(NonFiniteError, compute_norm_stats, store, ["u", "y"])
    assert "samples are NaN or infinite: a: 3 in 'y', b: 1 in 'u'. Correct" in str(error)
    assert "allow_nan" in str(error)
    assert (error.path, error.signal) == (Path("a"), "y")
    assert compute_norm_stats(store, ["u"], allow_nan=True).mean[0] == pytest.approx(
        np.concatenate([ramp, ramp[:-1]]).mean()
    )
    scan = scan_signals(store, ["y"])
    finite = np.concatenate([bad[np.isfinite(bad)], ramp])
    np.testing.assert_allclose(scan.mean[0], finite.mean(), rtol=1e-13)
    np.testing.assert_allclose(scan.std[0], finite.std(), rtol=1e-13)
    assert (scan.count[0], scan.min[0], scan.max[0]) == (397, 0.0, 199.0)


def test_channel_without_a_finite_sample(array_store, told):
    """A channel of nothing but NaN has no statistics, allowed or not."""
    store = array_store({Path("a"): {"y": np.full(90, np.nan)}})
    error = told(NonFiniteError, compute_norm_stats, store, ["y"], allow_nan=True)
    assert "'y' has no finite sample in all of the files (1 file); leave it out." in str(error)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_channel(array_store, told, value):
    """A channel with one value throughout all files is refused with its value."""
    still = {"u": np.full(100, value), "y": np.arange(100.0)}
    store = array_store({Path("a"): still, Path("b"): still})
    error = told(ConstantChannelError, compute_norm_stats, store, ["y", "u"])
    assert error.signal == "u"
    assert f"'u' has the value {np.float32(value):.9g} in all of the files (2 files)" in str(error)
    assert "Leave it out" in str(error)


def test_channel_that_differs_between_files_is_not_constant(array_store):
    """One value per file is enough to differ."""
    store = array_store({Path("a"): {"u": np.zeros(9)}, Path("b"): {"u": np.ones(9)}})
    assert compute_norm_stats(store, ["u"]).std.tolist() == [0.5]


def test_channel_that_float32_cannot_normalise(array_store, told):
    """A deviation below the smallest normal float32 counts as none."""
    store = array_store({Path("a"): {"u": np.tile([0.0, 1e-39], 50)}})
    told(ConstantChannelError, compute_norm_stats, store, ["u"])


def test_scalars(told):
    """Each file counts once, whatever its length."""
    paths = [Path("a"), Path("b"), Path("c")]
    scan = scan_scalars(paths, ["m", "x"], np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]]))
    norm = scan.norm_stats(["m"])
    assert (norm.mean[0], norm.std[0]) == pytest.approx((3.0, np.std([1, 2, 6])))
    error = told(ConstantChannelError, scan.require_varying, "train")
    assert "'x' has the value 5 in all of train (3 files)" in str(error)
    scan = scan_scalars(paths, ["m"], np.array([[1.0], [np.nan], [2.0]]))
    assert "b: 1 in 'm'" in str(told(NonFiniteError, require_finite, [scan]))


def test_unequal_lengths(array_store, told):
    """Channels of a file that differ in length are refused."""
    store = array_store({Path("a"): {"u": np.zeros(9), "y": np.zeros(8)}})
    told(UnequalLengthError, compute_norm_stats, store, ["u", "y"])


def test_long_records_are_read_in_blocks(array_store):
    """No read takes more than a block, and every sample is read once."""
    asked = []

    class Spy(array_store):
        def read_signals(self, path, signals, start=0, stop=None):
            asked.append((start, stop))
            return super().read_signals(path, signals, start, stop)

    compute_norm_stats(Spy({Path("a"): {"u": np.arange(100.0)}}), ["u"])
    assert asked == [(0, 37), (37, 74), (74, 100)]
