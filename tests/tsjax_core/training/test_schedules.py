"""Schedules are the functions that their names stand for, over the whole of a fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tsjax_core import constant, flat_cos, one_cycle, warmup_cosine
from tsjax_core.errors import ConfigError
from tsjax_core.training.schedules import SCHEDULES

N = 400
PROGRESS = np.arange(N, dtype=np.float32) / N


def of_optax(schedule) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(N)))


def test_constant_is_one():
    """The rate that was asked for, at every step."""
    np.testing.assert_array_equal(constant()(PROGRESS), np.ones(N))


@pytest.mark.parametrize("pct_start", [0.0, 0.25, 0.75])
def test_flat_cos_equals_joined_schedules_of_optax(pct_start):
    """Constant, then `optax.cosine_decay_schedule` over the rest."""
    start = int(pct_start * N)
    expected = optax.join_schedules(
        [optax.constant_schedule(1.0), optax.cosine_decay_schedule(1.0, N - start)], [start]
    )
    np.testing.assert_allclose(flat_cos(pct_start)(PROGRESS), of_optax(expected), atol=2e-6)


@pytest.mark.parametrize(
    "pct_start, div, final_div", [(0.25, 25.0, 1e5), (0.5, 10.0, 1e3), (0.1, 1.0, 1.0)]
)
def test_one_cycle_equals_that_of_optax(pct_start, div, final_div):
    """Whose final factor is relative to the first."""
    expected = optax.cosine_onecycle_schedule(N, 1.0, pct_start, div, final_div / div)
    schedule = one_cycle(pct_start, div, final_div)
    np.testing.assert_allclose(schedule(PROGRESS), of_optax(expected), atol=2e-6)
    ends = schedule(np.array([0.0, pct_start, 1.0]))
    np.testing.assert_allclose(ends, [1.0 / div, 1.0, 1.0 / final_div], rtol=1e-9)


@pytest.mark.parametrize("warmup, end", [(0.05, 0.0), (0.5, 0.1), (0.0, 0.0), (0.25, 1.0)])
def test_warmup_cosine_equals_that_of_optax(warmup, end):
    """Linear from 0.04, so that a first step trains, then half a cosine to `end`."""
    steps = int(warmup * N)
    expected = optax.warmup_cosine_decay_schedule(0.04, 1.0, steps, N, end)
    schedule = warmup_cosine(warmup, end)
    np.testing.assert_allclose(schedule(PROGRESS), of_optax(expected), atol=2e-6)
    np.testing.assert_allclose(schedule(np.array([warmup, 1.0])), [1.0, end], rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_schedule_serves_fits_of_any_length(name, n):
    """One factor per step, from 0 to 1, also for a single step."""
    factors = SCHEDULES[name]()(np.arange(n, dtype=np.float32) / n)
    assert factors.shape == (n,)
    assert np.all((factors >= 0.0) & (factors <= 1.0))


WRONG = [
    (lambda: flat_cos(1.0), "pct_start", "0 to below 1"),
    (lambda: one_cycle(0.0), "pct_start", "between 0 and 1"),
    (lambda: one_cycle(float("nan")), "pct_start", "between 0 and 1"),
    (lambda: one_cycle(div=0.5), "div", "give 1 or more"),
    (lambda: one_cycle(final_div=float("inf")), "final_div", "give 1 or more"),
    (lambda: warmup_cosine(1.0), "warmup", "0 to below 1"),
    (lambda: warmup_cosine(end=-0.1), "end", "give 0 to 1"),
]


@pytest.mark.parametrize("make, key, text", WRONG)
def test_wrong_shares_are_told(make, key, text):
    """With their key and what can be given."""
    with pytest.raises(ConfigError, match=text) as caught:
        make()
    print(caught.value)
    assert caught.value.key == key
