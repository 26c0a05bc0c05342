"""`tsjax tune` in this process: what a user sees, and what is in the directory."""

from __future__ import annotations

import csv
import sys
import tomllib
from importlib.util import find_spec

import pytest

from tsjax_core import load_model
from tsjax_core.experiments.experiment import load_experiment

# Ray leaves the files of its loggers to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning"
)

SPACE = """
"train.lr" = { choice = [1e-3, 3e-2] }

[[search.space.model]]
name = "core/gru"
hidden_size = { choice = [2] }

[[search.space.model]]
name = "tcn/tcn"
num_layers = 2
hidden_size = 2
kernel_size = { choice = [2, 3] }
"""


@pytest.mark.slow
def test_a_study_ends_with_the_best_experiment_its_model_and_the_trials(
    ray, tsjax, write_study, tmp_path, monkeypatch
):
    """On the way it prints a line for each trial; and the best experiment trains to its value."""
    monkeypatch.chdir(tmp_path)
    status, out, err = tsjax("tune", write_study('algorithm = "grid"\npack = 4', SPACE))
    assert status == 0
    lines = [line for line in err.splitlines() if line.startswith("trial_")]
    assert len(lines) == len(err.splitlines()) == 6
    assert all("of 6, finished  valid_loss" in line for line in lines)
    assert "best: trial_" in out
    assert "tsjax train studies/study/best.toml" in out

    study = tmp_path / "studies" / "study"
    with (study / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert {row["model.kernel_size"] for row in rows if row["model.name"] == "core/gru"} == {""}
    values = [float(row["valid_loss"]) for row in rows]
    assert values == sorted(values)
    assert {path.name for path in (study / "plots").iterdir()} == {"parallel.png", "parameters.png"}
    assert load_model(study / "best" / "model") is not None

    best = load_experiment(study / "best.toml")
    assert best.model["name"] == rows[0]["model.name"]
    assert best.train.lr == float(rows[0]["train.lr"])
    learner = best.build()
    losses = [result.valid_loss for result in learner.fit_iter(best.train.epochs, best.train.lr)]
    assert min(losses) == pytest.approx(values[0], rel=1e-4)

    status, out, _ = tsjax("evaluate", study / "best")
    assert status == 0
    status, _, err = tsjax("tune", write_study("", SPACE), "--out", study)
    assert status == 2
    assert f"or go on with it: tsjax tune --resume {study}" in err

    # A study that is finished has nothing left to train, and writes its results anew.
    before = (study / "epochs.jsonl").read_bytes()
    (study / "best.toml").unlink()
    status, out, err = tsjax("tune", "--resume", study)
    assert status == 0
    assert (study / "epochs.jsonl").read_bytes() == before
    assert tomllib.loads((study / "best.toml").read_text())["model"]["name"] == best.model["name"]
    assert not err


@pytest.mark.slow
def test_without_matplotlib_there_are_no_plots(ray, tsjax, write_study, tmp_path, monkeypatch):
    """A sentence says how to get them; and a trial that fails is a row with its error."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    # Windows of 400 samples do not fit all files.
    space = '"data.win_sz" = { choice = [100, 4000] }'
    file = write_study('algorithm = "grid"\nepochs = 1\nmax_failures = 0', space)
    status, out, err = tsjax("tune", file, "--out", tmp_path / "study")
    assert status == 0
    assert 'no figures: install matplotlib with pip install "tsjax-core[viz]"' in out
    assert "trial_002: WindowError: " in out
    assert "trial_002, " in err
    assert "failed  no value" in err
    assert not (tmp_path / "study" / "plots").exists()


@pytest.mark.slow
def test_a_population_and_optuna_search_from_a_file(ray, tsjax, write_study, tmp_path):
    """Both with draws within a choice; the population changes the learning rate alone."""
    space = SPACE.replace("{ choice = [1e-3, 3e-2] }", "{ loguniform = [1e-3, 3e-2] }")
    file = write_study('scheduler = "pbt"\ntrials = 3\nepochs = 4', space)
    status, _, _ = tsjax("tune", file, "--out", tmp_path / "pbt")
    assert status == 0
    assert (tmp_path / "pbt" / "trials.csv").read_text().count(",finished,") == 3
    file = write_study('algorithm = "optuna"\ntrials = 2\nmax_concurrent = 2', space)
    status, _, err = tsjax("tune", file, "--out", tmp_path / "optuna")
    if find_spec("optuna") is None:
        assert status == 2
        assert "[search] algorithm = 'optuna' needs Optuna, which is not installed" in err
        assert not (tmp_path / "optuna").exists()
    else:
        assert status == 0
        assert (tmp_path / "optuna" / "trials.csv").read_text().count(",finished,") == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "give a study, such as tsjax tune study.toml"),
        (["{file}", "--resume", "x"], "give a study, such as tsjax tune study.toml"),
        (["--resume", "{folder}"], "holds no study to go on with: study.json is missing"),
        (["--resume", "x", "--trials", "3"], "leave out --out and --trials"),
        (["{file}", "--out", "{folder}"], "is not empty; nothing was written. Choose another"),
        (["{file}", "--trials", "0"], "[search] trials = 0; give a whole number of trials"),
        (["{folder}/no.toml"], "no.toml: cannot be read"),
    ],
)
def test_what_is_refused(tsjax, write_study, tmp_path, arguments, said):
    """With exit status 2, before Ray is started."""
    file = write_study("", '"train.lr" = { choice = [1e-3] }')
    places = {"file": file, "folder": tmp_path}
    status, _, err = tsjax("tune", *(argument.format(**places) for argument in arguments))
    assert status == 2
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_a_metric_that_no_epoch_has_is_refused(tsjax, write_study, tmp_path):
    """By the learner that is built before any trial."""
    file = write_study('metric = "core/nrmse"', '"train.lr" = { choice = [1e-3] }')
    status, _, err = tsjax("tune", file, "--out", tmp_path / "study")
    assert status == 2
    assert "monitor = 'nrmse', and an epoch has normalized_mae, rmse, train_loss, valid_loss" in err
    assert not (tmp_path / "study").exists()


def test_the_command_is_in_the_help(tsjax):
    """With what it does."""
    status, out, _ = tsjax("--help")
    assert status == 0
    assert "Search for the best hyperparameters of an experiment." in out
    status, out, _ = tsjax("tune", "--help")
    assert status == 0
    assert "--resume" in out
