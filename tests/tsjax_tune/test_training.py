"""A training within a trial, against the fit of the same learner."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tsjax_core import EarlyStopping, GRULearner, mse, rmse
from tsjax_core.errors import ConfigError
from tsjax_core.training.schedules import constant
from tsjax_tune.training import TrialTraining, best_checkpoint
from tsjax_tune.trial import TrialPlan, fit_options

RATE = 1.0
"""So high that the last epoch is not the best one."""


NAMES = {"epoch", "train_loss", "valid_loss", "seconds", "rmse"}


def new_learner(pipeline):
    return GRULearner(pipeline, hidden_size=2, metrics=[rmse], loss=mse)


def new_training(pipeline, config=None, **changes):
    options = {"metric": "valid_loss", "mode": "min", "current": False, **changes}
    plan = TrialPlan(
        None, fit_options, 4, options["metric"], options["mode"], every_epoch=True,
        current=options["current"], compiled=None,
    )  # fmt: skip
    return TrialTraining(
        "trial", {"lr": RATE, "schedule": "constant", **(config or {})}, new_learner(pipeline), plan
    )


@pytest.fixture(scope="module")
def expected(pipeline):
    return [result.valid_loss for result in new_learner(pipeline).fit_iter(4, RATE, constant())]


def test_an_interrupted_training_ends_as_one_that_was_not(pipeline, expected, tmp_path):
    """To the bit, wherever it was interrupted; and the checkpoint has its best epoch."""
    first = new_training(pipeline)
    for _ in first.begin(None):
        first.save(tmp_path / "a")
        if len(first.learner.history) == 3:
            break
    again = new_training(pipeline)
    assert len(list(again.begin(tmp_path / "a"))) == 1
    assert again.restarted, "its epochs take the place of those before"
    rows = again.take_rows()
    assert [row["valid_loss"] for row in rows] == expected
    assert all(set(row) == NAMES for row in rows)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    again.save(tmp_path / "b")
    best = int(np.argmin(expected))
    assert best < 3, "the rate is to make the last epoch worse"
    checkpoint, epoch = best_checkpoint(tmp_path / "b")
    assert epoch == best + 1
    learner = new_learner(pipeline)
    learner.resume(checkpoint)
    assert learner.evaluate("valid").loss == expected[best]
    # Saving the best epoch leaves the training where it was.
    assert again.learner.evaluate("valid").loss == expected[-1]


def test_saving_between_epochs_changes_no_number(pipeline, expected, tmp_path):
    """Though the learner goes back to its best epoch and comes again."""
    training = new_training(pipeline)
    for _ in training.begin(None):
        training.save(tmp_path)
    assert [row["valid_loss"] for row in training.take_rows()] == expected
    assert training.cost == training.objective == min(expected)


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_is_that_of_early_stopping(pipeline, patience, tmp_path):
    """With the same epochs, also where it was interrupted."""
    stopping = EarlyStopping(patience, 0.01)
    learner = new_learner(pipeline)
    kept = [r.valid_loss for r in stopping.follow(learner.fit_iter(4, RATE, constant()), learner)]
    options = {"patience": patience, "min_delta": 0.01}
    training = new_training(pipeline, options)
    for _ in training.begin(None):
        training.save(tmp_path)
        if len(training.learner.history) == 2:
            break
    again = new_training(pipeline, options)
    list(again.begin(tmp_path))
    assert [row["valid_loss"] for row in again.take_rows()] == kept
    assert again.stopped == stopping.stopped


def test_what_is_compared(pipeline, expected):
    """A metric, whose best is its largest where that is better, or its last value."""
    training = new_training(pipeline, metric="rmse", mode="max")
    list(training.begin(None))
    values = [row["rmse"] for row in training.take_rows()]
    assert training.objective == max(values)
    training = new_training(pipeline, current=True)
    list(training.begin(None))
    assert training.objective == expected[-1]
    training.value = math.nan
    assert training.objective == math.inf
    with pytest.raises(ConfigError, match="give one of epoch, train_loss, valid_loss") as caught:
        list(new_training(pipeline, metric="fit").begin(None))
    print(caught.value)
    with pytest.raises(ConfigError, match="patience = 0") as caught:
        new_training(pipeline, {"patience": 0})
    print(caught.value)
