"""Studies on a real Ray: what each trial gives, and how trials stop, fail, and go on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray import tune

from tsjax_core import GRULearner, rmse
from tsjax_core.errors import ConfigError, RunDirectoryError, TrainingError
from tsjax_tune import HPOptimizer
from tsjax_tune.repair import repair_search

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
    assert [line.split()[1:4] for line in err.splitlines()] == [
        [f"{n}", "of", "3,"] for n in (1, 2, 3)
    ]

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
def test_packed_trials_give_the_numbers_of_trials_alone(ray, pipeline, tmp_path):
    """Of the same draws: with their own rates, lengths and patience, and what one raises."""
    config = {
        "hidden_size": tune.grid_search([2, 0]),
        "lr": tune.loguniform(1e-3, 1.0),
        "n_epochs": tune.grid_search([3, 4]),
        "patience": 2,
    }
    alone, packed = (
        new_optimizer(pipeline).optimize(
            config, 4, directory=tmp_path / name, num_samples=2, seed=3, pack=pack
        )
        for name, pack in (("alone", 1), ("packed", 8))
    )
    by_config = {repr(trial.config): trial for trial in alone.trials}
    assert len(by_config) == len(packed.trials) == 8
    assert [trial.name for trial in packed.trials] == [f"trial_{n:03d}" for n in range(1, 9)]
    packs = [path.name for path in (tmp_path / "packed" / "trials").glob("pack_*")]
    assert len(packs) == 2
    for trial in packed.trials:
        same = by_config[repr(trial.config)]
        assert (
            trial.status == same.status == ("finished" if trial.config["hidden_size"] else "failed")
        )
        assert trial.error == same.error
        np.testing.assert_allclose(losses(trial.history), losses(same.history), rtol=1e-4)
        assert trial.epoch == same.epoch
    assert len({len(trial.history) for trial in packed.ranking}) > 1
    learner = new_optimizer(pipeline).load_learner(packed.best)
    assert learner.evaluate("valid").loss == pytest.approx(packed.best.value, rel=1e-5)


@pytest.mark.slow
def test_a_pack_that_failed_goes_on(ray, pipeline, alone, tmp_path):
    """Each of its trials from its checkpoint, to the numbers of a training alone."""
    flag = tmp_path / "flag"

    def create_learner(data, config):
        learner = GRULearner(data, hidden_size=2, metrics=[rmse])
        whole = learner.whole_epoch

        def interrupted(fit):
            if fit.done == 2 and not flag.exists():
                flag.touch()
                raise OSError("the machine is gone")
            return whole(fit)

        learner.whole_epoch = interrupted
        return learner

    study = HPOptimizer(create_learner, pipeline).optimize(
        [{"lr": LR}, {"lr": 0.5 * LR}, {"lr": LR}, {"lr": LR}],
        4,
        pack=4,
        max_failures=1,
        directory=tmp_path / "study",
    )
    assert flag.exists()
    assert [trial.status for trial in study.trials] == ["finished"] * 4
    expected = [result.valid_loss for result in alone]
    for place in (0, 2, 3):
        np.testing.assert_allclose(losses(study.trials[place].history), expected, rtol=1e-4)


@pytest.mark.slow
def test_asha_stops_the_trials_that_are_behind(ray, pipeline, alone, tmp_path):
    """The others go on to their last epoch, with the numbers of a training alone."""
    rates = [LR, 1e-2 * LR, 3.0 * LR, 1e-3 * LR]
    study = new_optimizer(pipeline).optimize(
        [{"hidden_size": 2, "lr": rate} for rate in rates],
        9,
        scheduler="asha",
        directory=tmp_path / "asha",
        # In their order, so that those behind come after those that they are compared with.
        max_concurrent_trials=1,
    )
    lengths = [len(trial.history) for trial in study.trials]
    assert [trial.status for trial in study.trials] == [
        "finished",
        "stopped",
        "finished",
        "stopped",
    ]
    assert lengths == [9, 1, 9, 1]
    learner = GRULearner(pipeline, hidden_size=2, metrics=[rmse])
    expected = [result.valid_loss for result in learner.fit_iter(9, 3.0 * LR)]
    np.testing.assert_allclose(losses(study.trials[2].history), expected, rtol=1e-5)
    assert study.best is study.ranking[0]
    assert study.best.value == pytest.approx(min(expected), rel=1e-5)
    assert study.trials[1].checkpoint is not None


@pytest.mark.slow
def test_a_population_goes_on_from_the_checkpoints_of_its_best(ray, pipeline, tmp_path):
    """A bad trial takes over weights and history of a good one, with another learning rate."""
    config = {"hidden_size": 2, "lr": tune.grid_search([1e-6, 0.1, 2e-6, 0.09])}
    optimizer = new_optimizer(pipeline)
    study = optimizer.optimize(
        config,
        6,
        scheduler="pbt",
        seed=0,
        mutations={"lr": tune.loguniform(1e-2, 1e-1)},
        directory=tmp_path / "pbt",
    )
    assert [trial.status for trial in study.trials] == ["finished"] * 4
    for trial in study.trials:
        assert [row["epoch"] for row in trial.history] == [1, 2, 3, 4, 5, 6]
    bad = [trial for trial in study.trials if trial.name.endswith(("0", "2"))]
    good = [trial for trial in study.trials if trial not in bad]
    first = {trial.history[0]["valid_loss"] for trial in good}
    taken = [trial for trial in bad if trial.history[0]["valid_loss"] in first]
    assert taken, "at least the worst of four takes over"
    assert all(trial.config["lr"] > 1e-3 for trial in taken)
    assert all(trial.config["lr"] not in (0.1, 0.09) for trial in taken)
    learner = optimizer.load_learner(taken[0])
    assert learner.evaluate("valid").loss == pytest.approx(taken[0].value, rel=1e-5)


@pytest.mark.slow
def test_a_time_budget_ends_a_study(ray, pipeline, tmp_path):
    """Trials keep the epochs that they have, and those that had not begun have none."""
    study = new_optimizer(pipeline).optimize(
        {"hidden_size": 2, "lr": LR},
        100_000,
        num_samples=4,
        time_budget_s=12,
        directory=tmp_path / "budget",
    )
    assert all(trial.status == "stopped" for trial in study.trials)
    assert all(len(trial.history) < 100_000 for trial in study.trials)
    # A busy machine may not have come to an epoch.
    for trial in study.ranking[:1]:
        learner = new_optimizer(pipeline).load_learner(trial)
        assert learner.evaluate("valid").loss == pytest.approx(trial.value, rel=1e-5)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"n_epochs": 0}, "n_epochs = 0"),
        ({"mode": "least"}, "give one of 'min', 'max'"),
        ({"num_samples": 0}, "num_samples = 0; give 1 or more"),
        ({"num_samples": -1}, "or -1 with a time_budget_s"),
        ({"search_alg": "grid"}, "search_alg = 'grid'; give one of 'random', 'optuna'"),
        ({"time_budget": 3}, "give arguments of ray.tune.TuneConfig"),
        ({"scheduler": "asho"}, "scheduler = 'asho'; give one of 'none', 'asha', 'pbt'"),
        ({"scheduler": "pbt"}, "has no range for it. Give lr a range or a choice"),
        ({"scheduler": "asha", "pack": 2}, "leave out the scheduler"),
        ({"search_alg": "optuna", "pack": 2}, "any search but 'random'"),
        ({"pack": 0}, "pack = 0; give a whole number of trials, at least 1"),
        ({"pack": 2, "num_samples": -1, "time_budget_s": 3}, "draws all trials before it trains"),
        (
            {"scheduler": "pbt", "mutations": {"lr": [1e-3, 1e-2]}, "max_concurrent_trials": 1},
            "leave out max_concurrent_trials",
        ),
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


@pytest.mark.slow
def test_optuna_is_wanted_only_where_it_is_asked_for(ray, pipeline, tmp_path):
    """Without it, the text says how to install it."""
    arguments = {"search_alg": "optuna", "directory": tmp_path / "study", "num_samples": 3}
    config = {"hidden_size": 2, "lr": tune.loguniform(1e-3, 1e-1)}
    try:
        import optuna  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install optuna") as caught:
            new_optimizer(pipeline).optimize(config, 1, **arguments)
        print(caught.value)
    else:
        study = new_optimizer(pipeline).optimize(config, 1, seed=0, **arguments)
        assert len(study.ranking) == 3
        assert len({trial.config["lr"] for trial in study.trials}) == 3


def test_there_must_be_a_study_to_go_on_with(ray, pipeline, tmp_path):
    """An empty directory has none."""
    with pytest.raises(RunDirectoryError, match="holds no study to go on with") as caught:
        new_optimizer(pipeline).restore(tmp_path)
    print(caught.value)


@pytest.mark.slow
def test_the_data_are_sent_once_however_many_trials_there_are(ray, pipeline, tmp_path):
    """The pipeline is in Ray's object store; each worker reads it from there."""
    file = str(tmp_path / "transfers")

    # Within the function, so that workers get both by value.
    def arrive(what):
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(f"{what}\n")
        return Marker()

    class Marker:
        """Writes a line each time it is pickled, and each time it is read again."""

        def __reduce__(self):
            arrive("sent")
            return arrive, ("received",)

    marked = replace(pipeline)
    object.__setattr__(marked, "marker", Marker())
    config = {"hidden_size": 2, "lr": tune.grid_search([1e-3, 2e-3, 3e-3])}
    study = new_optimizer(marked).optimize(config, 1, directory=tmp_path / "study")
    assert [trial.status for trial in study.trials] == ["finished"] * 3
    seen = Path(file).read_text(encoding="utf-8").splitlines()
    assert seen.count("sent") == 1
    assert seen.count("received") >= 1


