"""Losses whose samples do not count alike, or that choose among the sequences of a batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsjax_core import (
    hardest,
    mae,
    masked_loss,
    mse,
    normalized_mae,
    normalized_mse,
    random_length,
    rmse,
    skip_n,
    time_weighted,
    weighted_loss,
)
from tsjax_core.errors import ConfigError


def gradient_of(loss):
    """Return the compiled gradient."""
    return jax.jit(jax.grad(loss))


def optimized(loss, pred, target, y_mean, y_std, w):
    """Return a weighted loss as a user's program gives it.

    Without the optimizations, which the tests do without, a sum adds up its terms one by one in
    single precision.
    """
    options = {"xla_backend_optimization_level": 3}

    def given(pred, target, y_mean, y_std, w):
        return loss(pred, target, y_mean, y_std, batch={"w": w})

    return jax.jit(given, compiler_options=options)(pred, target, y_mean, y_std, w)


def mean_of_both(pred, target, y_mean, y_std):
    """A mean over samples that is not marked as channelwise."""
    return jnp.mean((pred - target) ** 2)


def measured_average(values, weights, target):
    return np.average(
        values[~np.isnan(target)], weights=np.broadcast_to(weights, target.shape)[~np.isnan(target)]
    )


@pytest.mark.parametrize("shape", [(), (4, 1), (1, 30), (30,), (4, 30), (4, 30, 2), (1, 1, 2)])
def test_a_weighted_loss_is_the_weighted_mean_over_what_is_measured(shape, gappy):
    """With weights per sample, per time, per channel, and longer than the prediction."""
    weights = np.random.default_rng(0).random(shape).astype(np.float32)
    error = (gappy.pred - gappy.target) ** 2
    spread = weights[..., None] if weights.ndim <= 2 else weights
    expected = measured_average(error, spread, gappy.target)
    loss = weighted_loss(mse, lambda batch: batch["w"])
    np.testing.assert_allclose(optimized(loss, *gappy, w=weights), expected, rtol=1e-6)
    if shape == (4, 30):
        longer = np.concatenate([np.full((4, 9), 1e6, np.float32), weights], axis=1)
        np.testing.assert_allclose(optimized(loss, *gappy, w=longer), expected, rtol=1e-6)
        cut = optimized(skip_n(loss, 5), *gappy, w=longer)
        late = [x[:, 5:] for x in (error, spread, gappy.target)]
        np.testing.assert_allclose(cut, measured_average(*late), rtol=1e-6)


def test_constant_weights_give_the_plain_loss(gappy):
    """For every mean over samples; the unit of the weights does not matter."""
    for loss in (mse, mae, normalized_mse, normalized_mae):
        weighted = weighted_loss(loss, lambda batch: np.float32(3.0))
        np.testing.assert_allclose(weighted(*gappy, batch={}), loss(*gappy), rtol=1e-6)
        np.testing.assert_allclose(time_weighted(loss, 0.2, 0.2)(*gappy), loss(*gappy), rtol=1e-6)


def test_weights_of_channels_reach_a_masked_loss(whole):
    """They are those of all channels, of which some count."""
    loss = weighted_loss(masked_loss(mse, [False, True]), lambda batch: batch["w"])
    weights = np.float32([[[100.0, 1.0]]]) * np.arange(1, 31, dtype=np.float32)[:, None]
    expected = np.average(((whole.pred - whole.target) ** 2)[..., 1].mean(0), weights=range(1, 31))
    np.testing.assert_allclose(loss(*whole, batch={"w": weights}), expected, rtol=1e-6)


def test_a_metric_that_is_no_mean_is_computed_on_each_sample_alone(whole):
    """The root of one squared error is its size."""
    loss = weighted_loss(rmse, lambda batch: 1.0)
    np.testing.assert_allclose(loss(*whole, batch={}), mae(*whole), rtol=1e-6)


@given(ratio=st.floats(1e-3, 1e3), seed=st.integers(0, 9))
@settings(max_examples=6, deadline=None)
def test_time_weights_are_even_in_logarithm(ratio, seed):
    """Against NumPy, on records of any length."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 200))
    pred, target = rng.standard_normal((2, 3, length, 1))
    weights = np.exp(np.linspace(0.0, np.log(ratio), length))
    expected = np.average(np.abs(pred - target).mean((0, 2)), weights=weights)
    np.testing.assert_allclose(
        time_weighted(mae, 2.0, 2.0 * ratio)(pred, target), expected, rtol=1e-5
    )


