"""From one CSV file to a model beside a linear one, by one command."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from tsjax_core import load_model, predict
from tsjax_core.errors import TrainingError
from tsjax_core.experiments import fit_files
from tsjax_core.experiments.run import load_learner


@pytest.fixture(scope="module")
def motor(tmp_path_factory):
    """A saturating lag at 100 Hz with a column of time, as a drive gives it."""
    rng = np.random.default_rng(0)
    n = 1200
    u, load = (np.repeat(rng.standard_normal(n // 10), 10) for _ in range(2))
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.9 * y[t - 1] + 0.2 * np.tanh(2.0 * u[t - 1]) - 0.05 * load[t - 1]
    file = tmp_path_factory.mktemp("motor") / "motor.csv"
    columns = np.c_[np.arange(n) * 0.01, u, load, y + 0.002 * rng.standard_normal(n)]
    header = "t,voltage,load,speed"
    np.savetxt(file, columns, delimiter=",", header=header, comments="", fmt="%.9g")
    return file


def test_one_command_gives_models_beside_a_linear_one(motor, tsjax, tmp_path):
    """Every candidate is a run that can be used and edited; the best on validation is named."""
    out = tmp_path / "runs"
    signals = ["--u", "voltage", "--u", "load", "--y", "speed", "--time", "t"]
    recipe = ["--recipe", "fast", "--seconds", "8"]
    status, text, err = tsjax("fit", motor, *signals, "--out", out, *recipe)
    assert status == 0, err
    assert "sampling time 0.01 s (100 Hz)" in text
    assert "split: 70 / 15 / 15 %" in text
    assert "windows" not in text
    assert "linear" in text
    assert "(best on validation)" in text
    names = sorted(path.name for path in out.iterdir())
    assert "linear" in names
    losses = {}
    for name in names:
        learner = load_learner(out / name)
        losses[name] = learner.evaluate("valid").loss
        assert predict(load_model(out / name / "model"), np.zeros((20, 2))).shape == (20, 1)
    best = min(losses, key=losses.get)
    assert f"{best} (best on validation)" in text
    assert f"tsjax evaluate {out / best}" in text
    status, _, err = tsjax("fit", motor, *signals, "--out", out)
    assert (status, "exists and is not empty" in err) == (2, True)
    assert tsjax("evaluate", out / best)[0] == 0


def test_what_is_wrong_is_reported_before_anything_is_written(motor, tsjax, tmp_path):
    """Signals that are not there, recipes, times; the directory does not appear."""
    out = tmp_path / "runs"
    for arguments, status, part in (
        (["--u", "volt", "--y", "speed"], 1, "volt"),
        (["--u", "load", "--y", "speed", "--recipe", "slow"], 2, "recipe = 'slow'"),
        (["--u", "load", "--y", "speed", "--seconds", "0"], 2, "seconds = 0.0"),
    ):
        got, _, err = tsjax("fit", motor, *arguments, "--out", out, "--dt", "0.01")
        assert (got, part in err) == (status, True)
        assert not out.exists()


def test_an_experiment_is_compared_with_a_recipe(oscillator, tsjax, tmp_path):
    """`tsjax train --recipe` takes the data of the experiment, and its model as one of several."""
    file = tmp_path / "own.toml"
    data = f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 100\n"
    file.write_text(data + "[model]\nname = 'core/rnn'\nhidden_size = 2\n[train]\nepochs = 1\n")
    out = tmp_path / "runs"
    recipe = ["--recipe", "fast", "--seconds", "4"]
    status, text, err = tsjax("train", file, "--out", out, *recipe)
    assert status == 0, err
    assert {"linear", "experiment"} <= {path.name for path in out.iterdir()}
    assert "training experiment: as the experiment says" in text
    assert "begun as the linear model" in text or "pip install tsjax-ss" in text
    status, _, err = tsjax("train", file, "--out", out, *recipe)
    assert (status, "exists and is not empty" in err) == (2, True)
    status, _, err = tsjax("train", file, "--seconds", "4")
    assert (status, "--seconds 4 is the time of a recipe" in err) == (2, True)


def test_an_experiment_without_a_model_is_data_for_a_recipe(oscillator, tmp_path, monkeypatch):
    """Its own windows are not those of the recipe."""
    file = tmp_path / "data.toml"
    file.write_text(f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 9\n")
    seen = []

    def note(candidates, *_):
        seen.extend(candidates)
        raise TrainingError("that is enough.")

    monkeypatch.setattr(fit_files, "try_candidates", note)
    with pytest.raises(TrainingError):
        fit_files.train_by_recipe(file, [], tmp_path / "out", Console(quiet=True), recipe="fast")
    assert "experiment" not in [candidate.name for candidate in seen]
    assert all(candidate.experiment.data["win_sz"] == 128 for candidate in seen)
