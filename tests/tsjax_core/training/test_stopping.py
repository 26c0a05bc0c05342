"""Early stopping is a loop over `fit_iter` that keeps count."""

from __future__ import annotations

import math
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core import Checkpoints, EarlyStopping, EpochResult, GRULearner, fit_percent, rmse
from tsjax_core.errors import CheckpointError, ConfigError


def fit(pred, target, y_mean, y_std):
    """A metric of which nobody knows that more is better."""


class Told:
    """A learner whose epochs have the values that are given; its weight is the epoch's number."""

    def __init__(self, values, name="valid_loss"):
        self.model = nnx.Dict(weight=nnx.Param(jax.numpy.float32(-1)))
        self.history, self.metrics = [], (fit,)
        self.loss_weights = {"mse": 1.0}
        self.fit_in_progress = SimpleNamespace(done=0)
        self.resumed_from = None
        self.values, self.name = values, name

    def results(self):
        for epoch, value in enumerate(self.values):
            self.model.weight[...] = jax.numpy.float32(epoch)
            given = {"train_loss": 1.0, "valid_loss": 1.0, "metrics": {"fit": 1.0}}
            given |= {"metrics": {"fit": value}} if self.name == "fit" else {self.name: value}
            self.history.append(EpochResult(epoch, **given))
            yield self.history[-1]


def run(values, *, name="valid_loss", **options):
    learner, stopping = Told(values, name), EarlyStopping(monitor=name, **options)
    seen = [result.epoch for result in stopping.follow(learner.results(), learner)]
    return seen, stopping, int(learner.model.weight[...])


def test_it_ends_after_patience_epochs_without_improvement_and_restores_the_best():
    """The best is epoch 2 of 0 to 6; epochs 3, 4, 5 are no better, so 6 is never trained."""
    seen, stopping, weight = run([5.0, 4.0, 3.0, 3.5, 3.0, 4.0, 1.0], patience=3)
    assert (seen, stopping.best.epoch, stopping.stopped, weight) == ([0, 1, 2, 3, 4, 5], 2, True, 2)


def test_without_restoring_the_weights_are_the_last():
    """`restore_best=False` leaves the model as the last epoch left it."""
    seen, stopping, weight = run([1.0, 2.0, 3.0], patience=2, restore_best=False)
    assert (seen, stopping.best.epoch, weight) == ([0, 1, 2], 0, 2)


def test_more_is_better_where_it_is_said():
    """With mode max a metric that rises improves."""
    seen, stopping, weight = run([10.0, 50.0, 40.0, 45.0], name="fit", mode="max", patience=2)
    assert (seen, stopping.best.epoch, weight) == ([0, 1, 2, 3], 1, 1)


def test_an_improvement_passes_min_delta_and_the_best_is_the_best_all_the_same():
    """Creeping by less than min_delta does not go on for ever; the smallest value is restored."""
    seen, stopping, weight = run([1.0, 0.95, 0.92, 0.91, 0.0], min_delta=0.2, patience=3)
    assert (seen, stopping.best.epoch, weight) == ([0, 1, 2, 3], 3, 3)
    seen, *_ = run([1.0, 0.9, 0.79, 0.7, 0.58, 0.5], min_delta=0.2, patience=2)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_values_that_are_not_finite_are_no_improvement():
    """NaN and infinity count as waiting, and never as the best."""
    seen, stopping, weight = run([math.nan, 2.0, math.nan, -math.inf], patience=2)
    assert (seen, stopping.best.epoch, weight) == ([0, 1, 2, 3], 1, 1)
    seen, stopping, weight = run([math.nan, math.nan, 1.0], patience=2)
    assert (seen, stopping.best, weight) == ([0, 1], None, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 4).map(lambda x: round(x, 1)), min_size=1, max_size=12), st.integers(1, 4)
)
def test_against_a_slow_reference(values, patience):
    """It ends at the first epoch that closes `patience` epochs above the least one before them."""
    seen, stopping, weight = run(values, patience=patience)
    end = len(values)
    for last in range(patience, len(values)):
        before = values[: last - patience + 1]
        if all(value >= min(before) for value in values[last - patience + 1 : last + 1]):
            end = last + 1
            break
    assert len(seen) == end
    assert stopping.best.epoch == weight == int(np.argmin(values[:end]))


