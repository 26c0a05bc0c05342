"""Statistics and signals: checked when made, compared by value, safe to send to a process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tsjax_core import NormStats, Signals


def test_statistics_compare_and_join_by_value():
    """Equal numbers are equal statistics; a sum has the channels of both."""
    a, b = NormStats([1.0], [2.0]), NormStats([3.0, 4.0], [5.0, 6.0])
    assert NormStats(1.0, 2.0) == a
    assert hash(NormStats(1.0, 2.0)) == hash(a)
    assert a != b
    assert a != "statistics"
    joined = a + b
    np.testing.assert_array_equal(joined.mean, [1.0, 3.0, 4.0])
    np.testing.assert_array_equal(joined.std, [2.0, 5.0, 6.0])
    assert joined.mean.dtype == np.float32


def test_mean_and_std_need_one_value_per_channel():
    """The error says how many there are of each."""
    with pytest.raises(ValueError, match="mean has 1 channels and std 2") as caught:
        NormStats([1.0], [1.0, 2.0])
    print(caught.value)


def test_signals_survive_pickling_and_cannot_be_changed():
    """They cross processes with their statistics."""
    signals = Signals(["u"], ["y"], {"u": NormStats(0.0, 1.0)}, 0.1, scalar_inputs=["mass"])
    again = pickle.loads(pickle.dumps(signals))
    assert again == signals
    assert again.inputs == ("u",)
    assert again.names == {"u": ("u",), "y": ("y",), "u_scalar": ("mass",)}
    with pytest.raises(TypeError):
        signals.stats["u"] = NormStats(1.0, 1.0)


def test_the_target_is_the_sequence_where_there_is_one():
    """Scalar targets are compared only without output sequences."""
    assert Signals(["u"], ["y"], scalar_outputs=["wear"]).target == "y"
    assert Signals(["u"], [], scalar_outputs=["wear"]).target == "y_scalar"
