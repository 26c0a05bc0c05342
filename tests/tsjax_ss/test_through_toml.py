"""The models through an experiment file and the command line, with a polish."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from tsjax_core import load_model, predict
from tsjax_core.experiments.run import load_learner
from tsjax_core.training.polish import polish as polish_module

EXPERIMENT = """
[data]
dataset = "{folder}"
u = ["u0", "u1"]
y = ["y0", "y1", "y2"]
valid = "files"

[model]
name = "ss/neural"
order = 3
hidden_size = 3

[train]
epochs = 0
initial_state = "window"
init_samples = 20
metrics = ["core/rmse"]

[polish]
iterations = 3

"""


def done(result) -> str:
    status, out, err = result
    assert status == 0, err
    return out


def rows(run) -> list[dict[str, str]]:
    with (run / "polish.csv").open(encoding="utf-8") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def test_an_experiment_is_polished_evaluated_and_resumed(
    wiener, tmp_path, tsjax, write_experiment, monkeypatch
):
    """Two inputs and three outputs; a polish that was interrupted ends with the same numbers."""
    file, run, part = (
        write_experiment(EXPERIMENT.format(folder=wiener[1])),
        *(tmp_path / name for name in ("run", "part")),
    )
    done(tsjax("train", file, "--out", run))
    errors = [float(row["train_loss"]) for row in rows(run)]
    assert len(errors) == 4
    assert errors[-1] < 0.9 * errors[0]
    assert "rmse" in done(tsjax("evaluate", run))

    u = np.sin(np.arange(30.0)[:, None] * [0.3, 0.7]).astype(np.float32)
    # The state before the first sample is estimated from the outputs of the first 20.
    known = [",-5.0,-5.0,-5.0" if k < 20 else ",,," for k in range(len(u))]
    lines = ["u0,u1,y0,y1,y2", *(f"{a},{b}{y}" for (a, b), y in zip(u, known, strict=True))]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    done(tsjax("predict", run, tmp_path / "new.csv", "--out", tmp_path / "out.csv"))
    simulated = np.genfromtxt(tmp_path / "out.csv", delimiter=",", skip_header=1)[:, -3:]
    model, learner = load_model(run / "model"), load_learner(run)
    np.testing.assert_array_equal(predict(model, u), learner.predict(u))
    assert simulated.shape == (30, 3)
    assert np.isfinite(simulated).all()

    finish = polish_module._finish

    def stop(learner, fit, *rest):
        if fit.done == 2:
            raise KeyboardInterrupt
        return finish(learner, fit, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(polish_module, "_finish", stop)
        status, _, _ = tsjax("train", file, "--out", part)
    assert status == 1
    done(tsjax("resume", part))
    assert rows(part) == rows(run)
    again = load_model(part / "model")
    np.testing.assert_array_equal(predict(again, u), predict(model, u))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wiener", "hammerstein", "wiener_hammerstein"])
def test_every_other_model_is_polished_and_saved(wiener, tmp_path, tsjax, write_experiment, name):
    """The saved model holds what the data decided, and loading it needs no data."""
    text = EXPERIMENT.format(folder=wiener[1]).replace("ss/neural", f"ss/{name}")
    text = text.replace('"to_*"', '"map.to_*"')
    run = tmp_path / "run"
    done(tsjax("train", write_experiment(text), "--out", run))
    assert float(rows(run)[-1]["train_loss"]) < float(rows(run)[0]["train_loss"])
    if name == "wiener_hammerstein":
        config = next((run / "model").glob("*.json")).read_text()
        assert re.search(r'"orders": \[\s*3,\s*3\s*\]', config), config
    u = np.ones((5, 2), np.float32)
    model = load_model(run / "model")
    np.testing.assert_array_equal(predict(model, u), load_learner(run).predict(u))


def test_show_lists_the_options(tsjax):
    """With what they mean."""
    shown = done(tsjax("show", "ss/wiener_hammerstein"))
    assert all(word in shown for word in ("orders", "channels", "hidden_size", "horizon"))
    assert "state_monomials" in done(tsjax("show", "ss/neural"))


@pytest.mark.parametrize(
    "change,part",
    [
        ("model.features=sine", "features"),
        ("model.order=0", "order = 0"),
        ("model.horizon=2", "horizon = 2"),
        ("polish.penalty.too=1.0", "'too' matches no parameter"),
    ],
)
def test_a_mistake_in_an_experiment_is_named(
    change, part, wiener, tmp_path, tsjax, write_experiment
):
    """With status and text, and without a traceback."""
    file = write_experiment(EXPERIMENT.format(folder=wiener[1]))
    status, _, err = tsjax("train", file, "--out", tmp_path / "run", "--set", change)
    assert status == 2
    assert part in err
    assert "Traceback" not in err
