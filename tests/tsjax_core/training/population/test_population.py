"""Populations: every member against the same learner trained alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    LSTM,
    Learner,
    add_noise,
    average_weights,
    compose_losses,
    create_grain_dls,
    fit_percent,
    fit_population,
    flat_cos,
    mse,
    normalized_mae,
    normalized_mse,
    predict,
    rmse,
    skip_nonfinite,
    truncate_schedule,
    vary_length,
)
from tsjax_core.errors import ConfigError, DivergenceError

SCRIPT = Path(__file__).with_name("train_population.py")


def pipeline(folder, **options):
    return create_grain_dls(
        ["a", "b"], ["p", "q", "r"], folder, win_sz=40, stp_sz=7, bs=8, **options
    )


def both_ways(make, n, n_epochs, lr=None, schedule=None):
    """Return n learners trained together, and others that were trained one by one."""
    together = fit_population(
        [make(k) for k in range(n)], n_epochs, lr, schedule, show_progress=False
    )
    alone = [make(k) for k in range(n)]
    rates = lr if isinstance(lr, list) else [lr] * n
    for learner, rate in zip(alone, rates, strict=True):
        learner.fit(n_epochs, rate, schedule, show_progress=False)
    return together, alone


def assert_same(learner, alone):
    """Compare history, parameters, counters and what a further fit gives, to 1e-5."""
    assert len(learner.history) == len(alone.history)
    for a, b in zip(learner.history, alone.history, strict=True):
        np.testing.assert_allclose(a.step_losses, b.step_losses, rtol=1e-5)
        np.testing.assert_allclose(a.valid_loss, b.valid_loss, rtol=1e-5)
        for told in ("terms", "metrics"):
            got, expected = getattr(a, told), getattr(b, told)
            assert list(got) == list(expected)
            np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-5)
        assert (a.epoch, a.skipped) == (b.epoch, b.skipped)
    for x, y in zip(parameters(learner), parameters(alone), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
    assert (learner.steps, learner.epochs_done) == (alone.steps, alone.epochs_done)
    assert learner.progress == alone.progress


def parameters(learner):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model, nnx.Param))]


WEIGHTS = [0.0, 0.3, 2.0]


@pytest.mark.parametrize("resident", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_members_are_as_if_they_had_been_trained_alone(two_by_three, resident):
    """Seeds, rates, loss weights and metrics of their own, with dropout, noise and an average."""
    data = pipeline(two_by_three, resident=resident)
    noise, optimizer = add_noise(std=0.05), skip_nonfinite(average_weights(optax.adam, 0.5))

    def make(k):
        loss = compose_losses(mae=(normalized_mae, 1.0), mse=(normalized_mse, WEIGHTS[k]))
        model = GRU(hidden_size=5, num_layers=2, hidden_dropout=0.2)
        metrics = [rmse, fit_percent][: 1 + k % 2]
        return Learner(model, data, loss, metrics, optimizer, noise, 3, seed=k)

    population, alone = both_ways(make, 3, 2, [1e-3, 3e-3, 1e-2], flat_cos(0.5))
    for learner, other in zip(population.learners, alone, strict=True):
        assert_same(learner, other)
    losses = [history[-1].train_loss for history in population.histories]
    assert len(set(losses)) == 3
    # A member goes on by itself as it would have without the others.
    member = population.learners[1]
    member.fit(1, 1e-3, show_progress=False)
    alone[1].fit(1, 1e-3, show_progress=False)
    assert_same(member, alone[1])


@pytest.mark.slow
def test_members_may_have_batches_of_their_own(two_by_three):
    """Pipelines that order the windows by other seeds, and a member that was trained before."""
    data = pipeline(two_by_three, resident=True)
    orders = [replace(data, seed=k) for k in range(3)]

    def make(k):
        learner = Learner(LSTM(hidden_size=4), orders[k], seed=0)
        if k == 2:
            learner.fit(1, 1e-3, show_progress=False)
        return learner

    population, alone = both_ways(make, 3, 2, 1e-2)
    for learner, other in zip(population.learners, alone, strict=True):
        assert_same(learner, other)
    assert len({history[-1].train_loss for history in population.histories}) == 3


@pytest.mark.slow
def test_windows_may_become_longer_during_a_fit(two_by_three):
    """A transform that changes shapes gives all members windows of one length, step by step."""
    data = pipeline(two_by_three, n_batches=2)
    longer = truncate_schedule(20)
    population, alone = both_ways(
        lambda k: Learner(GRU(hidden_size=3), data, batch_transform=longer, seed=k), 2, 2, 1e-2
    )
    for learner, other in zip(population.learners, alone, strict=True):
        assert_same(learner, other)


def test_one_that_diverges_leaves_the_others_alone(two_by_three):
    """Its history ends, its parameters are those before, and its error is kept."""
    data = pipeline(two_by_three)
    rates = [1e-3, 1e38, 1e-2]

    def make(k):
        return Learner(GRU(hidden_size=4), data, normalized_mse, optimizer=optax.sgd, seed=k)

    population = fit_population([make(k) for k in range(3)], 2, rates, show_progress=False)
    print(population.failures[1])
    assert list(population.failures) == [1]
    bad = make(1)
    with pytest.raises(DivergenceError) as caught:
        bad.fit(2, rates[1], show_progress=False)
    assert str(population.failures[1]) == str(caught.value)
    assert_same(population.learners[1], bad)
    for k in (0, 2):
        alone = make(k)
        alone.fit(2, rates[k], show_progress=False)
        assert_same(population.learners[k], alone)
    assert population.predict(np.zeros((20, 2))).members.shape == (2, 20, 3)
    assert population.best() in (population.learners[0], population.learners[2])


def test_no_member_left_is_told(two_by_three):
    """The error is that of the last member."""
    data = pipeline(two_by_three)
    learners = [
        Learner(GRU(hidden_size=4), data, mse, optimizer=optax.sgd, seed=k) for k in range(2)
    ]
    with pytest.raises(DivergenceError, match="diverged in epoch 1"):
        fit_population(learners, 2, 1e38, show_progress=False)
    assert all(learner.history == [] for learner in learners)


@pytest.mark.slow
def test_an_epoch_that_is_interrupted_leaves_nothing(two_by_three):
    """Neither the members that had ended it nor those that had not keep a trace of it."""
    data = pipeline(two_by_three)
    calls = []

    def fragile(pred, target, y_mean, y_std):
        calls.append(None)
        # The second of three members, in the second epoch.
        if len(calls) == 5:
            raise KeyboardInterrupt
        return 0.0

    learners = [Learner(GRU(hidden_size=3), data, metrics=[fragile], seed=k) for k in range(3)]
    with pytest.raises(KeyboardInterrupt):
        fit_population(learners, 3, 1e-2, show_progress=False)
    for k, learner in enumerate(learners):
        alone = Learner(GRU(hidden_size=3), data, metrics=[lambda *_: 0.0], seed=k)
        assert [learner.epochs_done, len(learner.history)] == [1, 1]
        next(alone.fit_iter(3, 1e-2))
        for x, y in zip(parameters(learner), parameters(alone), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
        assert learner.steps == alone.steps


def test_prediction_has_mean_and_spread(two_by_three):
    """They are mean and standard deviation of what the members say, in the form of `predict`."""
    data = pipeline(two_by_three)
    population = fit_population(
        [Learner(GRU(hidden_size=3), data, metrics=[rmse], seed=k) for k in range(3)],
        1,
        1e-2,
        show_progress=False,
    )
    u = np.random.default_rng(0).standard_normal((2, 30, 2))
    mean, std, members = population.predict(u)
    expected = np.stack([predict(learner.model, u) for learner in population.learners])
    np.testing.assert_allclose(members, expected, rtol=1e-6)
    np.testing.assert_allclose(mean, expected.sum(axis=0) / 3, rtol=1e-5)
    variance = ((expected - expected.sum(axis=0) / 3) ** 2).sum(axis=0) / 3
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-3, atol=1e-4)
    assert std.shape == (2, 30, 3)
    errors = [history[-1].metrics["rmse"] for history in population.histories]
    assert population.best("rmse") is population.learners[int(np.argmin(errors))]
    with pytest.raises(ConfigError, match="monitor = 'nrmse', and an epoch has"):
        population.best("nrmse")


def test_progress_tells_the_best_of_each_epoch(two_by_three, capsys):
    """One line an epoch, with the lowest validation loss."""
    data = pipeline(two_by_three)
    population = fit_population([Learner(GRU(hidden_size=3), data, seed=k) for k in (0, 1)], 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    best = min(history[0].valid_loss for history in population.histories)
    assert lines[0].startswith("epoch 1/2")
    assert f"valid {best:.4g}" in lines[0]


def test_one_program_serves_all_members(two_by_three):
    """However many members and fits, the step and the simulation are compiled once."""
    data = pipeline(two_by_three)
    learners = [Learner(GRU(hidden_size=3), data, seed=k) for k in range(4)]
    fit_population(learners, 1, 1e-3, show_progress=False)
    fit_population(learners, 1, 1e-2, show_progress=False)
    assert len({id(learner.engine) for learner in learners}) == 1
    assert learners[0].engine._make_of_members._cache_size() == 1
    assert len({id(learner.signals_on_device) for learner in learners}) == 1


def first_and(change):
    """Return a function that makes two learners, the second with something else."""

    def make(data):
        usual = {"model": GRU(hidden_size=3), "pipeline": data}
        return [Learner(**usual), Learner(**{**usual, **change(data)})]

    return make


def other_metric(pred, target, y_mean, y_std):
    return normalized_mae(pred, target, y_mean, y_std)


@pytest.mark.parametrize(
    "make,told",
    [
        (lambda _: [], "fit_population got no learner; give at least one."),
        (
            lambda d: [Learner(GRU(hidden_size=3), d)] * 2,
            "fit_population got 2 learners, and some of them are one and the same",
        ),
        (
            first_and(lambda _: {"model": GRU(hidden_size=4)}),
            "fit_population trains learners of one shape. The model of learner 1 is GRU(",
        ),
        (
            first_and(lambda d: {"pipeline": replace(d, checksums={"train": 1})}),
            "fit_population trains learners of one shape. The training data of learner 1 is",
        ),
        (
            first_and(lambda d: {"pipeline": replace(d, bs=4)}),
            "fit_population trains learners of one shape. The batches of learner 1 is",
        ),
        (
            first_and(lambda _: {"loss": other_metric}),
            "fit_population trains learners of one shape. The loss of learner 1 is other_metric,",
        ),
        (
            first_and(lambda _: {"optimizer": skip_nonfinite(optax.adam)}),
            "fit_population trains learners of one shape. The optimizer of learner 1 is ",
        ),
        (
            first_and(lambda _: {"batch_transform": add_noise(std=0.1)}),
            "fit_population trains learners of one shape. The batch transform of learner 1 is ",
        ),
        (
            first_and(lambda _: {"n_skip": 2}),
            "fit_population trains learners of one shape. The ",
        ),
    ],
)
def test_learners_of_other_shapes_are_told(two_by_three, make, told):
    """The text says which learner differs in what, and how to make them alike."""
    data = pipeline(two_by_three)
    learners = make(data)
    with pytest.raises(ConfigError) as caught:
        fit_population(learners, 1)
    print(caught.value)
    assert str(caught.value).startswith(told)
    assert caught.value.key == "learners"
    assert all(learner.fit_in_progress is None for learner in learners)


def test_wrong_numbers_of_rates_are_told(two_by_three):
    """One rate, or one for each; none of them is tried before all are known to be good."""
    data = pipeline(two_by_three)
    learners = [Learner(GRU(hidden_size=3), data, seed=k) for k in range(3)]
    with pytest.raises(ConfigError, match="got 2 learning rates for 3 learners; give one") as told:
        fit_population(learners, 1, [1e-3, 1e-2])
    print(told.value)
    with pytest.raises(ConfigError, match="lr = -1"):
        fit_population(learners, 1, [1e-3, 1e-2, -1.0])


def test_windows_of_different_lengths_in_one_step_are_told(two_by_three):
    """A transform that draws lengths gives each member others."""
    data = pipeline(two_by_three)
    lengths = vary_length(5)
    learners = [
        Learner(GRU(hidden_size=3), data, batch_transform=lengths, seed=k) for k in range(3)
    ]
    with pytest.raises(ConfigError, match="gave members sequences") as told:
        fit_population(learners, 2, 1e-3, show_progress=False)
    print(told.value)
    assert [learner.steps for learner in learners] == [0, 0, 0]


@pytest.mark.slow
def test_members_on_several_devices(two_by_three):
    """Three members on two devices, and two on four, with the same batches and with their own."""
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, two_by_three],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == {"2 shared", "4 shared", "2 own"}
    for case, (together, alone) in told.items():
        np.testing.assert_allclose(together, alone, rtol=1e-5, err_msg=case)
