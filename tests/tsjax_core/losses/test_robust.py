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


def at(loss, error):
    return loss(jnp.full((1, 1, 1), error, jnp.float32), jnp.zeros((1, 1, 1)), 0 * ONE, 2 * ONE)


@pytest.mark.parametrize("delta", [0.3, 1.0, 4.0])
def test_huber_equals_scipy(delta):
    """From tiny to huge errors, which count in units of the standard deviation."""
    got = [float(at(normalized_huber(delta), error)) for error in ERRORS]
    np.testing.assert_allclose(got, special.huber(delta, ERRORS / 2), rtol=1e-6)
    slopes = [float(jax.grad(lambda e: at(normalized_huber(delta), e))(e)) for e in ERRORS[::6]]
    np.testing.assert_allclose(slopes, np.clip(ERRORS[::6] / 2, -delta, delta) / 2, rtol=1e-6)


def test_log_cosh_is_exact_for_tiny_and_huge_errors():
    """Where cosh overflows and where its logarithm cancels; its slope is the tanh."""
    e = ERRORS / 2
    expected = np.where(np.abs(e) < 1e-3, e**2 / 2, np.logaddexp(e, -e) - np.log(2.0))
    got = [float(at(normalized_log_cosh, error)) for error in ERRORS]
    np.testing.assert_allclose(got, expected, rtol=2e-6)
    slopes = [float(jax.grad(lambda x: at(normalized_log_cosh, x))(x)) for x in ERRORS]
    np.testing.assert_allclose(slopes, np.tanh(e) / 2, rtol=2e-6)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("inf"), float("nan")])
def test_a_threshold_that_is_no_positive_number_is_refused(delta):
    """The error names the option."""
    with pytest.raises(ConfigError, match="positive number of standard deviations") as caught:
        normalized_huber(delta)
    assert caught.value.key == "delta"