def test_records_of_any_length_share_one_program_on_the_host():
    """A loss is compiled once for the samples of all records, short and long."""
    traces = []

    def counted(pred, target, y_mean, y_std):
        traces.append(pred.shape)
        return jnp.mean(jnp.abs(pred - target))

    loss = time_weighted(counted)
    for length in (3, 50, 5000, 9001):
        pred = np.random.default_rng(length).standard_normal((1, length, 2))
        weights = np.geomspace(1.0, 0.1, length)
        expected = np.average(np.abs(pred).mean((0, 2)), weights=weights)
        got = loss(pred, np.zeros_like(pred), np.zeros(2), np.ones(2))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert traces == [(1, 1, 2)]


def test_random_lengths_are_triangular():
    """Their frequencies pass a chi-squared test against SciPy's distribution function."""
    shortest, mode, longest = 3, 9, 20
    n, time = 4000, 24
    loss = random_length(mean_of_both, shortest, longest, mode)
    zeros = jnp.zeros((n, time, 1))
    # The gradient is where a sample counts.
    gradient = gradient_of(lambda p: loss(p, zeros, 0, 0, key=jax.random.key(0)))(zeros + 1.0)
    lengths = np.asarray((gradient != 0.0).sum((1, 2)))
    assert (lengths.min(), lengths.max()) == (shortest, longest)
    width = longest + 1 - shortest
    cdf = stats.triang((mode + 0.5 - shortest) / width, shortest, width).cdf
    chances = np.diff(cdf(np.arange(shortest, longest + 2)))
    counts = np.bincount(lengths, minlength=longest + 1)[shortest:]
    assert stats.chisquare(counts, chances * n).pvalue > 0.001
    assert np.argmax(chances) == mode - shortest
    # Every sequence counts alike.
    np.testing.assert_allclose(gradient.sum((1, 2)), 2.0 / n, rtol=1e-4)


def test_the_key_decides_the_lengths(whole):
    """The same key gives the same value, another one another, and nested draws differ."""
    loss = random_length(normalized_mse)
    first, again, other = (float(loss(*whole, key=jax.random.key(i))) for i in (0, 0, 1))
    assert first == again != other
    key = jax.random.key(3)
    assert float(random_length(loss)(*whole, key=key)) != float(loss(*whole, key=key))
    fixed = random_length(mse, 7, 7)(*whole, key=key)
    np.testing.assert_allclose(fixed, mse(whole.pred[:, :7], whole.target[:, :7]), rtol=1e-6)
    longer = random_length(mse, 100, 200)(*whole, key=key)
    np.testing.assert_allclose(longer, mse(*whole), rtol=1e-6)


def test_lengths_without_a_limit_reach_over_the_sequence(whole):
    """The shortest is the most probable unless the mode is given."""
    gradient = gradient_of(
        lambda p: random_length(mean_of_both)(
            p, jnp.zeros((500, 30, 1)), 0, 0, key=jax.random.key(1)
        )
    )(jnp.ones((500, 30, 1)))
    counts = np.bincount(np.asarray((gradient != 0.0).sum((1, 2))), minlength=31)
    assert counts[0] == 0
    assert counts[1:11].sum() > counts[11:21].sum() > counts[21:].sum() > 0


