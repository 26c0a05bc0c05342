"""The models and losses of the plugin through an experiment file and the command line."""

from __future__ import annotations

import csv
import tomllib

import numpy as np
import pytest
from flax import nnx

from tsjax_ar import AR, ARLearner, FranSys, FranSysLearner, fransys_losses
from tsjax_core import RNN, create_grain_dls, load_model, predict, rmse
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.components import make_loss
from tsjax_core.experiments.run import load_learner
from tsjax_core.training import learner as learner_module

DATA = """
[data]
dataset = "{dataset}"
u = ["u"]
y = ["x", "y"]
win_sz = 23
stp_sz = 11
bs = 3
"""

AUTOREGRESSION = (
    DATA
    + """
[model]
name = "ar/ar"
init_window = 6
training = "scheduled"

[model.model]
name = "core/rnn"
hidden_size = 3

[[loss]]
name = "core/masked"
loss = "core/normalized_mae"
channel_mask = [false, true]

[[loss]]
name = "ar/transition_smoothness"
weight = 1e-3
window = 2

[train]
epochs = 2
metrics = ["core/rmse"]
"""
)

FRANSYS = (
    DATA
    + """
[model]
name = "ar/fransys"
diagnosis = "core/rnn"
init_window = 6
shortest_window = 3
encoder_size = 3

[model.prognosis]
name = "core/lstm"
hidden_size = 2

[[loss]]
name = "core/normalized_mae"

[[loss]]
name = "ar/state_sync"
sync_type = "mape"
weight = 10.0

[[loss]]
name = "ar/one_step_loss"
skip = 2

[[loss]]
name = "ar/consistency"

[train]
epochs = 2
metrics = ["core/rmse"]
initial_state = "encoder"
init_samples = 6
"""
)


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


