"""Losses of a part of the time or of the channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core import cut_loss, mae, masked_loss, mse, normalized_mse, nrmse, rmse, skip_n, vaf
from tsjax_core.errors import ConfigError


def gradient_of(loss):
    """Return the compiled gradient."""
    return jax.jit(jax.grad(loss))


@given(left=st.integers(0, 20), right=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_a_cut_loss_is_the_loss_of_what_is_left(whole, left, right):
    """Of any loss or metric, and `skip_n` is a cut on the left."""
    pred, target, *stats = whole
    part = slice(left, 30 - right)
    for loss in (normalized_mse, mae, nrmse):
        expected = float(loss(pred[:, part], target[:, part], *stats))
        assert float(cut_loss(loss, left, right)(*whole)) == expected
        assert float(skip_n(cut_loss(loss, right=right), left)(*whole)) == expected


def test_what_is_cut_has_no_gradient(whole):
    """Neither at the start nor at the end."""
    loss = cut_loss(skip_n(rmse, 3), left=2, right=4)
    gradient = gradient_of(lambda p: loss(p, *map(jnp.asarray, whole[1:])))(whole.pred)
    assert np.all(gradient[:, :5] == 0.0)
    assert np.all(gradient[:, -4:] == 0.0)
    assert np.all(gradient[:, 5:-4] != 0.0)


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda: skip_n(mse, -1), "n = -1; give a whole number"),
        (lambda: skip_n(mse, 2.5), "n = 2.5"),
        (lambda: cut_loss(mse, left=True), "left = True"),
        (lambda: cut_loss(mse, right=-3), "right = -3"),
        (lambda: skip_n(mse, 10)(*np.zeros((2, 3, 10, 1))), "leaves nothing of a sequence of 10"),
        (lambda: cut_loss(mse, 5, 6)(*np.zeros((2, 3, 10, 1))), "left=5, right=6.*nothing"),
        (lambda: skip_n(mse, 0)(*np.zeros((2, 3, 1))), r"shape \(3, 1\).*scalar targets"),
        (lambda: masked_loss(mse, [False, False]), "at least one true"),
        (lambda: masked_loss(mse, [1, 0]), "true or false for each channel"),
        (lambda: masked_loss(mse, []), "at least one true"),
        (
            lambda: masked_loss(mse, [True, False])(*np.zeros((2, 3, 10, 3))),
            "channel_mask of 2 channels.*prediction has 3",
        ),
        (
            lambda: masked_loss(mse, [True, True, False, False])(
                np.zeros((3, 10, 4)), np.zeros((3, 10, 3))
            ),
            "4 channels, 2 of them true.*target has 3",
        ),
    ],
)
def test_what_cannot_be_cut_or_masked_is_told(make, part):
    """The error says what was got and what to give."""
    with pytest.raises(ConfigError, match=part) as caught:
        make()
    print(caught.value)
    assert caught.value.key


def test_a_masked_loss_is_that_of_its_channels(whole):
    """With their statistics, of losses and metrics."""
    for mask, chosen in (([True, False], [0]), ([False, True], [1]), ([True, True], [0, 1])):
        alone = [x[..., chosen] for x in whole]
        for loss in (normalized_mse, rmse, vaf):
            assert float(masked_loss(loss, mask)(*whole)) == float(loss(*alone))
    assert not masked_loss(rmse, [True, False]).channelwise


def test_channels_that_do_not_count_have_no_gradient(whole):
    """Even where their target is NaN or infinite."""
    target = whole.target.copy()
    target[:, ::2, 0], target[:, 1::2, 0] = np.nan, np.inf
    loss = masked_loss(normalized_mse, [False, True])
    gradient = gradient_of(lambda p: loss(p, *map(jnp.asarray, (target, *whole[2:]))))(whole.pred)
    assert np.all(gradient[..., 0] == 0.0)
    assert np.all(gradient[..., 1] != 0.0)


def test_a_prediction_may_have_further_channels(whole):
    """The mask is that of the prediction; the targets are those that are selected."""
    wide = np.insert(whole.pred, 1, 7.0, axis=-1)
    loss = masked_loss(normalized_mse, [True, False, True])
    assert float(loss(wide, *whole[1:])) == float(normalized_mse(*whole))
    gradient = gradient_of(lambda p: loss(p, *map(jnp.asarray, whole[1:])))(jnp.asarray(wide))
    assert np.all(gradient[..., 1] == 0.0)
