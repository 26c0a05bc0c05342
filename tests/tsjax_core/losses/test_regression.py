"""Losses and metrics against NumPy and closed forms."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsjax_core as tc


def data(seed: int, shape: tuple[int, ...] = (3, 40, 2)) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    scale = np.array([0.01, 50.0])[: shape[-1]]
    target = rng.standard_normal(shape) * scale + 3 * scale
    pred = target + 0.3 * rng.standard_normal(shape) * scale
    mean, std = target.mean((0, 1)), target.std((0, 1))
    return tuple(x.astype(np.float32) for x in (pred, target, mean, std))


REFERENCES = {
    "mse": lambda p, t, m, s: np.mean((p - t) ** 2),
    "mae": lambda p, t, m, s: np.mean(np.abs(p - t)),
    "rmse": lambda p, t, m, s: np.sqrt(np.mean((p - t) ** 2)),
    "normalized_mse": lambda p, t, m, s: np.mean(((p - t) / s) ** 2),
    "normalized_mae": lambda p, t, m, s: np.mean(np.abs(p - t) / s),
    "nrmse": lambda p, t, m, s: np.mean(
        [np.sqrt(np.mean((p - t)[..., i] ** 2)) / np.std(t[..., i]) for i in range(t.shape[-1])]
    ),
    "fit_percent": lambda p, t, m, s: np.mean(
        [
            100
            * (1 - np.linalg.norm((p - t)[..., i]) / np.linalg.norm(t[..., i] - t[..., i].mean()))
            for i in range(t.shape[-1])
        ]
    ),
    "vaf": lambda p, t, m, s: np.mean(
        [100 * (1 - np.var(t[..., i] - p[..., i]) / np.var(t[..., i])) for i in range(t.shape[-1])]
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
@given(seed=st.integers(0, 1000), n_y=st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_each_figure_equals_its_numpy_form(name, seed, n_y):
    """On random outputs of very different scales, to float32 precision."""
    pred, target, mean, std = data(seed, (3, 40, n_y))
    expected = REFERENCES[name](*(x.astype(np.float64) for x in (pred, target, mean, std)))
    for on_device in (False, True):
        arrays = (pred, target, mean, std)
        got = getattr(tc, name)(*(jnp.asarray(x) for x in arrays) if on_device else arrays)
        assert got.shape == ()
        np.testing.assert_allclose(float(got), expected, rtol=2e-5)


@pytest.mark.parametrize(
    "name", ["normalized_mse", "normalized_mae", "nrmse", "fit_percent", "vaf"]
)
def test_relative_figures_do_not_depend_on_units(name):
    """Volts or millivolts give the same figure."""
    pred, target, mean, std = data(1)
    figure = getattr(tc, name)
    np.testing.assert_allclose(
        figure(pred * 1e3, target * 1e3, mean * 1e3, std * 1e3),
        figure(pred, target, mean, std),
        rtol=1e-4,
    )


def test_perfect_and_trivial_simulations_have_their_known_figures():
    """A perfect simulation fits 100 %; the mean of the measured output fits 0 %."""
    _, target, mean, std = data(2)
    trivial = np.broadcast_to(target.mean((0, 1)), target.shape)
    for perfect, mean_only, figure in (
        (0.0, 1.0, tc.nrmse),
        (100.0, 0.0, tc.fit_percent),
        (100.0, 0.0, tc.vaf),
    ):
        assert float(figure(target, target, mean, std)) == perfect
        assert float(figure(trivial, target, mean, std)) == pytest.approx(mean_only, abs=1e-3)


def test_vaf_does_not_see_an_offset_and_fit_does():
    """The two figures differ exactly in a constant offset."""
    _, target, mean, std = data(3)
    shifted = target + std
    assert float(tc.vaf(shifted, target, mean, std)) == pytest.approx(100.0, abs=1e-2)
    assert float(tc.fit_percent(shifted, target, mean, std)) == pytest.approx(0.0, abs=1e-2)


def test_metrics_take_prediction_and_target_alone():
    """On a notebook's prompt no statistics are needed."""
    pred, target, mean, std = data(4)
    for metric in (tc.mse, tc.mae, tc.rmse, tc.nrmse, tc.fit_percent, tc.vaf):
        assert float(metric(pred, target)) == float(metric(pred, target, mean, std))


@pytest.mark.parametrize(
    "metric", [tc.nrmse, tc.fit_percent, tc.vaf], ids=lambda metric: metric.__name__
)
@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
def test_a_channel_at_rest_is_left_out_of_the_mean(metric, library):
    """Relative to a spread of 0 every error is infinite; alone it stays so."""
    rng = np.random.default_rng(0)
    moving = rng.standard_normal((1, 300, 1)).astype(np.float32)
    resting = np.full((1, 300, 1), 0.2, np.float32)
    target = library.asarray(np.concatenate([moving, resting], axis=-1))
    pred = target + library.asarray(0.1 * rng.standard_normal((1, 300, 2)), np.float32)
    both, one = metric(pred, target), metric(pred[..., :1], target[..., :1])
    np.testing.assert_allclose(both, one, rtol=1e-5)
    assert not np.isfinite(metric(pred[..., 1:], target[..., 1:]))