def write(text, lag_files, folder):
    file = folder / "e.toml"
    file.write_text(text.format(dataset=lag_files), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text,terms",
    [
        pytest.param(
            AUTOREGRESSION,
            {"normalized_mae", "transition_smoothness"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            FRANSYS,
            {"normalized_mae", "state_sync", "one_step_loss", "consistency"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ar", "fransys"],
)
def test_an_experiment_trains_evaluates_predicts_and_resumes(
    text, terms, lag_files, tmp_path, tsjax, monkeypatch
):
    """Options within options by --set, terms in the history, and a resumed run to the same bits."""
    file, run, part = write(text, lag_files, tmp_path), tmp_path / "run", tmp_path / "part"
    inner = "model" if "ar/ar" in text else "prognosis"
    change = ("--set", f"model.{inner}.hidden_size=4")
    out = done(tsjax("train", file, "--out", run, *change))
    written = tomllib.loads((run / "experiment.toml").read_text())
    assert written["model"][inner]["hidden_size"] == 4
    assert written["train"]["n_skip"] == 6
    assert {f"term_{name}" for name in terms} <= set(history(run)[0])
    assert "rmse" in done(tsjax("evaluate", run))

    rows = [
        "u,x,y",
        *(f"{np.sin(t)},{0.1 * t if t < 6 else ''},{-t if t < 6 else ''}" for t in range(17)),
    ]
    data = tmp_path / "new.csv"
    data.write_text("\n".join(rows) + "\n")
    assert "17 samples" in done(tsjax("predict", run, data, "--out", tmp_path / "out.csv"))
    simulated = np.genfromtxt(tmp_path / "out.csv", delimiter=",", skip_header=1)[:, -2:]
    assert np.isfinite(simulated[6:]).all()

    u, y = np.sin(np.arange(17.0))[:, None], np.full((17, 2), np.nan)
    y[:6] = np.arange(6)[:, None] * [0.1, -1.0]
    model, learner = load_model(run / "model"), load_learner(run)
    np.testing.assert_array_equal(predict(model, u, y), predict(learner.model, u, y))
    np.testing.assert_allclose(predict(model, u, y)[6:], simulated[6:], rtol=1e-3, atol=1e-4)

    if "ar/ar" in text:
        ahead = tmp_path / "ahead.csv"
        done(tsjax("predict", run, data, "--out", ahead, "--horizon", 2))
        got = np.genfromtxt(ahead, delimiter=",", names=True)
        expected = np.asarray(model.predict_ahead(u[None], y[None], steps=2))[0]
        # Only the measured outputs two samples before count, so that later ones are not compared.
        np.testing.assert_allclose(got["y_predicted"][:6], expected[:6, 1], rtol=1e-3, atol=1e-4)

    train = learner_module.train_epoch

    def stop(self, fit, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stop)
        status, _, _ = tsjax("train", file, "--out", part, *change)
    assert status == 1
    done(tsjax("resume", part))
    assert history(part) == history(run)
    assert "encoder, 6 samples" in out or inner == "model"


@pytest.mark.parametrize(
    "table",
    [
        {"name": "ar/diagnosis_loss", "error": "mse"},
        {"name": "ar/one_step_sync", "skip": 3},
        {"name": "ar/temporal_activation"},
    ],
    ids=lambda table: table["name"],
)
def test_every_other_loss_is_made_from_its_table(table):
    """With the options beside its name."""
    loss = make_loss(table, where="loss", file=None)
    assert f"ar/{loss.__name__}" == table["name"]


def test_show_lists_the_options(tsjax):
    """With the default models inside."""
    shown = done(tsjax("show", "ar/fransys"))
    assert all(word in shown for word in ("diagnosis", "prognosis", "shortest_window", "GRU("))
    assert "schedule_end" in done(tsjax("show", "ar/ar"))


@pytest.mark.parametrize(
    "change,part",
    [
        ("model.prognosis.name=tcn/tcn", "hidden_size"),
        ("model.diagnosis=ar/ar", "which reads u, y"),
        ("model.init_window=2", "shortest_window = 3 is longer than init_window = 2"),
        ("train.n_skip=3", "reads the measured output of the first 6 samples"),
        ("loss.1.sync_type=msle", "sync_type"),
        ("data.win_sz=6", "n_skip = 6"),
    ],
)
def test_a_mistake_in_an_experiment_is_named(change, part, lag_files, tmp_path, tsjax):
    """With status and text, and without a traceback."""
    file = write(FRANSYS, lag_files, tmp_path)
    status, _, err = tsjax("train", file, "--out", tmp_path / "run", "--set", change)
    if "tcn" in change:
        pytest.importorskip("tsjax_tcn")
        assert status == 1
        assert "has no outputs that are a function of its state" in err
        return
    assert status == 2
    assert part in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def data(lag_files):
    """Return the files as training data."""
    return create_grain_dls(["u"], ["x", "y"], lag_files, win_sz=23, stp_sz=11, bs=3)


def test_the_learners_are_those_of_the_registered_models(data):
    """The initial window does not count; an own n_skip may be longer, and not shorter."""
    learner = ARLearner(data, model=RNN(hidden_size=2), init_window=5, metrics=[rmse])
    assert learner.spec == AR(model=RNN(hidden_size=2), init_window=5)
    assert learner.n_skip == 5
    options = {"diagnosis": RNN(hidden_size=2), "prognosis": RNN(hidden_size=2), "init_window": 5}
    learner = FranSysLearner(data, **options, loss=fransys_losses(), n_skip=7)
    assert learner.spec == FranSys(**options)
    assert learner.n_skip == 7
    with pytest.raises(ConfigError) as caught:
        FranSysLearner(data, **options, n_skip=4)
    print(caught.value)
    assert "reads the measured output of the first 5 samples" in str(caught.value)


def test_a_sequence_within_its_window_can_be_simulated(data):
    """A record that ends before the window does has the outputs of the window."""
    learner = FranSysLearner(data, diagnosis=RNN(2), prognosis=RNN(2), init_window=5)
    u, y = data.test[0]["u"], data.test[0]["y"]
    whole = learner.predict(u, y)
    short = nnx.jit(lambda model, u, y: model(u, y))(learner.model, u[None, :3], y[None, :3])[0]
    np.testing.assert_allclose(short, whole[:3], rtol=1e-4, atol=1e-4)
