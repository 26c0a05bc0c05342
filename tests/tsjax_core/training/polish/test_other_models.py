"""A polish of models that core does not know."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tsjax_core
from tsjax_core import Learner, rmse

TEMPLATE = Path(tsjax_core.__file__).parent / "_template" / "src"


@pytest.mark.parametrize("method", ["exact", "conjugate"])
def test_the_model_of_a_new_plugin_is_polished(bent_data, monkeypatch, method):
    """What `tsjax new` writes: a state of complex numbers, and no code for a polish."""
    monkeypatch.setattr(sys, "path", [str(TEMPLATE), *sys.path])
    from tsjax_acme.modes import Modes

    learner = Learner(Modes(n_modes=2, hidden_size=3), bent_data, n_skip=20, metrics=[rmse])
    learner.fit(3, lr=1e-2, show_progress=False)
    results = learner.polish(iterations=10, method=method, show_progress=False)
    assert results[-1].train_loss < 0.7 * results[0].train_loss


def test_a_convolution_is_polished_by_its_cache(bent_data):
    """A TCN has many states and no recurrence; `auto` finds a method for it."""
    tcn = pytest.importorskip("tsjax_tcn", reason="the convolutions are in tsjax-tcn")
    spec = tcn.TCN(hidden_size=4, num_layers=2)
    learner = Learner(spec, bent_data, n_skip=20, metrics=[rmse])
    learner.fit(2, lr=1e-2, show_progress=False)
    results = learner.polish(iterations=6, show_progress=False)
    costs = [result.train_loss for result in results]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]
