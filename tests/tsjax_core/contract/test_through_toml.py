"""Each part of the contract, through an experiment file and the command line."""

from __future__ import annotations

import csv
import json
import tomllib

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Carry, load_model, predict
from tsjax_core.experiments.experiment import load_experiment, parse_experiment
from tsjax_core.experiments.run import load_learner


def history(run) -> list[dict[str, str]]:
    with (run / "history.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def numbers(run) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history(run)]


def done(result) -> str:
    status, out, err = result
    print(out, err)
    assert status == 0, err
    return out


def stopped_after(epochs, tsjax, monkeypatch, *arguments):
    """Run a training that Ctrl-C ends after so many epochs."""
    from tsjax_core.training import learner as learner_module

    train = learner_module.train_epoch

    def stop(self, fit, epoch):
        if epoch == epochs:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stop)
        return tsjax(*arguments)


CHUNKED = {
    "data": {"source": {"name": "families/chunks"}, "win_sz": 16, "further": {"mask": ["moves"]}},
    "model": {"name": "families/carrying", "model": {"name": "core/gru", "hidden_size": 3}},
    "loss": [
        {"name": "core/normalized_mse", "weight": 2.0},
        {"name": "families/masked_error"},
        {"name": "families/states", "weight": 0.01},
    ],
    "transform": [{"name": "families/scale_by_name", "channel": "u", "by": 1.0}],
    "train": {"metrics": ["core/rmse", "families/peak_error"]},
}


def experiment_of(write_experiment, name="e", **changes):
    tables = {
        key: dict(value) if isinstance(value, dict) else value for key, value in CHUNKED.items()
    }
    for key, value in changes.items():
        tables[key] = {**tables.get(key, {}), **value}
    file = write_experiment(name, **tables)
    document = tomllib.loads(file.read_text())
    # A specification of its own takes no options of another.
    document["model"] = tables["model"]
    import tomli_w

    file.write_text(tomli_w.dumps(document))
    return file


def test_a_carry_over_chunks_trains_evaluates_predicts_saves_and_loads(
    families, write_experiment, tsjax, tmp_path
):
    """A specification within another, a source by name, position, carry, mask, aux and signals."""
    file, run = experiment_of(write_experiment), tmp_path / "run"
    changes = ("--set", "model.model.hidden_size=4", "--set", "loss.0.weight=3")
    done(tsjax("train", file, "--out", run, *changes))
    written = tomllib.loads((run / "experiment.toml").read_text())
    assert written["model"]["model"]["hidden_size"] == 4
    assert written["model"]["model"]["name"] == "core/gru"
    assert written["loss"][0]["weight"] == 3
    assert written["data"]["source"] == {"name": "families/chunks"}
    rows = history(run)
    assert {"term_normalized_mse", "term_masked_error", "term_states", "peak_error"} <= set(rows[0])
    assert "rmse" in done(tsjax("evaluate", run))
    out = tmp_path / "out.csv"
    done(
        tsjax(
            "predict",
            run,
            file_of(run),
            "--out",
            out,
        )
    )
    model = load_model(run / "model")
    assert not jax.tree.leaves(nnx.state(model, Carry))
    learner = load_learner(run)
    assert jax.tree.leaves(nnx.state(learner.model, Carry))
    u = np.random.default_rng(1).standard_normal((30, 1)).astype(np.float32)
    np.testing.assert_array_equal(predict(model, u), learner.predict(u))
    description = json.loads((run / "model" / "model.json").read_text())
    assert description["options"]["model"]["name"] == "core/gru"
    assert description["signals"]["further"] == {"mask": ["moves"]}


def file_of(run):
    from pathlib import Path

    dataset = tomllib.loads((run / "experiment.toml").read_text())["data"]["dataset"]
    return Path(dataset) / "test" / "0.hdf5"


def test_a_run_with_a_carry_goes_on_to_the_same_bits(
    families, write_experiment, tsjax, tmp_path, monkeypatch
):
    """The carry is part of a checkpoint."""
    file = experiment_of(write_experiment, train={"epochs": 3})
    done(tsjax("train", file, "--out", tmp_path / "whole"))
    status, out, _ = stopped_after(2, tsjax, monkeypatch, "train", file, "--out", tmp_path / "part")
    assert status == 1
    assert f"tsjax resume {tmp_path / 'part'}" in out
    done(tsjax("resume", tmp_path / "part"))
    assert numbers(tmp_path / "part") == numbers(tmp_path / "whole")


