"""Dividing a linear model among two blocks: exact, complete, and where the nonlinearity is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from tsjax_core.models.subspace import StateSpaceMatrices
from tsjax_ss.division import choose_division, divide_poles, factor_square, pass_through

Z = np.exp(1j * np.linspace(0.05, 3.0, 23))


def response(model: StateSpaceMatrices) -> np.ndarray:
    """The frequency response by SciPy, channel by channel."""
    rows = []
    for k in range(model.b.shape[1]):
        numerators, denominator = scipy.signal.ss2tf(model.a, model.b, model.c, model.d, input=k)
        rows.append([np.polyval(num, Z) / np.polyval(denominator, Z) for num in numerators])
    return np.moveaxis(np.array(rows), (0, 1, 2), (2, 1, 0))


def with_poles(model: StateSpaceMatrices, **changes) -> StateSpaceMatrices:
    names = ("a", "b", "c", "d", "offset")
    return StateSpaceMatrices(*(changes.get(name, getattr(model, name)) for name in names))


@pytest.mark.parametrize("delayed", [False, True])
def test_divisions_of_poles_and_zeros_are_complete_and_exact(system, delayed):
    """Two pairs of poles: every assignment of the zeros that leaves both blocks causal."""
    model = system.make_block([system.slow, system.fast], 1, 1, 5)
    if delayed:
        model = with_poles(model, d=np.zeros((1, 1)))
    numerator, denominator = scipy.signal.ss2tf(model.a, model.b, model.c, model.d)
    zeros, poles = np.roots(numerator[0, int(delayed) :]), np.roots(denominator)
    groups = [len(zeros[zeros.imag > 0.0]), len(zeros[np.abs(zeros.imag) < 1e-9])]
    expected = 0
    for chosen in np.ndindex(*([2] * sum(groups))):
        sizes = np.array([2] * groups[0] + [1] * groups[1])
        before = int(sizes @ np.array(chosen, int))
        expected += 2 * (before <= 2 and len(zeros) - before <= 2)
    divisions = divide_poles(model, None, direct=True)
    assert len(divisions) == expected > 1
    for each in divisions:
        np.testing.assert_allclose(
            response(each.behind) @ response(each.before), response(model), rtol=1e-7, atol=1e-9
        )
        found = np.concatenate([np.linalg.eigvals(b.a) for b in (each.before, each.behind)])
        np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(poles), atol=1e-8)
    without = divide_poles(model, None, direct=False)
    assert all(not each.before.d.any() for each in without)
    assert len(without) < len(divisions)
    assert divide_poles(model, (1, 3), direct=True) == []


def test_real_poles_and_odd_orders_are_divided_too(system):
    """Three real poles in six ways, of one and two or of two and one."""
    model = with_poles(
        system.make_block([system.slow, system.fast], 1, 1, 5), a=np.diag([0.9, 0.5, -0.3, 0.2])
    )
    sizes = {(d.before.order, d.behind.order) for d in divide_poles(model, None, direct=True)}
    assert sizes == {(1, 3), (2, 2), (3, 1)}
    assert {d.before.order for d in divide_poles(model, (1, 3), direct=True)} == {1}


def test_multiple_poles_are_left_alone(system):
    """Residues do not exist: no division is returned rather than one that is wrong."""
    model = with_poles(
        system.make_block([system.slow, system.fast], 1, 1, 5), a=np.diag([0.5, 0.5, 0.5, 0.5])
    )
    for each in divide_poles(model, None, direct=True):
        np.testing.assert_allclose(
            response(each.behind) @ response(each.before), response(model), rtol=1e-4
        )


def test_square_models_are_factored_exactly(system):
    """Two inputs and two outputs, with as many zeros as poles in each block."""
    model = system.make_block([system.slow, system.fast], 2, 2, 5)
    divisions = factor_square(model, None)
    assert len(divisions) > 1
    for each in divisions:
        np.testing.assert_allclose(
            response(each.behind) @ response(each.before), response(model), rtol=1e-6, atol=1e-8
        )
    chosen = factor_square(model, (2, 2))
    assert {(each.before.order, each.behind.order) for each in chosen} == {(2, 2)}
    assert factor_square(with_poles(model, d=np.zeros((2, 2))), None) == []


@pytest.mark.parametrize("direct", [True, False])
def test_a_pass_through_changes_nothing(system, direct):
    """Before or behind a model of other numbers of inputs and outputs."""
    model = system.make_block([system.slow, system.fast], 2, 3, 5)
    divisions = pass_through(model, np.ones((4, 3)), direct=direct)
    assert [len(each.before.c) for each in divisions] == ([3, 2] if direct else [3])
    for each in divisions:
        np.testing.assert_allclose(
            response(each.behind) @ response(each.before), response(model), rtol=1e-9, atol=1e-12
        )


def test_whitened_signals_have_unit_covariance(system):
    """And both blocks in a row are as before."""
    model = system.make_block([system.slow, system.fast], 2, 2, 5)
    u = np.random.default_rng(0).normal(size=(3000, 2))
    for each in factor_square(model, None)[:3]:
        white = each.whiten([u[:2000], u[2000:]])
        inner = np.concatenate([white.before.simulate(x) for x in (u[:2000], u[2000:])])
        np.testing.assert_allclose(np.cov(inner.T), np.eye(2), atol=1e-8)
        np.testing.assert_allclose(white.respond(Z), each.respond(Z), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("slow_first", [True, False])
def test_the_true_division_is_chosen(system, slow_first):
    """Among all that are possible, from the error of the true linear part; gaps do not matter."""
    first, second = (system.slow, system.fast)[:: 1 if slow_first else -1]
    before, behind = system.make_block([first], 1, 1, 5), system.make_block([second], 1, 1, 6)
    u = np.random.default_rng(0).normal(size=(4000, 1))
    y = behind.simulate(system.bend(before.simulate(u)))
    gain = 0.7
    series = StateSpaceMatrices(
        np.block([[before.a, np.zeros((2, 2))], [behind.b @ before.c, behind.a]]),
        np.concatenate([before.b, behind.b @ before.d]),
        gain * np.concatenate([behind.d @ before.c, behind.c], axis=1),
        gain * behind.d @ before.d,
        y.mean(0),
    )
    y[1000:1100] = np.nan
    chosen = choose_division(divide_poles(series, None, direct=True), series, [(u, y)])
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(chosen.before.a)), np.sort_complex([first, first.conj()])
    )
    ratio = response(chosen.before) / response(before)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-6)