@pytest.mark.slow
@pytest.mark.parametrize("search_alg", ["optuna", None])
def test_a_search_that_counts_trials_which_were_lost_begins_them_anew(
    ray, pipeline, tmp_path, search_alg
):
    """As after a kill between the files of Ray: each trial is there in the end, and none twice."""
    optimizer = new_optimizer(pipeline)
    config = {"hidden_size": 2, "lr": tune.loguniform(1e-3, 1e-2)}
    given = config if search_alg else [{"hidden_size": 2, "lr": lr} for lr in (1e-3, 1e-2)]
    options = {"num_samples": 2, "search_alg": search_alg} if search_alg else {}
    study = tmp_path / "study"
    optimizer.optimize(given, 1, directory=study, show_progress=False, **options)
    folder = study / "trials"
    (stored,) = folder.glob("experiment_state-*.json")
    content = json.loads(stored.read_text())
    first = [x for x in content["trial_data"] if json.loads(x[0])["experiment_tag"][:2] == "1_"]
    assert len(first) == 1
    content["trial_data"] = first
    stored.write_text(json.dumps(content))
    again = optimizer.restore(study, show_progress=False)
    assert len(again.trials) == 2
    assert len({trial.config["lr"] for trial in again.trials}) == 2
    assert all(trial.status == "finished" for trial in again.trials)
    assert repair_search(folder) == 0
    assert repair_search(tmp_path) == 0