def test_leaving_the_loop_restores_the_best_too(data):
    """`break` in the loop closes the generator, and a real learner has the best epoch's bits."""
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    stopping = EarlyStopping(patience=5, monitor="rmse", mode="max")
    weights = []
    results = stopping.follow(learner.fit_iter(9, lr=1e-2), learner)
    for result in results:
        weights.append([np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model))])
        if result.epoch == 3:
            break
    results.close()
    best = int(np.argmax([result.metrics["rmse"] for result in learner.history]))
    assert stopping.best.epoch == best != 3
    for x, y in zip(weights[best], jax.tree.leaves(nnx.state(learner.model)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_resumed_fit_stops_and_restores_as_if_it_had_not_been_interrupted(data, tmp_path):
    """The epochs before count; their best weights come from the checkpoint that was kept."""

    def make():
        return GRULearner(data, hidden_size=4)

    def stopping():
        return EarlyStopping(patience=3, monitor="valid_loss", mode="max")

    def checkpoints(folder):
        return Checkpoints(tmp_path / folder, monitor="valid_loss", mode="max")

    whole, first = make(), make()
    expected = stopping()
    seen = list(expected.follow(whole.fit_iter(20, lr=1e-2), whole))
    assert expected.stopped
    results = stopping().follow(checkpoints("a").follow(first.fit_iter(20, lr=1e-2), first), first)
    for result in results:
        if result.epoch == len(seen) - 2:
            break
    results.close()
    second, again = make(), stopping()
    rest = again.follow(checkpoints("a").follow(second.resume(tmp_path / "a"), second), second)
    assert [result.epoch for result in rest] == [len(seen) - 1]
    assert (again.best, again.stopped) == (expected.best, True)
    for x, y in zip(
        jax.tree.leaves(nnx.state(whole.model)),
        jax.tree.leaves(nnx.state(second.model)),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)
    third, last = make(), stopping()
    assert not list(last.follow(third.resume(tmp_path / "a"), third))
    assert last.best == expected.best
    for x, y in zip(
        jax.tree.leaves(nnx.state(whole.model)),
        jax.tree.leaves(nnx.state(third.model)),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)
    fourth, best = make(), expected.best.epoch + 1
    assert best != len(seen)
    shutil.rmtree(tmp_path / "a" / f"epoch_{best:06d}")
    with pytest.raises(CheckpointError) as caught:
        next(stopping().follow(fourth.resume(tmp_path / "a"), fourth))
    print(caught.value)
    assert f"holds no checkpoint of epoch {best}; it has {len(seen)}. Checkpoints(" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "options, told",
    [
        ({"patience": 0}, "patience = 0; give a whole number of epochs, at least 1."),
        ({"patience": 2.5}, "patience = 2.5; give a whole number"),
        ({"patience": 2, "min_delta": -1.0}, "min_delta = -1.0; give a finite number, at least 0."),
        ({"patience": 2, "mode": "less"}, "mode = 'less'; give one of 'min', 'max'."),
    ],
)
def test_wrong_options_are_told(options, told):
    """Each names the option, what was got, and what to give."""
    with pytest.raises(ConfigError) as caught:
        EarlyStopping(**options)
    print(caught.value)
    assert str(caught.value).startswith(told)


def test_a_name_that_no_epoch_has_is_told(data):
    """The text lists the names that an epoch has."""
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    stopping = EarlyStopping(patience=2, monitor="fit")
    with pytest.raises(ConfigError) as caught:
        next(stopping.follow(learner.fit_iter(2), learner))
    print(caught.value)
    assert "an epoch has normalized_mae, rmse, train_loss, valid_loss" in str(caught.value)
    assert learner.history == []


def test_a_metric_of_which_more_is_better_is_not_minimised(data, tmp_path):
    """Its worst epoch would be kept; the text says what to give, before anything is trained."""
    learner = GRULearner(data, hidden_size=4, metrics=[fit_percent])
    for follower in (
        EarlyStopping(patience=2, monitor="fit_percent"),
        Checkpoints(tmp_path / "ck", monitor="fit_percent"),
    ):
        with pytest.raises(ConfigError) as caught:
            next(follower.follow(learner.fit_iter(2), learner))
        print(caught.value)
        assert "'fit_percent' is better the higher it is, and mode is 'min'; give mode" in str(
            caught.value
        )
    assert learner.history == []
    assert not (tmp_path / "ck").exists()


def test_a_fit_that_is_not_followed_from_its_first_epoch_is_told(data):
    """Its best weights cannot be known."""
    learner = GRULearner(data, hidden_size=4)
    results = learner.fit_iter(3)
    next(results)
    with pytest.raises(ConfigError, match="first epochs it has not seen") as caught:
        next(EarlyStopping(patience=2).follow(results, learner))
    print(caught.value)
