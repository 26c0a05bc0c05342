"""ARX models against systems with known coefficients and SciPy's filter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from tsjax_core.errors import DataError
from tsjax_core.models.arx_coefficients import ARXCoefficients, fit_arx


def siso(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """y_t = 1.5 y_(t-1) - 0.7 y_(t-2) + 0.5 u_(t-1) + 0.2 u_(t-2), by SciPy."""
    u = 40.0 * np.random.default_rng(seed).standard_normal((n, 1))
    return u, lfilter([0.0, 0.5, 0.2], [1.0, -1.5, 0.7], u, axis=0)


def test_known_coefficients_are_recovered_from_several_records():
    """Noise-free records of unequal length give the true system, and its free run."""
    records = [siso(0, 300), siso(1, 80)]
    model = fit_arx(records, 2, 3)
    np.testing.assert_allclose(model.a.ravel(), [1.5, -0.7], atol=1e-8)
    np.testing.assert_allclose(model.b.ravel(), [0.0, 0.5, 0.2], atol=1e-8)
    u, y = siso(2)
    np.testing.assert_allclose(model.simulate(u), y, atol=1e-5)


def test_several_inputs_and_outputs_with_offset_are_recovered():
    """A coupled system of two inputs, two outputs in other units, and a constant."""
    rng = np.random.default_rng(3)
    a = np.array([[[0.6, 0.1e-3], [0.2e3, 0.5]]])
    b = np.array([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1e-3], [0.5, -2e-3]]])
    true = ARXCoefficients(a, b, np.array([0.3, 1e-4]))
    u = rng.standard_normal((400, 2))
    got = fit_arx([(u, true.simulate(u))], 1, 2)
    np.testing.assert_allclose(got.a, a, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.b, b, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.c, true.c, rtol=1e-6)


def test_the_free_run_begins_at_rest():
    """With zero input the output stays at the equilibrium from the first sample on."""
    model = ARXCoefficients(np.array([[[0.5]]]), np.array([[[1.0]]]), np.array([2.0]))
    np.testing.assert_allclose(model.simulate(np.zeros((20, 1))), 4.0)


def test_records_shorter_than_the_lags_are_refused():
    """The error says what the order needs and what there is."""
    with pytest.raises(DataError) as caught:
        fit_arx([siso(0, 5)], 8, 9)
    print(caught.value)
    assert "na = 8" in str(caught.value)
    assert "5" in str(caught.value)