def test_chunks_of_whole_sequences_train_as_windows_do(families, write_experiment):
    """With chunk = sequence, training with a carry is training without it, to 1e-6."""
    data = {"win_sz": 64, "stp_sz": 64, "bs": 1, "source": {"name": "families/chunks"}}
    model = {"name": "core/gru", "hidden_size": 3}
    learners = []
    for spec, options in (({"name": "families/carrying", "model": model}, data), (model, data)):
        tables = tomllib.loads(write_experiment(data=options).read_text())
        learner = parse_experiment({**tables, "model": spec}).build()
        list(learner.fit_iter(2))
        learners.append(learner)
    params = [jax.tree.leaves(nnx.state(x.model, nnx.Param)) for x in learners]
    # Files are longer than a chunk, so that the two differ but where a chunk is a file.
    assert any(not np.allclose(a, b, atol=1e-4) for a, b in zip(*params, strict=True))


def test_samples_that_position_leaves_out_count_nowhere(families, write_experiment):
    """Other values in rows that are filled up, and before n_skip, change no loss."""
    tables = tomllib.loads(experiment_of(write_experiment, train={"n_skip": 4}).read_text())
    learner = parse_experiment(tables).build()
    engine, pipeline = learner.engine, learner.pipeline
    batch = {k: np.array(v) for k, v in pipeline.train.read_batch(np.array([8, 4, 0])).items()}
    assert (batch["position"] < 0).any()
    first = engine.batch_loss(learner.model, batch, learner.weights)
    left_out = batch["position"] < 4
    batch["y"][left_out] = 1e6
    second = engine.batch_loss(learner.model, batch, learner.weights)
    for name in ("normalized_mse", "masked_error"):
        np.testing.assert_array_equal(first[name], second[name])


def test_a_forward_pass_inside_a_loss_leaves_the_carry_alone(families, write_experiment):
    """The mutable state is taken before the losses run."""
    from tsjax_core import Learner, compose_losses, normalized_mse

    def runs_the_model(pred, target, y_mean, y_std, *, model, batch):
        other = model(10.0 + batch["u"], batch=batch)
        return 0.0 * other.mean()

    tables = tomllib.loads(experiment_of(write_experiment).read_text())
    experiment = parse_experiment(tables)
    pipeline = experiment.pipeline()
    spec = experiment.build(pipeline).spec
    states = []
    for loss in (normalized_mse, compose_losses((normalized_mse, 1.0), (runs_the_model, 1.0))):
        learner = Learner(spec, pipeline, loss)
        list(learner.fit_iter(1))
        states.append(jax.tree.leaves(nnx.state(learner.model, Carry)))
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_carry_of_another_size_is_told(families, write_experiment, lag_files):
    """With both numbers, and not by jax."""
    from tsjax_core import Learner
    from tsjax_core.errors import ModelError

    class TooFew(families.CarryingRNN):
        def begin_training(self, batch_size):
            super().begin_training(batch_size - 1)

    tables = tomllib.loads(experiment_of(write_experiment).read_text())
    pipeline = parse_experiment(tables).pipeline()
    from tsjax_core import GRU

    model = TooFew(GRU(hidden_size=2).build(pipeline.signals, rngs=nnx.Rngs(0)))
    with pytest.raises(ModelError) as caught:
        Learner(model, pipeline)
    print(caught.value)
    assert "TooFew carries the states of 2 rows" in str(caught.value)
    assert "a training batch has 3" in str(caught.value)


@pytest.mark.parametrize(
    "source,parts",
    [
        ({"name": "families/chunk"}, ["no source 'chunk'", "Did you mean 'families/chunks'?"]),
        ({"name": "families/chunks", "win_sz": 3}, ["win_sz: it is given to the source by [data]"]),
        ({"name": "families/chunks", "size": 3}, ["[data.source] unknown option 'size'"]),
    ],
)
def test_a_source_that_does_not_fit_is_told(
    families, write_experiment, tsjax, tmp_path, source, parts
):
    """With the table and the file."""
    file = write_experiment(data={"source": source})
    status, _, err = tsjax("train", file, "--out", tmp_path / "run")
    print(err)
    assert status == 2
    assert all(part in err for part in [*parts, "e.toml"])
    assert not (tmp_path / "run").exists()


