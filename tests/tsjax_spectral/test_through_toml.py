"""Every component by its name, through an experiment file and the command line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tomli_w

from tsjax_core import load_model, predict
from tsjax_core.experiments.run import load_learner
from tsjax_core.training import learner as learner_module


def done(result) -> str:
    status, out, err = result
    assert status == 0, err
    return out


def stopping(train):
    """Return a training of an epoch that Ctrl-C ends in the second one."""

    def stop(self, fit, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    return stop


def history(run):
    with (run / "history.csv").open() as stream:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(stream)]


@pytest.mark.slow
def test_the_front_end_and_both_losses_through_the_command_line(
    two_by_three, tsjax, tmp_path, monkeypatch
):
    """Train, evaluate, predict, resume, save and load, with two inputs and three outputs."""
    tables = {
        "data": {
            "dataset": str(two_by_three),
            "u": ["a", "b"],
            "y": ["p", "q", "r"],
            "win_sz": 40,
            "stp_sz": 20,
            "bs": 8,
        },
        "model": {
            "name": "spectral/front_end",
            "n_fft": 8,
            "hop_length": 2,
            "model": {"name": "core/gru", "hidden_size": 3},
        },
        "transform": [{"name": "spectral/spectrogram", "n_fft": 16}],
        "loss": [
            {"name": "core/normalized_mse"},
            {"name": "spectral/magnitude", "n_fft": 16, "weight": 0.1},
            {"name": "spectral/complex", "n_fft": 16, "weight": 0.1},
        ],
        "train": {"epochs": 2, "metrics": ["core/rmse"]},
        "report": {"plot": ["spectral/spectrogram"]},
    }
    file = tmp_path / "e.toml"
    file.write_text(tomli_w.dumps(tables))
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stopping(learner_module.train_epoch))
        assert tsjax("train", file, "--out", run)[0] == 1
    done(tsjax("resume", run))
    rows = history(run)
    assert len(rows) == 2
    assert {"term_normalized_mse", "term_magnitude", "term_complex"} <= set(rows[0])
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert len(list((run / "report").glob("test_*_spectrogram.png"))) == 3
    assert "rmse" in done(tsjax("evaluate", run))
    done(tsjax("predict", run, two_by_three / "test" / "part_1.hdf5", "--out", tmp_path / "o.csv"))
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 76
    learner = load_learner(run)
    u = learner.pipeline.test[0]["u"]
    np.testing.assert_array_equal(predict(load_model(run / "model"), u), learner.predict(u))
