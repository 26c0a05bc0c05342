"""Losses of a model's intermediate values."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tsjax_core import (
    GRU,
    Learner,
    activation_regularizer,
    compose_losses,
    create_grain_dls,
    normalized_mse,
    plot_history,
    skip_n,
    temporal_activation_regularizer,
)
from tsjax_core.errors import ConfigError

NOTHING = (None, None, None, None)


@pytest.fixture(scope="module")
def data(oscillator):
    return create_grain_dls(["u"], ["y"], oscillator, win_sz=40, stp_sz=40, bs=8)


def test_they_are_means_of_squares_and_of_squared_differences_in_time():
    """Of the value that is named, against NumPy; time is axis 1 however wide the value is."""
    hidden = np.random.default_rng(0).standard_normal((3, 7, 20)).astype(np.float32)
    aux = {"hidden": jnp.asarray(hidden), "gate": jnp.asarray(2.0 * hidden)}
    for name, scale in (("hidden", 1.0), ("gate", 4.0)):
        size = activation_regularizer(name)(*NOTHING, aux=aux)
        np.testing.assert_allclose(size, scale * np.mean(hidden**2), rtol=1e-6)
        change = temporal_activation_regularizer(name)(*NOTHING, aux=aux)
        expected = scale * np.mean(np.diff(hidden, axis=1) ** 2)
        np.testing.assert_allclose(change, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "term,aux,part",
    [
        (activation_regularizer("hiden"), {"hidden": 0, "x": 0}, "'hiden'; it gives 'hidden', 'x'"),
        (temporal_activation_regularizer(), {}, "it gives none"),
        (
            temporal_activation_regularizer(),
            {"hidden": jnp.ones((3, 4))},
            r"shape \(3, 4\); it needs a value \(batch, time",
        ),
        (temporal_activation_regularizer(), {"hidden": jnp.ones((3, 1, 4))}, "2 samples or more"),
    ],
)
def test_what_the_model_does_not_give_is_told(term, aux, part):
    """The error lists what it gives."""
    with pytest.raises(ConfigError, match=part) as caught:
        term(*NOTHING, aux=aux)
    print(caught.value)
    assert caught.value.key == "loss"


def test_a_value_of_another_name_is_told_when_the_learner_is_built(data):
    """Before anything is trained."""
    loss = compose_losses((normalized_mse, 1.0), (activation_regularizer("state"), 0.1))
    with pytest.raises(ConfigError, match="'state'; it gives 'hidden'"):
        Learner(GRU(hidden_size=2), data, loss)


def test_every_named_term_is_in_the_history_and_in_its_figure(data):
    """Weighted, and together the training loss; validation is without the regularizers."""
    pytest.importorskip("matplotlib")
    loss = compose_losses(
        (skip_n(normalized_mse, 5), 1.0),
        (activation_regularizer(), 0.1),
        slow=(temporal_activation_regularizer(), 10.0),
    )
    learner = Learner(GRU(hidden_size=2), data, loss)
    (result,) = learner.fit_iter(1)
    names = ["normalized_mse", "activation_regularizer", "slow"]
    assert list(result.terms) == names
    assert all(value > 0.0 for value in result.terms.values())
    assert sum(result.terms.values()) == pytest.approx(result.train_loss)
    pairs = learner.evaluate("valid").pairs
    std = learner.signals.stats["y"].std
    squares = np.concatenate([((p - t) / std)[:, 5:].ravel() ** 2 for p, t in pairs])
    assert result.valid_loss == pytest.approx(np.mean(squares, dtype=np.float64), rel=1e-6)
    figure = plot_history(learner.history)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["train", "valid", *(f"train, {name}" for name in names)]
