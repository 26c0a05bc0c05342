"""Experiment files: what they may say, and the error for everything else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from rich.console import Console

from tsjax_core import normalized_mae
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.experiment import load_experiment, parse_experiment
from tsjax_core.experiments.run import load_learner, train

TABLES = {
    "data": {"dataset": "data", "u": ["u"], "y": ["y"], "win_sz": 40, "stp_sz": 20, "bs": 8},
    "model": {"name": "core/gru", "hidden_size": 3},
    "train": {"epochs": 1},
}


@pytest.fixture
def folder(oscillator, tmp_path) -> Path:
    (tmp_path / "data").symlink_to(oscillator)
    return tmp_path


def write(folder: Path, tables: dict) -> Path:
    file = folder / "experiment.toml"
    file.write_text(tomli_w.dumps(tables))
    return file


def changed(section: str, **values) -> dict:
    return {**TABLES, section: {**TABLES.get(section, {}), **values}}


def test_an_experiment_builds_its_learner(folder):
    """Data relative to the file, the model by name, defaults for the rest."""
    file = write(folder, changed("train", n_skip=5, seed=3, metrics=["core/vaf"]))
    learner = load_experiment(file).build()
    assert learner.spec.hidden_size == 3
    assert learner.pipeline.win_sz == 40
    assert learner.pipeline.seed == learner.seed == 3
    assert learner.n_skip == 5
    assert [metric.__name__ for metric in learner.metrics] == ["vaf"]
    assert [term.loss.component for term in learner.terms] == [normalized_mae]


def test_losses_are_composed_with_their_weights_and_names(folder):
    """Each [[loss]] is a named term of the history."""
    tables = {**TABLES, "loss": [{"name": "core/mse", "weight": 2}, {"name": "core/mae"}]}
    learner = load_experiment(write(folder, tables)).build()
    assert [(t.name, t.weight) for t in learner.terms] == [("mse", 2.0), ("mae", 1.0)]


def test_overrides_change_single_values(folder):
    """Values are read as TOML, and as text where they are not."""
    experiment = load_experiment(
        write(folder, TABLES),
        ["train.lr=1e-2", "model.name=core/lstm", "data.u=['u']", 'train.keep="last"'],
    )
    assert experiment.train.lr == 0.01
    assert experiment.train.keep == "last"
    assert experiment.model["name"] == "core/lstm"
    assert tuple(experiment.data["u"]) == ("u",)


def test_environment_variables_and_home_are_expanded(folder, monkeypatch):
    """`$NAME` and `~` in the data set; absolute paths stay."""
    monkeypatch.setenv("MEASUREMENTS", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    for text in ("$MEASUREMENTS/data", "~/data", str(folder / "data")):
        experiment = load_experiment(write(folder, changed("data", dataset=text)))
        assert Path(experiment.data["dataset"]) == folder / "data"


def test_files_may_be_listed_and_paths_may_hold_any_letter(folder, oscillator, tmp_path):
    """A list of files for each split, relative to the experiment, in a directory with `$`."""
    (folder / "cost$").symlink_to(oscillator)
    files = {
        split: [f"cost$$/{split}/{p.name}" for p in sorted((oscillator / split).iterdir())]
        for split in ("train", "valid", "test")
    }
    experiment = load_experiment(write(folder, changed("data", dataset=files)))
    out = tmp_path / "run"
    train(experiment, out, Console(quiet=True))
    assert load_learner(out).pipeline.file_names("test") == ("arrow.hdf5", "multisine.hdf5")


def test_tables_say_the_experiment_again(folder):
    """What `to_tables` gives is an experiment file of the same content."""
    experiment = load_experiment(write(folder, {**TABLES, "loss": [{"name": "core/mae"}]}))
    again = parse_experiment(tomllib.loads(tomli_w.dumps(experiment.to_tables())))
    assert again.train == experiment.train
    assert again.model == experiment.model
    assert list(again.loss) == list(experiment.loss)
    assert dict(again.data) == dict(experiment.data)


@pytest.mark.parametrize(
    "tables,key,parts",
    [
        (changed("train", epoch=3), "train.epoch", ["[train]", "Did you mean 'epochs'?"]),
        (changed("train", epochs="ten"), "train.epochs", ["a whole number", "'ten'"]),
        (changed("train", epochs=-1), "train.epochs", ["epochs = -1"]),
        (changed("train", lr=-0.1), "train.lr", ["lr = -0.1", "positive"]),
        (changed("train", schedule="cos"), "train.schedule", ["'constant' | 'flat_cos'"]),
        (changed("train", metrics=["core/rmsee"]), "train.metrics", ["Did you mean 'core/rmse'?"]),
        (changed("train", lr=1e39), "train.lr", ["lr = 1e+39", "32 bits"]),
        (changed("train", seed=1 << 63), "train.seed", ["0 to below 2^63"]),
        (
            changed("train", n_skip=-1),
            "train.n_skip",
            ["n_skip = -1; give a whole number of samples"],
        ),
        (changed("train", clip_norm=-1.0), "train.clip_norm", ["[train] clip_norm = -1.0"]),
        (changed("train", skip_norm=0.0), "train.skip_norm", ["[train] skip_norm = 0.0"]),
        (changed("train", average=2.0), "train.average", ["[train] average = 2.0", "0.999"]),
        (changed("train", patience=0), "train.patience", ["patience = 0", "at least 1"]),
        (changed("train", checkpoints=0), "train.checkpoints", ["checkpoints = 0", "at least 1"]),
        (changed("train", min_delta=-1.0), "train.min_delta", ["min_delta = -1.0", "at least 0"]),
        (changed("train", monitor="fit"), "train.monitor", ["an epoch has fit_percent, norm"]),
        (changed("train", monitor="fit_percent"), "train.mode", ["give mode = 'max'"]),
        (changed("train", n_skip=40), "train.n_skip", ["[train] n_skip = 40", "win_sz = 40"]),
        (changed("train", metrics=["core/vaf"] * 2), "train.metrics", ["two metrics", "'vaf'"]),
        (changed("train", metrics="core/rmse"), "train.metrics", ["expected a list"]),
        (changed("data", window=3), "data.window", ["[data]", "unknown option 'window'", "win_sz"]),
        (changed("data", u="u"), "data.u", ["expected a list", "'u'"]),
        (changed("data", win_sz=0), "data.win_sz", ["[data]", "win_sz"]),
        (changed("data", dataset="$NOT_SET_ANYWHERE/x"), "data.dataset", ["NOT_SET_ANYWHERE"]),
        (changed("model", name="core/gruu"), "model.name", ["[model] name", "core/gru"]),
        (changed("model", name="gru"), "model.name", ["core/gru"]),
        (changed("model", name="nowhere/x"), "model.name", ["[model] name", "nowhere"]),
        (changed("model", name=3), "model", ["name of a component", "3"]),
        (changed("model", hidden_sizes=3), "model.hidden_sizes", ["Did you mean 'hidden_size'?"]),
        (changed("model", hidden_size=2.5), "model.hidden_size", ["a whole number", "2.5"]),
        (changed("model", hidden_size=0), "model.hidden_size", ["[model]", "hidden_size = 0"]),
        ({**TABLES, "loss": [{"name": "core/mse", "weight": "x"}]}, "loss", ["weight", "'x'"]),
        ({**TABLES, "loss": [{"name": "core/mse", "delta": 1}]}, "loss", ["no options", "'delta'"]),
        ({**TABLES, "loss": [{"name": "core/mse"}] * 2}, "loss", ["core/mse stands twice"]),
        ({**TABLES, "loss": [{"weight": 1.0}]}, "loss", ["name of a component"]),
        ({**TABLES, "loss": {"name": "core/mse"}}, "loss", ["write [[loss]]"]),
        (
            {**TABLES, "transform": [{"name": "core/nois"}]},
            "transform.name",
            ["no transform 'nois'"],
        ),
        ({**TABLES, "trian": {}}, "trian", ["unknown table [trian]", "data, model, loss"]),
        ({"data": TABLES["data"]}, "model", ["[model] is missing"]),
        ({**TABLES, "data": {"u": ["u"], "y": ["y"]}}, "data.dataset", ["'dataset' is missing"]),
    ],
)
def test_what_is_wrong_is_told_with_file_table_and_key(folder, tables, key, parts):
    """Nothing is trained, and the error says where and what to write instead."""
    file = write(folder, tables)
    with pytest.raises(ConfigError) as caught:
        load_experiment(file).build()
    print(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.key == key
    assert caught.value.file == file


def test_a_file_that_is_no_experiment_is_told(tmp_path):
    """A missing file, and one that is not TOML with the line."""
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path / "none.toml")
    print(caught.value)
    assert "none.toml: cannot be read" in str(caught.value)
    broken = tmp_path / "broken.toml"
    broken.write_text("[data]\nu = \n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(broken)
    print(caught.value)
    assert "not valid TOML" in str(caught.value)
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    "override,parts",
    [
        ("lr=3", ["SECTION.KEY=VALUE"]),
        ("train.lr", ["SECTION.KEY=VALUE"]),
        ("loss.name=x", ["loss is a list of tables", "loss.0.weight=2"]),
    ],
)
def test_overrides_that_do_not_fit_are_told(folder, override, parts):
    """The error shows how to write one."""
    file = write(folder, {**TABLES, "loss": [{"name": "core/mse"}]})
    with pytest.raises(ConfigError) as caught:
        load_experiment(file, [override])
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)
