"""Losses for outliers against SciPy and their limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from tsjax_core import normalized_huber, normalized_log_cosh
from tsjax_core.errors import ConfigError

ERRORS = np.concatenate([np.logspace(-6, 6, 61), -np.logspace(-6, 6, 13), [0.0, 0.5, 1.0]])
ONE = np.ones(1, np.float32)


def values_and_slopes(loss):
    """Return the loss and its slope at every single error; the standard deviation is 2."""

    def at(error):
        pred = jnp.reshape(error, (1, 1, 1))
        return loss(pred, jnp.zeros((1, 1, 1)), 0.0 * ONE, 2.0 * ONE)

    return jax.jit(jax.vmap(jax.value_and_grad(at)))(jnp.asarray(ERRORS, jnp.float32))


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_huber_equals_scipy(delta):
    """From tiny to huge errors, which count in units of the standard deviation."""
    values, slopes = values_and_slopes(normalized_huber(delta))
    np.testing.assert_allclose(values, special.huber(delta, ERRORS / 2), rtol=1e-6)
    np.testing.assert_allclose(slopes, np.clip(ERRORS / 2, -delta, delta) / 2, rtol=1e-6)


def test_log_cosh_is_exact_for_tiny_and_huge_errors():
    """Where cosh overflows and where its logarithm cancels; its slope is the tanh."""
    e = ERRORS / 2
    expected = np.where(np.abs(e) < 1e-3, e**2 / 2, np.logaddexp(e, -e) - np.log(2.0))
    values, slopes = values_and_slopes(normalized_log_cosh)
    np.testing.assert_allclose(values, expected, rtol=2e-6)
    np.testing.assert_allclose(slopes, np.tanh(e) / 2, rtol=2e-6)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("inf"), float("nan")])
def test_a_threshold_that_is_no_positive_number_is_refused(delta):
    """The error names the option."""
    with pytest.raises(ConfigError, match="give a finite number above 0") as caught:
        normalized_huber(delta)
    assert caught.value.key == "delta"
