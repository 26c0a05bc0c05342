"""What a recipe tries on given data."""

from __future__ import annotations

import pytest
from rich.console import Console

from tsjax_core import create_grain_dls
from tsjax_core.data.simulated import write_duffing
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_core.experiments import recipes as module
from tsjax_core.experiments.fit_files import fit_files
from tsjax_core.experiments.recipes import check_recipe, explain_absent, plan_candidates


def read(folder):
    """The options of a data set, and its pipeline."""
    data = {"dataset": str(folder), "u": ["u"], "y": ["y"], "valid": "files"}
    return data, create_grain_dls(**data, win_sz=1)


def test_recipes_follow_the_length_of_the_data(oscillator, tmp_path):
    """On short records nothing is tried that they cannot decide; windows fit into the shortest."""
    data, pipeline = read(oscillator)
    short = plan_candidates(pipeline, data, "auto", 60.0)
    assert short[0].name == "linear"
    assert "gru" not in [candidate.name for candidate in short]
    assert "A GRU is not tried: 1024 samples" in " ".join(explain_absent(pipeline, "auto"))
    data, pipeline = read(write_duffing(tmp_path / "long", n_train=10, n=512))
    auto = plan_candidates(pipeline, data, "auto", 60.0)
    assert (auto[0].name, auto[-1].name) == ("linear", "gru")
    assert not [text for text in explain_absent(pipeline, "auto") if "GRU" in text]
    experiment = auto[-1].experiment
    assert experiment.data["win_sz"] == 512 // 4
    assert 4 * experiment.train.init_samples <= 512
    for candidates, most in (
        (short, 60.0),
        (auto, 60.0),
        (plan_candidates(pipeline, data, "fast", 60.0), 15.0),
    ):
        assert sum(candidate.experiment.polish.seconds for candidate in candidates) <= most


def test_a_short_record_has_several_starts_near_the_linear_model(oscillator):
    """A nonlinear state space is not free on few samples, and the reason is printed."""
    pytest.importorskip("tsjax_ss", reason="the nonlinear state space is in tsjax-ss")
    candidates = plan_candidates(*reversed(read(oscillator)), "accurate", 60.0)
    polish = candidates[1].experiment.polish
    assert (polish.starts, polish.patience, polish.penalty) == (4, 25, {"to_*": 1e-4})
    assert "from four starts and held near it" in candidates[1].reason


def test_without_the_plugin_its_recipe_says_what_to_install(oscillator, monkeypatch):
    """The recipe that needs tsjax-ss is refused, and the others go on without it."""
    monkeypatch.setattr(module, "_is_installed", lambda name: False)
    with pytest.raises(ConfigError, match="pip install tsjax-ss") as caught:
        check_recipe("accurate", 60.0)
    print(caught.value)
    data, pipeline = read(oscillator)
    assert [c.name for c in plan_candidates(pipeline, data, "fast", 60.0)] == ["linear"]
    assert "pip install tsjax-ss" in " ".join(explain_absent(pipeline, "fast"))


def test_a_candidate_that_fails_does_not_end_the_rest(oscillator, tmp_path, monkeypatch):
    """Without any, the error says so."""

    def fail(*_, **__):
        raise TrainingError("it diverged.")

    monkeypatch.setattr(module, "train", fail)
    console = Console(record=True, width=200)
    with pytest.raises(TrainingError, match="no model could be trained") as caught:
        fit_files([oscillator], ["u"], ["y"], tmp_path / "r", console)
    print(caught.value)
    assert "linear could not be trained: it diverged." in console.export_text()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(RunDirectoryError):
        fit_files([oscillator], ["u"], ["y"], tmp_path / "full", console)
