"""The linear model beside which every run is judged."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tsjax_core import create_grain_dls, load_model, make_learner, nrmse, rmse
from tsjax_core.experiments.run import evaluate_reference
from tsjax_core.judging.reference import (
    compare_errors,
    describe_reference,
    fit_reference,
    read_reference,
)


def simulate(n, seed, *, nonlinear=0.0):
    """Two inputs, two outputs, one of which saturates by `nonlinear`."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.standard_normal((n // 5 + 1, 2)), 5, axis=0)[:n]
    x, y = np.zeros(2), np.zeros((n, 2))
    for t in range(n):
        y[t] = x[0] - nonlinear * x[0] ** 3, x[1] + 0.3 * x[0]
        x = np.array([0.8 * x[0] + 0.2 * x[1] + u[t, 0], 0.6 * x[1] + 0.5 * u[t, 1]])
    y += 5.0
    return {"a": u[:, 0], "b": u[:, 1], "p": y[:, 0], "q": y[:, 1]}


@pytest.fixture(scope="module")
def data():
    splits = {name: [simulate(900, seed)] for seed, name in enumerate(("train", "valid", "test"))}
    return create_grain_dls(["a", "b"], ["p", "q"], splits, win_sz=50, stp_sz=50)


def test_a_linear_system_is_found_exactly(data, tmp_path):
    """In the units of the signals, from rest and from measured outputs; and read back."""
    found = fit_reference(data)
    assert found.name == f"linear (ARX, order {found.order})"
    sample = data.records("test")[0]
    # Rest is at the mean of the inputs, where the system does not begin.
    np.testing.assert_allclose(found.simulate(sample["u"])[100:], sample["y"][100:], atol=2e-3)
    later = found.simulate(sample["u"][300:], sample["y"][300:330])
    np.testing.assert_allclose(later, sample["y"][300:], atol=2e-3)
    found.write(tmp_path / "linear.json")
    again = read_reference(tmp_path / "linear.json")
    np.testing.assert_array_equal(again.simulate(sample["u"]), found.simulate(sample["u"]))
    assert read_reference(tmp_path / "none.json") is None


def test_it_is_scored_as_the_model_is(data):
    """On the same samples, by the same metrics, from the same initial state."""
    learner = make_learner(
        data, "core/gru", hidden_size=2, metrics=[rmse], initial_state="window", init_samples=20
    )
    evaluation = learner.evaluate("test")
    named = evaluate_reference(learner, evaluation, fit_reference(data))
    assert named.evaluation.pairs[0][0].shape == evaluation.pairs[0][0].shape
    assert named.evaluation.metrics["rmse"] < 5e-3
    assert set(named.evaluation.channels["rmse"]) == {"p", "q"}
    own, linear = compare_errors(evaluation, named.evaluation)
    pred, target = evaluation.pairs[0]
    parts = [float(nrmse(pred[..., [i]], target[..., [i]])) for i in range(2)]
    assert own == pytest.approx(np.mean(parts), rel=1e-5)
    assert linear < 0.01
    text = describe_reference(evaluation, named.evaluation, named.name)
    print(text)
    assert "Use the linear one, train longer, or try another model." in text
    assert describe_reference(named.evaluation, evaluation, named.name) == ""


def test_what_has_no_linear_model_has_none(oscillator):
    """Scalar targets, and records too short for any order."""
    assert fit_reference(create_grain_dls(["u"], ["y"], oscillator, win_sz=20)) is not None
    rng = np.random.default_rng(0)
    short = {
        name: [{"a": rng.standard_normal(2), "p": rng.standard_normal(2)}]
        for name in ("train", "valid", "test")
    }
    assert fit_reference(create_grain_dls(["a"], ["p"], short, win_sz=1)) is None


def test_a_run_shows_it_everywhere(oscillator, tsjax, tmp_path):
    """In table, CSV and the directory; a later evaluation has it too; and it can be left out."""
    file = tmp_path / "e.toml"
    text = f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 100\n"
    file.write_text(text + "[model]\nname = 'core/rnn'\nhidden_size = 2\n[train]\nepochs = 1\n")
    status, out, err = tsjax("train", file, "--out", tmp_path / "run")
    assert status == 0, err
    assert "linear (ARX, order" in out
    assert "note: the linear (ARX, order" in out
    scores = (tmp_path / "run/report/scores.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(scores.splitlines()))
    assert {row["model"].partition(" ")[0] for row in rows} == {"model", "linear"}
    status, out, _ = tsjax("evaluate", tmp_path / "run", "--split", "valid")
    assert (status, "linear (ARX, order" in out) == (0, True)
    test = min((oscillator / "test").iterdir())
    status, out, _ = tsjax("evaluate", tmp_path / "run", "--data", test)
    assert (status, "linear (ARX, order" in out) == (0, True)
    without = ["--set", "report.linear=false", "--out", tmp_path / "without"]
    status, _, _ = tsjax("train", file, *without)
    assert status == 0
    assert not (tmp_path / "without/linear.json").exists()
    assert load_model(tmp_path / "without/model") is not None
