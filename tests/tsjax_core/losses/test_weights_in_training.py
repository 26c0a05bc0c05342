"""Weighted losses in a learner, behind its `n_skip`, and in validation."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import (
    GRU,
    Learner,
    compose_losses,
    create_grain_dls,
    hardest,
    mae,
    mse,
    random_length,
    time_weighted,
    weighted_loss,
)


@pytest.fixture(scope="module")
def data(oscillator):
    return create_grain_dls(["u"], ["y"], oscillator, win_sz=40, stp_sz=40, valid="windows")


def test_weights_stay_in_place_behind_n_skip(data):
    """The validation loss of a term that declares the batch equals NumPy."""
    loss = weighted_loss(mse, lambda batch: abs(batch["u"][..., 0]))
    learner = Learner(GRU(hidden_size=2), data, loss, n_skip=7)
    (result,) = learner.fit_iter(1)
    pairs = learner.evaluate("valid").pairs
    assert len(pairs) == 1
    pred, target = (x.astype(np.float64) for x in pairs[0])
    u = np.stack([data.valid[i]["u"] for i in range(len(data.valid))])
    expected = np.average((pred - target)[..., 0] ** 2, weights=abs(u[:, 7:, 0]))
    assert result.valid_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_what_is_drawn_is_drawn_anew_in_training_and_alike_in_validation(data):
    """Without another term random lengths are validated; beside one they are left out."""
    learner = Learner(GRU(hidden_size=2), data, random_length(mse))
    list(learner.fit_iter(1))
    assert learner.evaluate("valid").loss == learner.evaluate("valid").loss
    assert learner.history[0].valid_loss == pytest.approx(learner.evaluate("valid").loss)
    loss = compose_losses(
        drawn=(random_length(mse), 1.0),
        late=(time_weighted(mae, 0.1, 1.0), 2.0),
        hard=(hardest(mse), 1.0),
    )
    learner = Learner(GRU(hidden_size=2), data, loss)
    (result,) = learner.fit_iter(1)
    assert list(result.terms) == ["drawn", "late", "hard"]
    ((pred, target),) = learner.evaluate("valid").pairs
    error = pred.astype(np.float64) - target
    late = np.average(np.abs(error).mean((0, 2)), weights=np.geomspace(0.1, 1.0, 40))
    squares = np.sort((error**2).mean((1, 2)))[::-1]
    kept = int(np.argmax(np.cumsum(squares) >= 0.9 * squares.sum())) + 1
    expected = 2.0 * late + squares[:kept].mean()
    assert result.valid_loss == pytest.approx(expected, rel=1e-5)
