"""Study files: what they say, and which mistakes are found before any trial starts."""

from __future__ import annotations

import tomllib

import pytest

from tsjax_core.errors import ConfigError
from tsjax_tune.study_file import load_study

STUDY = """
[data]
dataset = "data"
u = ["u"]
y = ["y"]

[model]
name = "core/gru"

[[loss]]
name = "core/mse"

[train]
epochs = 7

[search]
{search}

[search.space]
{space}
"""
LR = '"train.lr" = { loguniform = [1e-4, 1e-2] }'


@pytest.fixture
def write(tmp_path):
    def write(search="", space=LR, text=STUDY):
        file = tmp_path / "study.toml"
        file.write_text(text.replace("{search}", search).replace("{space}", space))
        return file

    return write


def test_the_experiment_of_a_draw(write, tmp_path, monkeypatch):
    """It trains as the search says, and names its data from anywhere."""
    monkeypatch.setenv("FOLDER", "data")
    space = f'{LR}\n"loss.0.weight" = {{ uniform = [0.0, 2.0] }}'
    file = write('epochs = 3\nmetric = "core/rmse"\nmode = "min"', space)
    file.write_text(file.read_text().replace('"data"', '"$FOLDER"'))
    study = load_study(file, trials=5)
    assert (study.metric, study.mode, study.search.trials) == ("rmse", "min", 5)
    monkeypatch.delenv("FOLDER")
    experiment = study.experiment({"train.lr": 2e-3, "loss.0.weight": 0.25})
    assert (experiment.train.lr, experiment.train.epochs) == (2e-3, 3)
    assert experiment.train.monitor == "core/rmse"
    assert experiment.loss[0] == {"name": "core/mse", "weight": 0.25}
    assert experiment.data["dataset"] == str(tmp_path / "data")


def test_a_study_that_is_written_reads_the_same(write, tmp_path):
    """In another directory too."""
    study = load_study(write("trials = 4\nseed = 3\ntime_budget = 60"))
    again = tmp_path / "elsewhere" / "study.toml"
    again.parent.mkdir()
    again.write_text(study.to_toml())
    read = load_study(again)
    assert (read.search, read.space) == (study.search, study.space)
    values = {"train.lr": 1e-3}
    assert read.experiment(values).to_tables() == study.experiment(values).to_tables()


def test_the_model_may_be_drawn_whole(write):
    """The file then needs no [model]."""
    text = STUDY.replace('[model]\nname = "core/gru"\n', "")
    space = (
        '[[search.space.model]]\nname = "core/gru"\nhidden_size = { choice = [4, 8] }\n'
        '[[search.space.model]]\nname = "core/lstm"\nnum_layers = { randint = [2, 4] }'
    )
    study = load_study(write('algorithm = "random"', space, text))
    assert study.experiment({"model": 1, "model[1].num_layers": 3}).model == {
        "name": "core/lstm",
        "num_layers": 3,
    }
    with pytest.raises(ConfigError, match=r"the table \[model\] is missing"):
        load_study(write("", LR, text))


@pytest.mark.parametrize(
    "search, space, said",
    [
        ("trails = 3", LR, "[search] unknown option 'trails'. Did you mean 'trials'?"),
        (
            'metric = "core/fit"\nmode = "most"',
            LR,
            "[search] mode: expected 'min' | 'max' | none, got 'most'",
        ),
        ("trials = 0", LR, "[search] trials = 0; give a whole number of trials, at least 1"),
        ('trials = "3"', LR, "[search] trials: expected int | none, got '3'"),
        ("time_budget = 0", LR, "[search] time_budget = 0.0; give a finite number above 0"),
        ('scheduler = "asho"', LR, "[search] scheduler: expected one of 'none' | 'asha' | 'pbt'"),
        ("cpus_per_trial = 0", LR, "cpus_per_trial = 0.0; give a finite number above 0"),
        ("max_failures = -1", LR, "max_failures = -1; give a whole number of failures"),
        ('algorithm = "grid"', LR, "[search] algorithm = 'grid' tries all values, and train.lr"),
        ('algorithm = "grid"\ntrials = 3', LR, "trials = 3, and algorithm = 'grid'"),
        ('scheduler = "asha"\npack = 4', LR, "pack = 4 trains trials together"),
        ('scheduler = "pbt"\nmax_concurrent = 2', LR, "leave max_concurrent out"),
        (
            'scheduler = "pbt"',
            '"model.hidden_size" = { choice = [2, 4] }',
            "changes the learning rate while trials run; add",
        ),
        (
            "",
            '"model.hiden_size" = { choice = [4] }',
            (
                "[search.space] model.hiden_size = 4: [model] unknown option 'hiden_size'. "
                "Did you mean 'hidden_size'?"
            ),
        ),
        (
            "",
            '"model.hidden_size" = { randint = [-2, 4] }',
            "[search.space] model.hidden_size = -2: hidden_size = -2; give a whole number",
        ),
        (
            "",
            '"model.hidden_size" = { uniform = [2.0, 4.0] }',
            "[search.space] model.hidden_size = 2.0: [model] hidden_size: expected a whole number",
        ),
        ("", '"model.name" = { choice = ["core/gruu"] }', "Did you mean 'core/gru'?"),
        ("", '"train.lr" = { uniform = [-1.0, 1.0] }', "[search.space] train.lr = -1.0: "),
        (
            "",
            '"loss.1.weight" = { uniform = [0.0, 1.0] }',
            "name one of them by its number, 0 to 0",
        ),
        ("", '"loss.0.weight" = { choice = ["a"] }', "[loss] weight: expected a number, got 'a'"),
        ("", '"trian.lr" = { choice = [1e-3] }', "unknown table [trian]"),
        ("", '"data.win_sz" = { choice = ["long"] }', "[data] win_sz: expected a whole number"),
        ("", '"train.mode" = { choice = ["min"] }', "give metric and mode in [search]"),
        (
            "",
            (
                '[[search.space.model]]\nname = "core/gru"\n[[search.space.model]]\n'
                'name = "core/gru"\nchannels = { choice = [2] }'
            ),
            "unknown option 'channels'",
        ),
    ],
)
def test_mistakes_are_found_before_any_trial_starts(write, search, space, said):
    """The text names file, table and key, and needs no data to exist."""
    file = write(search, space)
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    print(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{file}: [search")
    assert caught.value.file == file


def test_a_file_without_a_search_is_no_study(write):
    """Nor is one that is not there or not TOML."""
    file = write()
    for text, said in (
        (STUDY.partition("[search]")[0], "the table [search] is missing"),
        (
            STUDY.partition("[search.space]")[0].replace("{search}", ""),
            "[search.space] it is missing",
        ),
        ("a = = 1", "is not valid TOML"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_study(file)
        print(caught.value)
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_study(file.with_name("other.toml"))
    print(caught.value)
    assert tomllib.loads(write().read_text())
