"""From one CSV file to a model beside a linear one, by one command."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import create_grain_dls, load_model, predict
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_core.experiments import fit_files as module
from tsjax_core.experiments.fit_files import plan_candidates
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


def test_recipes_follow_the_data(oscillator):
    """Short records are held near the linear model; windows fit into the shortest record."""
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "valid": "files"}
    pipeline = create_grain_dls(**data, win_sz=1)
    auto = plan_candidates(pipeline, data, "auto", 60.0)
    names = [candidate.name for candidate in auto]
    assert (names[0], names[-1]) == ("linear", "gru")
    tables = auto[-1].tables
    assert tables["data"]["win_sz"] == 512 // 4
    assert 4 * tables["train"]["init_samples"] <= 512
    spent = sum(candidate.tables["polish"]["seconds"] for candidate in auto)
    assert spent <= 60.0
    fast = plan_candidates(pipeline, data, "fast", 60.0)
    assert "gru" not in [candidate.name for candidate in fast]
    assert sum(candidate.tables["polish"]["seconds"] for candidate in fast) <= 15.0


def test_without_the_plugin_its_recipe_says_what_to_install(oscillator, monkeypatch):
    """The recipe that needs tsjax-ss is refused, and the others go on without it."""
    monkeypatch.setattr(module, "_is_installed", lambda name: False)
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "valid": "files"}
    pipeline = create_grain_dls(**data, win_sz=1)
    with pytest.raises(ConfigError, match="pip install tsjax-ss") as caught:
        plan_candidates(pipeline, data, "accurate", 60.0)
    print(caught.value)
    assert [c.name for c in plan_candidates(pipeline, data, "fast", 60.0)] == ["linear"]
    assert "pip install tsjax-ss" in " ".join(module._judge({}, "gru"))


def test_a_candidate_that_fails_does_not_end_the_rest(motor, tmp_path, monkeypatch):
    """Without any, the error says so."""
    from rich.console import Console

    def fail(*_, **__):
        raise TrainingError("it diverged.")

    monkeypatch.setattr(module, "train", fail)
    console = Console(record=True, width=200)
    with pytest.raises(TrainingError, match="no model could be trained") as caught:
        module.fit_files(
            [motor], ["voltage"], ["speed"], tmp_path / "r", console, data={"dt": 0.01}
        )
    print(caught.value)
    assert "linear could not be trained: it diverged." in console.export_text()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(RunDirectoryError):
        module.fit_files([motor], ["voltage"], ["speed"], tmp_path / "full", console)
