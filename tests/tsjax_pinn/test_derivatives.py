"""Difference operators and exact derivatives against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsjax_pinn
from tsjax_core.errors import ConfigError
from tsjax_pinn import state_derivatives, time_derivatives

# Name: derivative, order in dt, samples without the full stencil at the begin and at the end.
OPERATORS = {
    "diff1_forward": (1, 1, 0, 1),
    "diff1_forward_double": (1, 1, 0, 1),
    "diff1_central": (1, 2, 1, 1),
    "diff1_central4_double": (1, 4, 2, 2),
    "diff2_forward": (2, 2, 1, 1),
    "diff2_central": (2, 2, 1, 1),
    "diff2_central_double": (2, 2, 1, 1),
    "diff3_forward": (3, 1, 0, 3),
    "diff3_central": (3, 2, 2, 2),
}
LEAST = {1: {1: 2, 2: 3, 4: 5}, 2: {2: 3}, 3: {1: 4, 2: 5}}


def operator(name):
    return getattr(tsjax_pinn, name)


def wave(t, order):
    """Return a derivative of sin(2 t)."""
    return 2.0**order * np.sin(2.0 * t + order * np.pi / 2)


@pytest.mark.parametrize("name", OPERATORS)
def test_error_falls_with_the_stated_order(name):
    """The slope of the largest error inside over dt, in 64-bit numbers, on sin(2 t)."""
    derivative, order, before, after = OPERATORS[name]
    steps, errors = np.array([0.08, 0.04, 0.02]), []
    with jax.enable_x64(True):
        for dt in steps:
            t = np.arange(0.0, 3.0, dt)
            got = np.asarray(operator(name)(jnp.asarray(np.sin(2 * t)), dt))
            assert got.shape == t.shape
            inside = slice(before, len(t) - after)
            errors.append(np.abs(got - wave(t, derivative))[inside].max())
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    print(name, slope)
    assert slope == pytest.approx(order, abs=0.1)


@settings(deadline=None, max_examples=10)
@given(
    name=st.sampled_from(sorted(OPERATORS)),
    numbers=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    n=st.integers(5, 17),
)
def test_polynomials_are_differentiated_exactly(name, numbers, n):
    """Up to the degree below which the stencil has no error."""
    derivative, order, before, after = OPERATORS[name]
    degree = min(3, derivative + order - 1)
    poly = np.polynomial.Polynomial(numbers[: degree + 1])
    t = 0.5 * np.arange(n)
    with jax.enable_x64(True):
        got = operator(name)(jnp.asarray(poly(t)), 0.5)
    inside = slice(before, n - after)
    expected = poly.deriv(derivative)(t)
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-9)


def test_ends_are_as_documented():
    """One-sided differences, or the nearest value."""
    rng = np.random.default_rng(0)
    s = rng.standard_normal(9).astype(np.float32)
    d = {name: np.asarray(operator(name)(s, 0.5)) for name in OPERATORS}
    one = np.diff(s) / 0.5
    third = np.diff(s, 3) / 0.5**3
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(d["diff1_forward"], [*one, one[-1]], **close)
    np.testing.assert_allclose(d["diff1_central"][[0, -1]], one[[0, -1]], **close)
    np.testing.assert_allclose(d["diff1_central4_double"][[0, -1]], one[[0, -1]], **close)
    middle = d["diff1_central"][[1, -2]]
    np.testing.assert_allclose(d["diff1_central4_double"][[1, -2]], middle, **close)
    np.testing.assert_allclose(d["diff2_central"][[0, -1]], d["diff2_central"][[1, -2]])
    np.testing.assert_array_equal(d["diff2_forward"], d["diff2_central"])
    # At k stands the difference that begins at k.
    np.testing.assert_allclose(d["diff3_forward"], [*third, *[third[-1]] * 3], **close)
    ends = d["diff3_central"][[0, 1, -2, -1]]
    np.testing.assert_allclose(ends, third[[0, 1, -2, -1]], **close)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name.endswith("double")])
def test_double_operators_round_once(name):
    """Compiled, on 32-bit signals with an offset, they give what 64-bit numbers give."""
    dt = 1e-3
    t = dt * np.arange(200)
    s = (100.0 + np.sin(t)).astype(np.float32)
    got = jax.jit(operator(name), static_argnums=1)(s, dt)
    assert got.dtype == np.float32
    with jax.enable_x64(True):
        plain = np.asarray(operator(name)(jnp.asarray(s.astype(np.float64)), dt))
    np.testing.assert_allclose(got, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_batches_and_channels_are_differentiated_alone(name):
    """(time,), (batch, time) and (batch, time, n), with finite gradients."""
    s = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    whole = operator(name)(s, 0.1)
    assert whole.shape == s.shape
    np.testing.assert_allclose(operator(name)(s[..., 1], 0.1), whole[..., 1], rtol=1e-6)
    np.testing.assert_allclose(operator(name)(s[1, :, 2], 0.1), whole[1, :, 2], rtol=1e-6)
    slope = jax.grad(lambda s: jnp.sum(operator(name)(s, 0.1)[:, 3]))(s)
    assert np.isfinite(slope).all()
    derivative, order, *_ = OPERATORS[name]
    # The weights of a stencil add up to nothing.
    np.testing.assert_allclose(slope.sum(1), 0.0, atol=1e-2 if derivative == 3 else 1e-4)
    least = LEAST[derivative][order]
    assert operator(name)(s[:, :least], 0.1).shape == (2, least, 3)
    with pytest.raises(ConfigError) as caught:
        operator(name)(s[:, : least - 1], 0.1)
    print(caught.value)
    assert f"{name} got a signal of {least - 1} samples" in str(caught.value)


def test_a_signal_or_step_that_does_not_fit_is_refused():
    """With what was got."""
    for call, part in (
        (lambda: tsjax_pinn.diff1_central(np.zeros((1, 2, 3, 4)), 0.1), "of shape (1, 2, 3, 4)"),
        (lambda: tsjax_pinn.diff1_central(np.zeros(5), 0.0), "diff1_central got dt = 0.0"),
        (lambda: time_derivatives(jnp.sin, 0.0, order=0), "time_derivatives got order = 0"),
        (lambda: state_derivatives(jnp.sin, 0.0, order=0), "state_derivatives got order = 0"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        print(caught.value)
        assert part in str(caught.value)


def test_exact_derivatives_of_a_function_of_time():
    """From the value to the third, of a damped oscillation with two channels, to 1e-6."""
    t = np.linspace(0.0, 2.0, 21)

    def function(t):
        return jnp.stack([jnp.exp(-0.5 * t) * jnp.sin(t), t**3], axis=-1)

    with jax.enable_x64(True):
        got = jax.jit(lambda t: time_derivatives(function, t, order=3))(t)
    root = -0.5 + 1j
    for order, value in enumerate(got):
        cube = np.polynomial.Polynomial([0, 0, 0, 1]).deriv(order)(t)
        expected = np.stack([(root**order * np.exp(root * t)).imag, cube], -1)
        np.testing.assert_allclose(value, expected, atol=1e-6)
    single = time_derivatives(jnp.sin, jnp.asarray(t, jnp.float32), order=3)[3]
    np.testing.assert_allclose(single, -np.cos(t), atol=1e-6)


def test_exact_derivatives_of_a_state():
    """Of a linear system, powers of its matrix; of the logistic equation, by its solution."""
    a = np.array([[0.0, 1.0], [-4.0, -0.6]])
    x = np.array([[0.3, -0.2], [1.0, 0.5]])
    with jax.enable_x64(True):
        got = state_derivatives(lambda x: x @ a.T, x, order=3)
        grown = state_derivatives(lambda x: x * (1 - x), np.array([0.3]), order=2)
    for order, value in enumerate(got, start=1):
        expected = x @ np.linalg.matrix_power(a, order).T
        np.testing.assert_allclose(value, expected, atol=1e-6)
    np.testing.assert_allclose(grown[1], 0.3 * 0.7 * (1 - 2 * 0.3), atol=1e-6)
