"""Studies on a real Ray: what each trial gives, and how trials stop, fail, and go on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ray import tune

from tsjax_core import GRULearner, rmse
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_tune import HPOptimizer

LR = 1e-2

# Ray leaves the files of its loggers to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning"
)


def new_optimizer(pipeline, flag: Path | None = None) -> HPOptimizer:
    """Return an optimizer of GRUs; with `flag`, the first trial is interrupted after two epochs."""

    # A function in a function is sent to the workers by value.
    def create_learner(data, config):
        learner = GRULearner(data, hidden_size=config["hidden_size"], metrics=[rmse])
        if flag is not None and not flag.exists():
            whole = learner.fit_iter

            def interrupted(*arguments, **options):
                for result in whole(*arguments, **options):
                    if result.epoch == 2:
                        flag.touch()
                        raise OSError("the machine is gone")
                    yield result

            learner.fit_iter = interrupted
        return learner

    return HPOptimizer(create_learner, pipeline)


def losses(history) -> list[float]:
    return [row["valid_loss"] for row in history]


@pytest.fixture(scope="module")
def alone(pipeline):
    """Return the epochs of a training in this process."""
    return GRULearner(pipeline, hidden_size=2, metrics=[rmse]).fit(4, LR, show_progress=False)


@pytest.mark.slow
def test_a_grid_gives_a_row_per_trial_and_a_failed_one_its_error(
    ray, pipeline, tmp_path, monkeypatch, capfd
):
    """Results are in the directory given alone, and the best trial loads as it was."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config = {"hidden_size": tune.grid_search([2, 0, 3]), "lr": LR, "note": [1, 2]}
    optimizer = new_optimizer(pipeline)
    study = optimizer.optimize(config, 2, "rmse", directory="grid")
    assert [trial.status for trial in study.trials] == ["finished", "failed", "finished"]
    assert study.trials[1].error.startswith("ConfigError: ")
    assert "hidden_size = 0" in study.trials[1].error
    assert study.best.value == min(row["rmse"] for t in study.trials for row in t.history)
    assert study.best.config["note"] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["grid"]

    learner = optimizer.load_learner(study.best)
    assert learner.evaluate("valid").metrics["rmse"] == pytest.approx(study.best.value, rel=1e-5)
    with pytest.raises(TrainingError, match="has no checkpoint") as caught:
        optimizer.load_learner(study.trials[1])
    with study.write_csv(tmp_path / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    assert float(rows[0]["rmse"]) == study.best.value

    # Nothing but the line of each trial.
    out, err = capfd.readouterr()
    print(caught.value, err)
    assert not out
    assert [line.split()[:4:2] for line in err.splitlines()] == [["trial", "of"]] * 3

    with pytest.raises(RunDirectoryError, match="is not empty") as caught:
        optimizer.optimize(config, directory="grid")
    print(caught.value)


@pytest.mark.slow
def test_a_trial_gives_the_numbers_of_a_training_alone_and_goes_on_after_a_failure(
    ray, pipeline, alone, tmp_path
):
    """It goes on from its checkpoint: within the study, or when the study is restored."""
    config = {"hidden_size": 2, "lr": LR}
    expected = [result.valid_loss for result in alone]
    kept = {"max_failures": 1, "show_progress": False}
    again = new_optimizer(pipeline, tmp_path / "flag").optimize(
        config, 4, directory=tmp_path / "again", **kept
    )
    assert (tmp_path / "flag").exists()
    np.testing.assert_allclose(losses(again.best.history), expected, rtol=1e-5)
    assert [row["epoch"] for row in again.best.history] == [1, 2, 3, 4]

    optimizer = new_optimizer(pipeline, tmp_path / "other")
    failed = optimizer.optimize(config, 4, directory=tmp_path / "study", show_progress=False)
    assert [t.error for t in failed.trials] == ["OSError: the machine is gone"]
    assert len(failed.trials[0].history) == 2
    restored = optimizer.restore(tmp_path / "study", retry_failed=True)
    assert [trial.status for trial in restored.trials] == ["finished"]
    assert losses(restored.best.history) == losses(again.best.history)


@pytest.mark.slow
def test_random_values_are_drawn_by_the_seed(ray, pipeline, tmp_path):
    """And a metric that no epoch has fails every trial, with a text that names those it has."""
    config = {"hidden_size": 2, "lr": tune.loguniform(1e-4, 1e-1)}
    studies = [
        new_optimizer(pipeline).optimize(
            config, 1, "fit", num_samples=2, seed=3, directory=tmp_path / name
        )
        for name in "ab"
    ]
    drawn = [[trial.config["lr"] for trial in study.trials] for study in studies]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]
    with pytest.raises(TrainingError, match="give one of epoch, train_loss, valid_loss") as caught:
        _ = studies[0].best
    print(caught.value)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"n_epochs": 0}, "n_epochs = 0"),
        ({"mode": "least"}, "give one of 'min', 'max'"),
        ({"num_samples": 0}, "num_samples = 0; give 1 or more"),
        ({"num_samples": -1}, "or -1 with a time_budget_s"),
        ({"search_alg": "grid"}, "search_alg = 'grid'; give one of 'random', 'optuna'"),
        ({"time_budget": 3}, "give arguments of ray.tune.TuneConfig"),
    ],
)
def test_what_is_refused(ray, pipeline, tmp_path, options, text):
    """Before anything is written."""
    arguments = {"n_epochs": 1, "directory": tmp_path / "study", **options}
    with pytest.raises(ConfigError) as caught:
        new_optimizer(pipeline).optimize({"hidden_size": 2}, **arguments)
    print(caught.value)
    assert text in str(caught.value)
    assert not (tmp_path / "study").exists()


def test_optuna_is_wanted_only_where_it_is_asked_for(ray, pipeline, tmp_path):
    """Without it, the text says how to install it."""
    arguments = {"search_alg": "optuna", "directory": tmp_path / "study", "num_samples": 2}
    config = {"hidden_size": 2, "lr": tune.loguniform(1e-3, 1e-1)}
    try:
        import optuna  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install optuna") as caught:
            new_optimizer(pipeline).optimize(config, 1, **arguments)
        print(caught.value)
    else:
        study = new_optimizer(pipeline).optimize(config, 1, seed=0, **arguments)
        assert len(study.ranking) == 2


def test_there_must_be_a_study_to_go_on_with(ray, pipeline, tmp_path):
    """An empty directory has none."""
    with pytest.raises(RunDirectoryError, match="holds no study to go on with") as caught:
        new_optimizer(pipeline).restore(tmp_path)
    print(caught.value)
