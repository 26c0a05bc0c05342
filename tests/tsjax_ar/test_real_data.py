"""Measured initial windows on real data: the cascaded tanks, whose levels at the start are unknown.

`TSJAX_DATA` names the directory with the data sets.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tsjax_ar import ARLearner, FranSysLearner, fransys_losses
from tsjax_core import GRU, GRULearner, create_grain_dls, rmse

FOLDER = Path(os.environ.get("TSJAX_DATA", "")) / "cascaded_tanks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "TSJAX_DATA" not in os.environ or not FOLDER.exists(),
        reason="TSJAX_DATA does not name a directory with cascaded_tanks",
    ),
]

WINDOW, SIZE = 50, 32


@pytest.fixture(scope="module")
def data():
    """Return the cascaded tanks."""
    return create_grain_dls(["u"], ["y"], FOLDER, win_sz=250, stp_sz=4, bs=32, valid="files")


def score(learner):
    """Train, and return the test RMSE in V over the samples after the window."""
    learner.fit_flat_cos(300, lr=5e-3, show_progress=False)
    found = learner.evaluate("test").metrics["rmse"]
    print(learner.spec, learner.seed, found)
    return found


def test_a_measured_window_beats_a_network_that_begins_at_rest(data):
    """Autoregression against the GRU inside alone, both trained in the same way from two seeds."""
    options = {"metrics": [rmse], "n_skip": WINDOW}
    gru, fed_back = [], []
    for seed in (0, 1):
        gru.append(score(GRULearner(data, hidden_size=SIZE, seed=seed, **options)))
        model = {"model": GRU(hidden_size=SIZE), "init_window": WINDOW}
        fed_back.append(score(ARLearner(data, **model, seed=seed, **options)))
    assert np.mean(fed_back) < np.mean(gru)


def test_fransys_beats_a_linear_model(data):
    """With its state synchronisation, against the 0.638 V of an ARX model."""
    gru = GRU(hidden_size=SIZE)
    options = {"diagnosis": gru, "prognosis": gru, "init_window": WINDOW}
    learner = FranSysLearner(data, **options, loss=fransys_losses(), metrics=[rmse])
    assert score(learner) < 0.638