def test_an_initial_window_needs_measured_outputs_there_and_nowhere_else(
    families, write_experiment, tsjax, tmp_path
):
    """Cells beyond the window may be empty; within it they are asked for."""
    model = {"name": "families/free_run", "init_window": 6}
    file = write_experiment()
    tables = tomllib.loads(file.read_text())
    import tomli_w

    file.write_text(tomli_w.dumps({**tables, "model": model}))
    run = tmp_path / "run"
    done(tsjax("train", file, "--out", run))
    written = tomllib.loads((run / "experiment.toml").read_text())
    assert written["train"]["n_skip"] == 6
    rows = ["u,y", *(f"{0.1 * t},{0.2 * t if t < 6 else ''}" for t in range(20))]
    data = tmp_path / "new.csv"
    data.write_text("\n".join(rows) + "\n")
    assert "20 samples" in done(tsjax("predict", run, data, "--out", tmp_path / "out.csv"))
    rows[3] = "0.2,"
    data.write_text("\n".join(rows) + "\n")
    status, _, err = tsjax("predict", run, data, "--out", tmp_path / "out2.csv")
    print(err)
    assert status == 1
    assert "within the first 6 samples" in err
    status, _, err = tsjax("train", file, "--out", tmp_path / "r2", "--set", "train.n_skip=3")
    print(err)
    assert status == 2
    assert "reads the measured output of the first 6 samples" in err


def test_quantities_are_columns_of_the_history_with_their_units(
    families, write_experiment, tsjax, tmp_path, monkeypatch
):
    """Bounds and units come from a nested table, and a resumed run reports them as well."""
    model = {
        "name": "families/lag",
        "parameters": {
            "gain": {"start": 2.0, "unit": "m/V"},
            "time_constant": {"start": 0.5, "low": 0.01, "high": 5.0, "unit": "s"},
        },
    }
    file = write_experiment(train={"epochs": 30, "lr": 0.05})
    tables = tomllib.loads(file.read_text())
    import tomli_w

    file.write_text(tomli_w.dumps({**tables, "model": model}))
    run = tmp_path / "run"
    done(tsjax("train", file, "--out", run))
    last = history(run)[-1]
    assert float(last["gain [m/V]"]) == pytest.approx(3.0, rel=0.05)
    assert float(last["time_constant [s]"]) == pytest.approx(0.2, rel=0.05)
    again = load_experiment(run / "experiment.toml")
    assert again.build().spec.parameters["time_constant"].high == 5.0
    part = tmp_path / "part"
    stopped_after(3, tsjax, monkeypatch, "train", file, "--out", part)
    done(tsjax("resume", part))
    assert numbers(part) == numbers(run)
    status, _, err = tsjax(
        "train", file, "--out", tmp_path / "x", "--set", "model.parameters.gain.start=oops"
    )
    print(err)
    assert status == 2
    assert "parameters.gain.start: expected a number" in err


@pytest.mark.parametrize("policy", ["washout", "window", "encoder"])
def test_the_initial_state_is_a_policy_of_the_experiment(
    families, write_experiment, tsjax, tmp_path, policy
):
    """Evaluation states which one was used, and predict uses it too."""
    train = {"initial_state": policy, "init_samples": 8, "epochs": 1}
    file = write_experiment(train=train)
    tables = tomllib.loads(file.read_text())
    import tomli_w

    file.write_text(tomli_w.dumps({**tables, "model": {"name": "families/lag"}}))
    run = tmp_path / "run"
    assert f"initial state: {policy}, 8 samples" in done(tsjax("train", file, "--out", run))
    assert f"initial state: {policy}, 8 samples" in done(tsjax("evaluate", run))
    done(tsjax("predict", run, file_of(run), "--out", tmp_path / "out.csv"))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 61
    # Where the encoder reads, nothing is simulated: an empty cell.
    assert lines[1].endswith(",") == (policy == "encoder")


def test_a_store_and_a_plot_by_name(families, write_experiment, tsjax, tmp_path):
    """The store is opened for predict too, and the plot gets batch and signals."""
    data = {"store": {"name": "families/halved", "by": 2.0}, "win_sz": 10}
    file = write_experiment(data=data, report={"plot": ["core/results", "families/error"]})
    run = tmp_path / "run"
    out = done(tsjax("train", file, "--out", run))
    assert "sampling time 0.04 s" in out
    assert (run / "report" / "test_0_error.png").exists()
    assert (run / "report" / "test_0.png").exists()
    assert "30 samples" in done(tsjax("predict", run, file_of(run), "--out", tmp_path / "o.csv"))
    status, _, err = tsjax(
        "train", file, "--out", tmp_path / "x", "--set", "report.plot=core/nothing"
    )
    print(err)
    assert status == 2
    assert "[report] plot: plugin 'core'" in err
