"""The model and the losses of the plugin through an experiment file and the command line."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tsjax_core import load_model, predict
from tsjax_core.experiments.run import load_learner
from tsjax_core.training import learner as learner_module

EQUATIONS = Path(__file__).parent / "equations.py"

EXPERIMENT = """
[data]
dataset = "{dataset}"
u = ["force"]
y = ["position"]
win_sz = 23
stp_sz = 11
bs = 3

[model]
name = "pinn/pirnn"
hidden_size = 3
init_window = 6
encoder_size = 3

[model.auxiliary.velocity]
std = 0.8
unit = "m/s"

[model.parameters.damping]
start = 2.0
low = 0.0
high = 5.0
unit = "N s/m"

[[loss]]
name = "core/normalized_mse"

[[loss]]
name = "pinn/physics_loss"
weight = 0.1
residual = "{equations}:oscillator"
ramp_end = 0.5
constants.mass = {{ value = 1.0, unit = "kg" }}
constants.stiffness = {{ value = 4.0, unit = "N/m" }}
scales = {{ force = 2.0 }}

[[loss]]
name = "pinn/collocation_loss"
weight = 0.01
residual = "{equations}:oscillator"
kinds = ["multisine", "chirp"]
constants.mass = {{ value = 1.0, unit = "kg" }}
constants.stiffness = {{ value = 4.0, unit = "N/m" }}

[[loss]]
name = "pinn/consistency"

[train]
epochs = 2
metrics = ["core/rmse"]
"""


def done(result) -> str:
    status, out, err = result
    assert status == 0, err
    return out


def history(run) -> list[dict[str, str]]:
    with (run / "history.csv").open(encoding="utf-8") as stream:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(stream)
        ]


@pytest.fixture
def experiment(oscillator, tmp_path):
    """Return the experiment in a file."""
    file = tmp_path / "e.toml"
    text = EXPERIMENT.format(dataset=oscillator, equations=EQUATIONS)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.slow
def test_an_experiment_trains_evaluates_predicts_and_resumes(
    experiment, tmp_path, tsjax, monkeypatch
):
    """Terms and the damping with its unit in the history, and a resumed run to the same bits."""
    run, part = tmp_path / "run", tmp_path / "part"
    change = ("--set", "model.hidden_size=4")
    done(tsjax("train", experiment, "--out", run, *change))
    written = tomllib.loads((run / "experiment.toml").read_text())
    assert written["train"]["n_skip"] == 6
    rows = history(run)
    terms = {"normalized_mse", "physics_loss", "collocation_loss", "consistency"}
    assert {f"term_{name}" for name in terms} <= set(rows[0])
    assert float(rows[0]["damping [N s/m]"]) != float(rows[1]["damping [N s/m]"])
    assert "rmse" in done(tsjax("evaluate", run))

    lines = ["force,position", *(f"{np.sin(t)},{0.1 * t if t < 6 else ''}" for t in range(17))]
    new = tmp_path / "new.csv"
    new.write_text("\n".join(lines) + "\n")
    assert "17 samples" in done(tsjax("predict", run, new, "--out", tmp_path / "out.csv"))
    simulated = np.genfromtxt(tmp_path / "out.csv", delimiter=",", skip_header=1)
    u, y = np.sin(np.arange(17.0))[:, None], np.full((17, 1), np.nan)
    y[:6, 0] = 0.1 * np.arange(6)
    model, learner = load_model(run / "model"), load_learner(run)
    np.testing.assert_array_equal(predict(model, u, y), predict(learner.model, u, y))
    np.testing.assert_allclose(
        predict(model, u, y)[6:, 0], simulated.reshape(17, -1)[6:, -1], rtol=1e-3, atol=1e-4
    )
    assert model.quantities()["damping"][1] == "N s/m"

    train = learner_module.train_epoch

    def stop(self, fit, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stop)
        status, _, _ = tsjax("train", experiment, "--out", part, *change)
    assert status == 1
    done(tsjax("resume", part))
    assert history(part) == history(run)


@pytest.mark.parametrize(
    "change,part",
    [
        ("loss.1.residual=nowhere.py:law", "nowhere.py cannot be imported"),
        ("loss.1.difference=backward", "difference"),
        ("loss.1.constants.mass.value=nan", "Constant got value = nan"),
        ("model.parameters.damping.unit=Ns/m", "'Ns' is no unit that is known"),
        ("model.parameters.damping.start=nan", "start = nan"),
        ("train.n_skip=3", "reads the measured output of the first 6 samples"),
    ],
)
def test_a_mistake_in_an_experiment_is_named(change, part, experiment, tmp_path, tsjax):
    """With status and text, and without a traceback."""
    status, _, err = tsjax("train", experiment, "--out", tmp_path / "run", "--set", change)
    assert status == 2
    assert part in err
    assert "Traceback" not in err


def test_show_lists_the_options(tsjax):
    """Of the model and of both losses."""
    shown = done(tsjax("show", "pinn/pirnn"))
    assert all(word in shown for word in ("p_state_encoder", "auxiliary", "parameters"))
    assert "ramp_begin" in done(tsjax("show", "pinn/physics_loss"))
    assert "hidden_std" in done(tsjax("show", "pinn/collocation_loss"))
