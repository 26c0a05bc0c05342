"""Targets that are NaN were not measured: losses and metrics leave them out, channel by channel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tsjax_core as tc

HUBER = tc.normalized_huber(delta=0.5)


def of_elements(form):
    """Return the mean of a form of the normalised error over all measured elements."""

    def reference(p, t, s):
        seen = ~np.isnan(t)
        return np.mean([form(e, c) for e, c in zip((p - t)[seen], s[seen], strict=True)])

    return reference


def of_channels(form):
    """Return the mean over the channels of a figure of the channel's measured samples."""

    def reference(p, t, s):
        values = []
        for i in range(t.shape[-1]):
            seen = ~np.isnan(t[..., i])
            values.append(form(p[..., i][seen], t[..., i][seen]))
        return np.mean(values)

    return reference


REFERENCES = {
    "mse": (tc.mse, of_elements(lambda e, s: e**2)),
    "mae": (tc.mae, of_elements(lambda e, s: abs(e))),
    "rmse": (tc.rmse, lambda *x: np.sqrt(of_elements(lambda e, s: e**2)(*x))),
    "normalized_mse": (tc.normalized_mse, of_elements(lambda e, s: (e / s) ** 2)),
    "normalized_mae": (tc.normalized_mae, of_elements(lambda e, s: abs(e / s))),
    "normalized_huber": (
        HUBER,
        of_elements(
            lambda e, s: 0.5 * (e / s) ** 2 if abs(e / s) < 0.5 else 0.5 * (abs(e / s) - 0.25)
        ),
    ),
    "normalized_log_cosh": (
        tc.normalized_log_cosh,
        of_elements(lambda e, s: np.log(np.cosh(e / s))),
    ),
    "nrmse": (tc.nrmse, of_channels(lambda p, t: np.sqrt(np.mean((p - t) ** 2)) / np.std(t))),
    "fit_percent": (
        tc.fit_percent,
        of_channels(lambda p, t: 100 - 100 * np.linalg.norm(p - t) / np.linalg.norm(t - t.mean())),
    ),
    "vaf": (tc.vaf, of_channels(lambda p, t: 100 * (1 - np.var(p - t) / np.var(t)))),
}
# One program for all tests of a figure.
ON_DEVICE = {name: jax.jit(jax.value_and_grad(figure)) for name, (figure, _) in REFERENCES.items()}
FIGURES = pytest.mark.parametrize("name", REFERENCES)


@FIGURES
def test_only_measured_elements_count(name, gappy):
    """Each figure equals NumPy over the measured elements, on both kinds of arrays."""
    figure, reference = REFERENCES[name]
    wide = [x.astype(np.float64) for x in gappy]
    expected = reference(wide[0], wide[1], np.broadcast_to(wide[3], wide[0].shape))
    np.testing.assert_allclose(figure(*gappy), expected, rtol=1e-6)
    np.testing.assert_allclose(ON_DEVICE[name](*gappy)[0], expected, rtol=2e-5)


@FIGURES
def test_what_is_not_measured_has_no_gradient(name, gappy):
    """The gradient is exactly 0 there, even where the prediction is NaN, and finite elsewhere."""
    missing = np.isnan(gappy.target)
    pred = gappy.pred.copy()
    pred[2, 3] = np.nan
    gradient = np.asarray(ON_DEVICE[name](pred, *gappy[1:])[1])
    assert np.all(gradient[missing] == 0.0)
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient[~missing] != 0.0)


@FIGURES
def test_a_prediction_that_is_nan_shows_where_there_is_a_measurement(name, gappy):
    """Gaps in the targets hide no divergence."""
    figure, _ = REFERENCES[name]
    pred = gappy.pred.copy()
    pred[tuple(np.argwhere(~np.isnan(gappy.target))[5])] = np.nan
    assert np.isnan(figure(pred, *gappy[1:]))
    assert np.isnan(ON_DEVICE[name](pred, *gappy[1:])[0])


@FIGURES
def test_without_any_measurement_a_split_has_no_figure_and_a_batch_teaches_nothing(name, whole):
    """In host memory the value is NaN; on the device it is finite and its gradient is 0."""
    figure, _ = REFERENCES[name]
    nothing = np.full_like(whole.target, np.nan)
    assert np.isnan(figure(whole.pred, nothing, *whole[2:]))
    value, gradient = ON_DEVICE[name](whole.pred, nothing, *whole[2:])
    assert float(value) == (100.0 if name in {"fit_percent", "vaf"} else 0.0)
    assert np.all(gradient == 0.0)


@pytest.mark.parametrize("name", ["nrmse", "fit_percent", "vaf"])
def test_a_channel_without_measurement_is_left_out_of_the_mean_over_channels(name, whole):
    """The figure is that of the other channel alone."""
    figure, _ = REFERENCES[name]
    target = whole.target.copy()
    target[..., 0] = np.nan
    alone = [x[..., 1:] for x in whole]
    np.testing.assert_allclose(figure(whole.pred, target), figure(*alone), rtol=1e-12)


@FIGURES
def test_infinite_targets_are_not_missing(name, whole):
    """They are errors of the data, and no figure is finite with them."""
    figure, _ = REFERENCES[name]
    target = whole.target.copy()
    target[0, 0, 0] = np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        assert not np.isfinite(figure(whole.pred, target, *whole[2:]))


@FIGURES
def test_patterns_of_gaps_share_one_program(name, whole):
    """Shapes do not depend on where targets are missing."""
    rng = np.random.default_rng(3)
    for share in (0.0, 0.2, 0.9):
        target = np.where(rng.random(whole.target.shape) < share, np.float32("nan"), whole.target)
        assert np.isfinite(ON_DEVICE[name](whole.pred, target, *whole[2:])[0])
    assert ON_DEVICE[name]._cache_size() == 1


def test_scalar_targets_may_be_missing_too():
    """Of (batch, n_y), what is NaN is left out."""
    pred, target = np.float32([[1.0, 2.0], [3.0, 4.0]]), np.float32([[0.0, np.nan], [1.0, 1.0]])
    assert float(tc.mse(pred, target)) == (1.0 + 4.0 + 9.0) / 3
    assert float(tc.mse(jnp.asarray(pred), jnp.asarray(target))) == pytest.approx(14.0 / 3)