@given(seed=st.integers(0, 100), share=st.floats(0.05, 1.0))
@settings(max_examples=12, deadline=None)
def test_the_hardest_are_the_fewest_that_make_up_the_share(seed, share):
    """Against a loop over the sequences, sorted."""
    rng = np.random.default_rng(seed)
    pred = rng.standard_normal((9, 5, 1)) * rng.gamma(1.0, 2.0, (9, 1, 1))
    losses = np.sort((pred**2).mean((1, 2)))[::-1]
    kept = []
    for loss in losses:
        if sum(kept) < share * losses.sum() * (1 - 1e-6):
            kept.append(loss)
    got = hardest(mse, share)(pred, np.zeros_like(pred))
    np.testing.assert_allclose(got, np.mean(kept), rtol=1e-5)


def test_sequences_that_are_not_among_the_hardest_have_no_gradient(gappy):
    """One with no measurement is never among them, and equal ones do not divide by zero."""
    pred = gappy.target + np.float32([3.0, 0.1, 5.0, 0.01])[:, None, None] * gappy.std
    pred = np.where(np.isnan(pred), 1.0, pred)
    rest = [jnp.asarray(x) for x in gappy[1:]]
    gradient = gradient_of(lambda p: hardest(normalized_mse, 0.5)(p, *rest))(jnp.asarray(pred))
    assert np.any(gradient[0] != 0.0)
    assert np.all(gradient[1:] == 0.0)
    perfect = jnp.nan_to_num(rest[0])
    value, gradient = jax.jit(jax.value_and_grad(lambda p: hardest(normalized_mse)(p, *rest)))(
        perfect
    )
    assert float(value) == 0.0
    assert np.all(gradient == 0.0)


def test_a_sequence_that_is_nan_is_not_dropped(whole):
    """Divergence shows in the loss, on the host and on the device."""
    pred = whole.pred.copy()
    pred[1, 3] = np.nan
    assert np.isnan(hardest(mse, 0.3)(pred, *whole[1:]))
    assert np.isnan(hardest(mse, 0.3)(jnp.asarray(pred), *map(jnp.asarray, whole[1:])))


def test_scalar_targets_are_weighted_as_sequences_of_one_sample():
    """Where no time is needed."""
    pred, target = np.float32([[1.0], [2.0], [9.0]]), np.zeros((3, 1), np.float32)
    weighted = weighted_loss(mse, lambda batch: np.float32([[1.0], [2.0], [0.0]]))
    assert float(weighted(pred, target, batch={})) == pytest.approx((1.0 + 2.0 * 4.0) / 3.0)
    assert float(hardest(mse, 0.5)(pred, target)) == 81.0


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda x: weighted_loss(mse, lambda b: np.ones((3, 7)))(x, x, batch={}), r"\(3, 7\)"),
        (
            lambda x: weighted_loss(mse, lambda b: np.ones(2))(x, x, batch={}),
            r"broadcasts to \(3, 9",
        ),
        (lambda x: weighted_loss(mse, lambda b: np.ones((3, 9, 3)))(x, x, batch={}), "3 sequences"),
        (
            lambda x: weighted_loss(mean_of_both, lambda b: np.ones((3, 9, 2)))(
                x, x, None, None, batch={}
            ),
            r"broadcasts to \(3, 9\)\.",
        ),
        (lambda x: time_weighted(mse, first=0.0), "first = 0.0; give a finite number above 0"),
        (lambda x: time_weighted(mse, last=np.inf), "last = inf"),
        (lambda x: time_weighted(mse)(x[0], x[0]), r"time_weighted got .* shape \(9, 2\)"),
        (lambda x: random_length(mse, 0), "shortest = 0"),
        (lambda x: random_length(mse, 5, 4), "longest = 4; give 1 <= shortest <= mode"),
        (lambda x: random_length(mse, 5, 9, 4), "mode = 4"),
        (
            lambda x: random_length(mse)(x[0], x[0], key=jax.random.key(0)),
            "random_length got a prediction",
        ),
        (lambda x: hardest(mse, 0.0), "share = 0.0"),
        (lambda x: hardest(mse, 1.1), "above 0 and at most 1"),
    ],
)
def test_what_does_not_fit_is_told(make, part):
    """The error says what was got and what to give."""
    with pytest.raises(ConfigError, match=part) as caught:
        make(np.zeros((3, 9, 2), np.float32))
    print(caught.value)
    assert caught.value.key
