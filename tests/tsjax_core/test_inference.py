"""`predict` on arrays of one, two and three axes."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx

from tsjax_core import GRU, NormStats, Signals, predict
from tsjax_core.errors import ModelError


def model(n_u: int, n_y: int, **options) -> nnx.Module:
    signals = Signals(
        [f"u{i}" for i in range(n_u)],
        [f"y{i}" for i in range(n_y)],
        {
            "u": NormStats(np.zeros(n_u), np.ones(n_u)),
            "y": NormStats(np.zeros(n_y), np.ones(n_y)),
            "u_scalar": NormStats([0.0], [1.0]),
        },
        scalar_inputs=("mass",),
    )
    return GRU(hidden_size=3, **options).build(signals, rngs=nnx.Rngs(0))


def test_outputs_have_the_axes_of_the_inputs():
    """(time,), (time, n_u) and (batch, time, n_u) give the same numbers."""
    one = model(1, 1)
    u = np.random.default_rng(0).standard_normal(30)
    y = predict(one, u)
    assert y.shape == (30,)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(predict(one, u[:, None])[:, 0], y)
    np.testing.assert_array_equal(predict(one, u[None, :, None])[0, :, 0], y)
    np.testing.assert_array_equal(predict(one, list(u)), y)
    wide = model(2, 3)
    assert predict(wide, np.zeros((9, 2))).shape == (9, 3)
    assert predict(wide, np.zeros((4, 9, 2))).shape == (4, 9, 3)


def test_repeated_calls_are_independent():
    """No state leaks from one call into the next."""
    one = model(1, 1)
    u = np.random.default_rng(1).standard_normal(30)
    first = predict(one, u)
    predict(one, u * 5.0)
    np.testing.assert_array_equal(predict(one, u), first)


def test_further_inputs_follow_the_first():
    """A model that reads scalars takes them with the same leading axes."""
    scaled = model(1, 2, scalar_inputs=True)
    u = np.random.default_rng(2).standard_normal((2, 8, 1))
    both = predict(scaled, u, np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(predict(scaled, u[1], [2.0]), both[1], rtol=1e-6)
    for wrong in (3.0, np.zeros((3, 1)), np.array([[np.nan], [1.0]])):
        with pytest.raises(ModelError) as caught:
            predict(scaled, u, wrong)
        print(caught.value)
        assert "further input" in str(caught.value)


@pytest.mark.parametrize(
    "u,parts",
    [
        (np.zeros((1, 2, 3, 4)), ["(1, 2, 3, 4)", "(batch, time, n_u)"]),
        (np.zeros((0, 2)), ["(0, 2)", "at least one sample"]),
        ("abc", ["no array of numbers"]),
        (np.zeros((5, 3)), ["2 channels", "(1, 5, 3)"]),
        (np.array([[0.0, np.nan], [np.inf, 0.0]]), ["2 samples", "NaN or infinite"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(u, parts):
    """The error says what was got and what is expected."""
    with pytest.raises(ModelError) as caught:
        predict(model(2, 1), u)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_one_axis_cannot_hold_several_outputs():
    """The error says how to give the input instead."""
    with pytest.raises(ModelError) as caught:
        predict(model(1, 2), np.zeros(5))
    print(caught.value)
    assert "2 outputs" in str(caught.value)
    assert "(time, n_u)" in str(caught.value)
