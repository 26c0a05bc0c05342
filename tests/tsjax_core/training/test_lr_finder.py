"""The learning-rate finder finds known rates, and leaves no trace in the learner."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import GRULearner, RNNLearner, find_learning_rate, plot_learning_rates
from tsjax_core.errors import ConfigError, DivergenceError
from tsjax_core.training.lr_finder import LearningRateCurve, smooth_losses, suggest_rate

RATES = np.geomspace(1e-6, 1.0, 100)
DECADE = np.log10(RATES)


def falling(center: float, depth: float = 0.8, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return losses that fall most steeply at 10**`center`, and grow without bound near 1."""
    random = np.random.default_rng(seed)
    fall = depth / (1.0 + np.exp(-(DECADE - center) / 0.3))
    clean = 1.0 - fall + np.exp((DECADE + 0.6) / 0.1)
    return clean * (1.0 + noise * random.standard_normal(len(RATES)))


@pytest.mark.parametrize("center", [-4.0, -3.0, -2.0])
def test_the_steepest_descent_of_a_known_curve_is_found(center):
    """To the nearest step without noise, and within 0.4 decades with 10 % of it."""
    step = DECADE[1] - DECADE[0]
    assert abs(math.log10(suggest_rate(RATES, falling(center))) - center) <= step
    for seed in range(30):
        found = math.log10(suggest_rate(RATES, falling(center, noise=0.1, seed=seed)))
        assert abs(found - center) < 0.4


def test_the_suggestion_does_not_depend_on_the_unit_of_the_loss():
    """A loss in other units, or with a constant added, has the same suggestion."""
    losses = falling(-3.0, noise=0.05)
    found = suggest_rate(RATES, losses)
    assert suggest_rate(RATES, 1e6 * losses) == found
    assert suggest_rate(RATES, losses - 1.5) == pytest.approx(found, rel=1e-9)


def test_steps_that_are_not_finite_do_not_count():
    """Single ones are left out, and from where all are, the curve ends."""
    losses = falling(-3.0)
    losses[[20, 47, 60]] = np.nan, np.inf, np.nan
    losses[90:] = np.nan
    assert abs(math.log10(suggest_rate(RATES, losses)) + 3.0) < 0.1
    steps = smooth_losses(RATES, losses).steps
    assert not {20, 47, 60} & set(steps)
    assert steps.max() < 90
    assert math.isnan(suggest_rate(RATES, np.full(100, np.nan)))


def test_a_loss_above_4_times_its_best_ends_the_curve():
    """A second, deeper fall behind it is not seen; a single high batch ends nothing."""
    losses = falling(-4.0, depth=0.5)
    losses[70:] = 0.1
    losses[60:70] = 2.1
    assert smooth_losses(RATES, losses).steps.max() in (59, 60, 61)
    losses[60:70] = 1.9
    assert smooth_losses(RATES, losses).steps.max() == 99
    losses[30] = 50.0
    assert smooth_losses(RATES, losses).steps.max() == 99


def test_without_a_clear_fall_there_is_no_suggestion():
    """For a loss that only rises never, and for noise alone in at most 1 of 20 cases."""
    rising = [suggest_rate(RATES, falling(-3.0, 0.0, 0.05, seed)) for seed in range(40)]
    assert np.isnan(rising).all()
    random = np.random.default_rng(0)
    flat = [suggest_rate(RATES, 1.0 + 0.1 * random.standard_normal(100)) for _ in range(100)]
    assert np.isnan(flat).mean() >= 0.95


def state_of(learner) -> list[bytes]:
    leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(learner.model)))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def test_the_learner_is_as_if_the_finder_had_never_run(data):
    """Parameters, history and all bits of a later fit, after a fit and with dropout."""
    learners = [GRULearner(data, hidden_size=3, weight_dropout=0.3) for _ in range(2)]
    for learner in learners:
        learner.fit(1, lr=1e-2, show_progress=False)
    before = state_of(learners[0])
    curve = find_learning_rate(learners[0], 1e-5, 10.0, n_steps=20)
    assert state_of(learners[0]) == before
    assert len(learners[0].history) == 1
    n = math.ceil(20 / data.steps_per_epoch) * data.steps_per_epoch
    assert curve.losses.shape == curve.rates.shape
    assert len(curve.rates) <= n
    np.testing.assert_allclose(curve.rates, np.geomspace(1e-5, 10.0, n)[: len(curve.rates)])
    for learner in learners:
        learner.fit(1, lr=1e-2, show_progress=False)
    assert state_of(learners[0]) == state_of(learners[1])
    first, second = (learner.history[-1] for learner in learners)
    assert (first.train_loss, first.valid_loss) == (second.train_loss, second.valid_loss)


def test_a_divergence_ends_the_search_and_not_the_learner(data):
    """The steps up to it are in the curve, and the learner has its parameters again."""

    def steep(pred, target, y_mean, y_std):
        return jnp.mean(jnp.exp(((pred - target) / y_std) ** 2))

    learner = RNNLearner(data, hidden_size=3, loss=steep, optimizer=optax.sgd)
    before = state_of(learner)
    with pytest.raises(DivergenceError):
        learner.fit(1, lr=1e8, show_progress=False)
    assert state_of(learner) == before
    curve = find_learning_rate(learner, 1e-4, 1e8, n_steps=4 * data.steps_per_epoch)
    assert state_of(learner) == before
    assert learner.history == []
    assert data.steps_per_epoch <= len(curve.losses) < 4 * data.steps_per_epoch
    assert np.isfinite(curve.losses[0])
    assert not np.isfinite(curve.losses[-1])
    assert len(curve.rates) == len(curve.losses)


WRONG = {
    "lowest": (lambda learner: find_learning_rate(learner, 0.0), "lowest", "above 0"),
    "highest": (lambda learner: find_learning_rate(learner, 1e-3, np.inf), "highest", "above 0"),
    "range": (lambda learner: find_learning_rate(learner, 1.0, 1e-3), "lowest", "not below"),
    "steps": (lambda learner: find_learning_rate(learner, n_steps=5), "n_steps", "at least 20"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_told(data, case):
    """Before anything is trained."""
    call, key, text = WRONG[case]
    with pytest.raises(ConfigError, match=text) as caught:
        call(GRULearner(data, hidden_size=3))
    print(caught.value)
    assert caught.value.key == key


def test_an_optimizer_with_its_own_rate_is_told(data):
    """The finder could not change it."""
    learner = GRULearner(data, hidden_size=3, optimizer=optax.adam(1e-3))
    with pytest.raises(ConfigError, match="Give the learner a function of the rate") as caught:
        find_learning_rate(learner)
    print(caught.value)
    assert caught.value.key == "optimizer"


@pytest.mark.parametrize("losses", [falling(-3.0, noise=0.05), np.full(100, np.nan)])
def test_the_figure_shows_curve_and_suggestion(losses):
    """The rate is in the legend where there is one, and the divergence leaves the picture."""
    suggestion = suggest_rate(RATES, losses)
    figure = plot_learning_rates(LearningRateCurve(RATES, losses, suggestion))
    axis = figure.axes[0]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    if math.isnan(suggestion):
        assert len(labels) == 2
    else:
        assert f"suggestion {suggestion:.2g}" in labels
        assert axis.get_ylim()[1] < 2.0 < losses.max()
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("learning rate", "loss")
