"""A training that diverges says so, and no value that is not finite gets into a model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import GRU, RNN, GRULearner, Learner, add_noise, constant, skip_nonfinite
from tsjax_core.errors import DivergenceError


def variables(learner):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model))]


def poisoned(steps, value=jnp.nan):
    """Return a transform that spoils the inputs of the steps that `steps` tells by their epoch."""

    def spoil(batch, *, epoch, progress):
        return {**batch, "u": jnp.where(steps(epoch, progress), value, batch["u"])}

    return spoil


def test_single_bad_steps_are_skipped_and_counted(data):
    """One batch of NaN in every epoch of six steps; the mean loss is that of the other five."""
    n = data.steps_per_epoch
    transform = poisoned(lambda epoch, progress: jnp.isclose(progress * 3 * n, epoch * n + 2))
    learner = GRULearner(data, hidden_size=4, batch_transform=transform)
    for result in learner.fit_iter(3, lr=1e-2):
        assert result.skipped == 1
        assert list(np.flatnonzero(~np.isfinite(result.step_losses))) == [2]
        np.testing.assert_allclose(result.train_loss, np.nanmean(result.step_losses), rtol=1e-6)
    assert all(np.isfinite(x).all() for x in variables(learner))
    assert learner.history[-1].valid_loss < learner.history[0].valid_loss


@pytest.mark.parametrize("optimizer", [None, optax.adam], ids=["skipping", "plain"])
def test_an_epoch_without_a_finite_loss_ends_the_fit(data, optimizer):
    """The second epoch is all NaN: its number is told, and the learner is as after the first."""
    transform = poisoned(lambda epoch, progress: epoch == 1)
    learner = GRULearner(data, hidden_size=4, batch_transform=transform, optimizer=optimizer)
    results = learner.fit_iter(4, lr=1e-2, schedule=constant())
    next(results)
    before = variables(learner), learner.steps, learner.epochs_done
    with pytest.raises(DivergenceError) as caught:
        next(results)
    print(caught.value)
    assert str(caught.value).startswith(
        "training diverged in epoch 2: the loss was not finite in any of its 6 steps "
        "(learning rate 0.01). The model has the parameters of the epoch before. Try a lower lr"
    )
    assert caught.value.result.epoch == 1
    assert np.isnan(caught.value.result.step_losses).all()
    assert np.isnan(caught.value.result.train_loss)
    for x, y in zip(before[0], variables(learner), strict=True):
        np.testing.assert_array_equal(x, y)
    assert before[1:] == (learner.steps, learner.epochs_done)
    assert len(learner.history) == 1
    learner.fit(1, lr=1e-3, show_progress=False)
    assert len(learner.history) == 2


def test_parameters_that_are_lost_in_an_epoch_end_the_fit(data):
    """Without skipping, one bad batch is enough; the step is told in which it showed first."""
    n = data.steps_per_epoch
    transform = poisoned(lambda epoch, progress: jnp.isclose(progress * 2 * n, 3))
    learner = Learner(RNN(hidden_size=4), data, batch_transform=transform, optimizer=optax.adam)
    before = variables(learner)
    with pytest.raises(DivergenceError) as caught:
        learner.fit(2, lr=1e-2, schedule=constant(), show_progress=False)
    print(caught.value)
    assert "diverged in epoch 1: parameters are not finite after it; the loss was not for the " in (
        str(caught.value)
    )
    assert "first time in step 4 of 6 (learning rate 0.01)" in str(caught.value)
    for x, y in zip(before, variables(learner), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_gradient_whose_square_is_not_finite_does_not_freeze_a_parameter(data):
    """Inputs of 1e25 give Adam a second moment of infinity, after which a parameter stays."""

    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones((1, 1)))

        def __call__(self, u):
            return u @ self.gain[...]

    n = data.steps_per_epoch
    transform = poisoned(lambda epoch, progress: jnp.isclose(progress * 2 * n, 1), 1e25)
    skipping, plain = (
        Learner(Gain(), data, batch_transform=transform, optimizer=optimizer)
        for optimizer in (skip_nonfinite(optax.adam), optax.adam)
    )
    for learner in (skipping, plain):
        learner.fit(2, lr=1e-2, show_progress=False)
    assert [result.skipped for result in skipping.history] == [1, 0]
    gains = [float(learner.model.gain[0, 0]) for learner in (skipping, plain)]
    again = Learner(Gain(), data, optimizer=optax.adam)
    again.fit(2, lr=1e-2, show_progress=False)
    assert abs(gains[0] - float(again.model.gain[0, 0])) < 0.05
    # The twin without the guard: it has not moved since the second step.
    assert abs(gains[1] - 1.0) < 0.025 < abs(gains[0] - 1.0)


def test_infinities_that_a_model_holds_on_purpose_are_no_divergence(data):
    """A mask of minus infinity is there from the beginning."""

    class Masked(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones((1, 1)))
            self.mask = nnx.Variable(jnp.array([0.0, -jnp.inf]))

        def __call__(self, u):
            return u @ self.gain[...] * jnp.exp(self.mask[...]).sum()

    learner = Learner(Masked(), data)
    assert len(learner.fit(2, lr=1e-2, show_progress=False)) == 2


def test_a_skipped_step_leaves_running_statistics_alone(data):
    """NaN inputs do not get into batch norm, and the random streams of the model go on."""

    class Normed(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(1, rngs=rngs)
            self.dropout = nnx.Dropout(0.2, rngs=rngs)
            self.out = nnx.Linear(1, 1, rngs=rngs)

        def __call__(self, u):
            return self.out(self.dropout(self.norm(u)))

    transform = poisoned(lambda epoch, progress: progress < 0.1)
    learner = Learner(Normed(nnx.Rngs(0)), data, batch_transform=transform)
    (result,) = learner.fit(1, lr=1e-2, show_progress=False)
    assert result.skipped == 1
    assert np.isfinite(learner.model.norm.mean[...]).all()
    (count,) = jax.tree.leaves(nnx.state(learner.model, nnx.RngCount))
    assert int(count) >= data.steps_per_epoch


def test_an_epoch_that_fails_in_its_validation_leaves_nothing(data):
    """A metric that raises in the second epoch: parameters and counters are those of the first."""
    calls = []

    def fragile(pred, target, y_mean, y_std):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0.0

    learner = GRULearner(data, hidden_size=4, metrics=[fragile])
    results = learner.fit_iter(3, lr=1e-2, schedule=constant())
    next(results)
    before = variables(learner), learner.steps, learner.epochs_done
    with pytest.raises(KeyboardInterrupt):
        next(results)
    for x, y in zip(before[0], variables(learner), strict=True):
        np.testing.assert_array_equal(x, y)
    assert before[1:] == (learner.steps, learner.epochs_done)
    whole = GRULearner(data, hidden_size=4)
    list(whole.fit_iter(1, lr=1e-2, schedule=constant()))
    assert [r.train_loss for r in learner.fit_iter(1)] == [r.train_loss for r in whole.fit_iter(1)]


def test_a_snapshot_brings_everything_back(data):
    """After `restore`, a fit has the bits that it would have had; also in the middle of another."""
    transform = add_noise(0.02)
    learner = Learner(GRU(hidden_size=4, weight_dropout=0.2), data, batch_transform=transform)
    learner.fit(1, lr=1e-2, show_progress=False)
    fit, moment = learner.fit_in_progress, learner.snapshot()
    first = learner.fit(2, lr=1e-2, show_progress=False), variables(learner)
    learner.restore(moment)
    assert (learner.fit_in_progress, learner.progress) == (fit, 1.0)
    assert len(learner.history) == 1
    assert learner.fit(2, lr=1e-2, show_progress=False) == first[0]
    for x, y in zip(first[1], variables(learner), strict=True):
        np.testing.assert_array_equal(x, y)
