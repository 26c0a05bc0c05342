"""Sums of loss terms: values, names, and what they may ask for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsjax_core import compose_losses, mae, mse, normalized_mae
from tsjax_core.errors import ConfigError, SignatureError
from tsjax_core.losses.compose import named_terms

PRED, TARGET = np.float32([[[1.0], [2.0]]]), np.float32([[[0.0], [4.0]]])
STATS = (np.zeros(1, np.float32), np.ones(1, np.float32))


def energy(pred, target, y_mean, y_std, *, batch):
    """Declares the batch."""
    return jnp.mean(batch["u"] ** 2)


def test_a_composed_loss_is_the_weighted_sum_of_its_terms():
    """With names from the functions, or given by keyword, or nested."""
    total = 2.0 * 1.5 + 0.5 * 2.5
    inner = compose_losses((mae, 2.0), (mse, 0.5))
    assert float(inner(PRED, TARGET, *STATS)) == total
    named = compose_losses(fit=(mae, 2.0), power=(mse, 0.5))
    assert float(named(PRED, TARGET, *STATS)) == total
    assert [term.name for term in named.terms] == ["fit", "power"]
    outer = compose_losses(data=(inner, 3.0), rest=(normalized_mae, 1.0))
    assert [term.name for term in outer.terms] == ["data.mae", "data.mse", "rest"]
    assert float(outer(PRED, TARGET, *STATS)) == 3.0 * total + 1.5


def test_a_term_gets_exactly_what_it_declares():
    """The batch reaches the term that declares it and no other."""
    loss = compose_losses((mae, 1.0), (energy, 10.0))
    value = loss(PRED, TARGET, *STATS, batch={"u": np.float32([[[3.0]]])})
    assert float(value) == 1.5 + 90.0
    assert [term.wants for term in loss.terms] == [frozenset(), frozenset({"batch"})]


def test_a_plain_loss_is_one_term_under_its_name():
    """The learner sees every loss as named terms."""
    assert [(term.name, term.weight) for term in named_terms(mae)] == [("mae", 1.0)]


@pytest.mark.parametrize(
    "make,parts",
    [
        (compose_losses, ["no term", "(loss, weight)"]),
        (lambda: compose_losses(mae), ["pair (loss, weight)"]),
        (lambda: compose_losses((mae, float("nan"))), ["nan", "'mae'", "finite"]),
        (lambda: compose_losses((mae, 1.0), (mae, 2.0)), ["two terms named 'mae'", "by keyword"]),
    ],
)
def test_what_is_no_composition_is_refused(make, parts):
    """The error says what was got and how to write it."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_an_argument_that_tsjax_does_not_give_is_refused():
    """The error names the loss, the argument, and those that there are."""

    def physics(pred, target, y_mean, y_std, *, derivative):
        return 0.0

    def short(pred, target):
        return 0.0

    for loss, parts in (
        (physics, ["'physics'", "'derivative'", "'aux', 'batch', 'key', 'model'"]),
        (short, ["'short'", "has the signature (pred, target)", "(pred, target, y_mean, y_std)"]),
    ):
        with pytest.raises(SignatureError) as caught:
            compose_losses((loss, 1.0))
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)


def test_terms_draw_numbers_of_their_own():
    """Two terms that each declare a key are not given the same one."""

    def draw(pred, target, y_mean, y_std, *, key):
        return jax.random.uniform(key)

    def alone(number):
        terms = {f"t{i}": (draw, float(i == number)) for i in range(2)}
        return float(compose_losses(**terms)(None, None, None, None, key=jax.random.key(0)))

    assert alone(0) != alone(1)
    assert alone(0) == alone(0)
