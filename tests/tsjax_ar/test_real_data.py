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
def scores():
    """Return the test RMSE in V of each model, over the samples after the window."""
    data = create_grain_dls(["u"], ["y"], FOLDER, win_sz=250, stp_sz=4, bs=32, valid="files")
    gru = GRU(hidden_size=SIZE)
    options = {"metrics": [rmse], "n_skip": WINDOW}
    window = {"init_window": WINDOW, **options}
    learners = {
        "gru": GRULearner(data, hidden_size=SIZE, **options),
        "ar": ARLearner(data, model=gru, **window),
        "fransys": FranSysLearner(
            data, diagnosis=gru, prognosis=gru, loss=fransys_losses(), **window
        ),
    }
    for learner in learners.values():
        learner.fit_flat_cos(300, lr=5e-3, show_progress=False)
    found = {name: learner.evaluate("test").metrics["rmse"] for name, learner in learners.items()}
    print(found)
    return found


def test_a_measured_window_beats_a_network_that_begins_at_rest(scores):
    """Both against a GRU of the same size and training, which all beat a linear ARX model."""
    assert min(scores["ar"], scores["fransys"]) < scores["gru"]
    assert np.all(np.array(list(scores.values())) < 0.638)
