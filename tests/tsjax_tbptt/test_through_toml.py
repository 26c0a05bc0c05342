"""TBPTT by name, in an experiment file and from the command line."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
import tomli_w
from flax import nnx

from tsjax_core import Carry, load_model
from tsjax_core.experiments.run import load_learner


@pytest.fixture
def write_experiment(unequal_files, tmp_path):
    """Return a function that writes an experiment with some of its tables changed."""

    def write(**tables) -> Path:
        base = {
            "data": {
                "dataset": str(unequal_files),
                "u": ["u_a", "u_b"],
                "y": ["y_a", "y_b"],
                "win_sz": 15,
                "bs": 2,
                "further": {"moves": ["moves"]},
                "source": {"name": "tbptt/chunks", "seq_len": 60, "epoch_batches": 3},
            },
            "model": {
                "name": "tbptt/rnn",
                "look_back": 15,
                "model": {"name": "core/lstm", "hidden_size": 3},
            },
            "train": {"epochs": 4, "n_skip": 5, "metrics": ["core/rmse"]},
        }
        for key, value in tables.items():
            base[key] = {**base[key], **value}
        file = tmp_path / "e.toml"
        file.write_text(tomli_w.dumps(base), encoding="utf-8")
        return file

    return write


def done(result) -> str:
    status, out, err = result
    assert status == 0, err
    return out


def numbers(run):
    with (run / "history.csv").open(encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def test_it_trains_resumes_evaluates_predicts_and_is_loaded(
    write_experiment, unequal_files, tsjax, tmp_path, monkeypatch
):
    """An interrupted run goes on in the middle of its sequences, to the same numbers."""
    from tsjax_core.training import learner as learner_module

    file = write_experiment()
    whole, part = tmp_path / "whole", tmp_path / "part"
    done(tsjax("train", file, "--out", whole))
    train = learner_module.train_epoch

    def stop(self, fit, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stop)
        status, out, _ = tsjax("train", file, "--out", part)
    assert status == 1
    assert f"tsjax resume {part}" in out
    done(tsjax("resume", part))
    assert numbers(part) == numbers(whole)
    assert len(numbers(whole)) == 4
    written = tomllib.loads((whole / "experiment.toml").read_text())
    assert written["model"]["model"] == {**written["model"]["model"], "name": "core/lstm"}
    assert written["data"]["source"]["epoch_batches"] == 3
    assert "rmse" in done(tsjax("evaluate", whole))
    out = tmp_path / "out.csv"
    assert "63 samples" in done(
        tsjax("predict", whole, unequal_files / "test" / "0.hdf5", "--out", out)
    )
    model = load_model(whole / "model")
    assert not jax.tree.leaves(nnx.state(model, Carry))
    learner = load_learner(whole)
    u = learner.pipeline.test[0]["u"]
    table = np.loadtxt(out, delimiter=",", skiprows=1)
    predicted = learner.predict(u)
    assert any(
        np.allclose(table[:, k : k + 2], predicted, rtol=1e-4, atol=1e-5)
        for k in range(table.shape[1] - 1)
    )


def test_the_command_line_shows_both_and_reaches_inside(write_experiment, tsjax, tmp_path):
    """Options with what they mean, and `--set` within the inner model and the source."""
    assert "look_back" in done(tsjax("show", "tbptt/rnn"))
    text = done(tsjax("show", "tbptt/chunks"))
    assert "seq_len" in text
    assert "epoch_batches" in text
    run = tmp_path / "run"
    done(
        tsjax(
            "train",
            write_experiment(train={"epochs": 1}),
            "--out",
            run,
            "--set",
            "model.model.hidden_size=2",
            "--set",
            "model.look_back=0",
            "--set",
            "data.source.seq_len=30",
        )
    )
    written = tomllib.loads((run / "experiment.toml").read_text())
    assert written["model"]["model"]["hidden_size"] == 2
    assert written["data"]["source"]["seq_len"] == 30


@pytest.mark.parametrize(
    "tables,text",
    [
        ({"data": {"source": {"name": "tbptt/chunk"}}}, "Did you mean 'tbptt/chunks'?"),
        (
            {"data": {"source": {"name": "tbptt/chunks", "seq_len": 0}}},
            "seq_len = 0; give a whole number of samples, at least 1",
        ),
        ({"data": {"source": {"name": "tbptt/chunks", "bs": 4}}}, "given to the source by [data]"),
        ({"model": {"look_back": -2}}, "look_back = -2"),
        ({"model": {"model": "core/grue"}}, "Did you mean 'core/gru'?"),
    ],
)
def test_mistakes_in_the_file_are_told(write_experiment, tsjax, tmp_path, tables, text):
    """With the file and what to do."""
    status, _, err = tsjax("train", write_experiment(**tables), "--out", tmp_path / "run")
    assert status == 2
    assert text in err
    assert "e.toml" in err
