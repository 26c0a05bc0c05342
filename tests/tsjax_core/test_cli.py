"""The command line as a user meets it: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w

from tsjax_core import load_model, predict
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.experiments.run import load_learner
from tsjax_core.registry.registry import Registry

EXPERIMENT = {
    "data": {
        "dataset": "data",
        "u": ["u"],
        "y": ["y"],
        "win_sz": 40,
        "stp_sz": 20,
        "bs": 8,
        "valid": "files",
    },
    "model": {"name": "core/gru", "hidden_size": 3},
    "train": {"epochs": 3, "n_skip": 5, "lr": 0.01, "schedule": "flat_cos"},
}


def rows_of(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_text().splitlines()))


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(oscillator, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "data").symlink_to(oscillator)
    (folder / "small.toml").write_text(tomli_w.dumps(EXPERIMENT))
    return folder


@pytest.fixture
def run(folder, monkeypatch, tsjax) -> Path:
    """Return a finished run; the first test that asks for it trains it."""
    monkeypatch.chdir(folder)
    path = folder / "runs" / "small"
    if not path.exists():
        assert tsjax("train", "small.toml")[0] == 0
    return path


def test_train_writes_a_whole_run_directory(run):
    """Experiment with every default, versions, a row per epoch, model, scores and figures."""
    names = {path.relative_to(run).as_posix() for path in run.rglob("*.*") if path.is_file()}
    assert {
        "experiment.toml",
        "versions.json",
        "history.csv",
        "model/model.json",
        "report/scores.csv",
        "report/history.png",
        "report/test_arrow.png",
        "report/test_multisine.png",
    } <= names
    rows = table(run / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "epoch", "seconds", "train_loss", "valid_loss", "skipped", "rmse", "fit_percent"
    ]  # fmt: skip
    assert load_experiment(run / "experiment.toml").build().resume(run / "checkpoints") is not None
    versions = json.loads((run / "versions.json").read_text())
    assert {"tsjax-core", "jax", "flax", "python"} <= set(versions)
    text = (run / "experiment.toml").read_text()
    assert "num_layers = 1" in text
    assert 'monitor = "valid_loss"' in text


def test_train_says_what_it_kept_and_where(folder, tsjax, monkeypatch):
    """Two more runs of the same experiment are the same bits, in directories of their own."""
    monkeypatch.chdir(folder)
    outs = [tsjax("train", "small.toml", "--out", f"twin-{i}") for i in (1, 2)]
    for (status, out, err), path in zip(outs, ("twin-1", "twin-2"), strict=True):
        assert status == 0
        assert "windows of 40" in out
        assert "kept the model of epoch" in out
        assert "arrow.hdf5" in out
        assert "all of test" in out
        assert f"run: {path}" in out
        assert "epoch 3/3  train" in err
    first, second = (load_model(folder / f"twin-{i}" / "model") for i in (1, 2))
    u = np.linspace(-0.1, 0.1, 50)
    np.testing.assert_array_equal(predict(first, u), predict(second, u))


@pytest.mark.slow
def test_another_process_gives_the_same_bits(run, folder):
    """A process of its own writes the history of the run in this one, but for the seconds."""
    code = "import sys; from tsjax_core.cli import main; sys.argv[0] = 'tsjax'; main()"
    command = [sys.executable, "-c", code, "train", "small.toml", "--out", "elsewhere"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    histories = [table(path / "history.csv") for path in (run, folder / "elsewhere")]
    for row in (row for history in histories for row in history):
        del row["seconds"]
    assert histories[0] == histories[1]


def test_a_run_can_be_trained_again_from_its_own_experiment(run, folder, tsjax):
    """The written experiment is complete: it gives the same model."""
    assert tsjax("train", run / "experiment.toml", "--out", folder / "again")[0] == 0
    u = np.linspace(-0.1, 0.1, 50)
    np.testing.assert_array_equal(
        predict(load_model(run / "model"), u), predict(load_model(folder / "again/model"), u)
    )


def test_the_model_of_the_best_epoch_is_kept(run, folder, tsjax):
    """With a rate that makes the training diverge, the last epoch is not the best."""
    status, out, _ = tsjax(
        "train", folder / "small.toml", "--out", folder / "wild",
        "--set", "train.lr=10.0", "--set", "train.schedule=constant", "--set", "train.epochs=40",
        # It ends with the first epoch that is worse, whatever rounding does to a wild training.
        "--set", "train.patience=1",
    )  # fmt: skip
    assert status == 0
    rows = table(folder / "wild" / "history.csv")
    losses = [float(row["valid_loss"]) for row in rows]
    assert f"kept the model of epoch {int(np.argmin(losses)) + 1}" in out
    assert np.argmin(losses) == len(losses) - 2
    learner = load_learner(folder / "wild")
    assert learner.evaluate("valid").loss == pytest.approx(min(losses), rel=1e-6)


def test_evaluate_prints_the_scores_of_a_split(run, tsjax):
    """The test scores are those that the training wrote; other splits have their own."""
    status, out, _ = tsjax("evaluate", run)
    assert status == 0
    scores = table(run / "report" / "scores.csv")
    assert [row["file"] for row in scores] == 2 * ["arrow.hdf5", "multisine.hdf5", "all of test"]
    assert all(f"{float(row['rmse']):.4g}" in out for row in scores)
    status, out, _ = tsjax("evaluate", run, "--split", "valid")
    assert status == 0
    assert "multisine.hdf5" in out
    assert tsjax("evaluate", run, "--split", "tset")[0] == 2


def test_evaluate_scores_files_of_no_split(run, folder, tsjax, monkeypatch):
    """With the figures that they have as test files, also where the data of the run are gone."""
    files = [folder / "data" / "test" / f"{name}.hdf5" for name in ("arrow", "multisine")]
    arguments = [argument for file in files for argument in ("--data", file.resolve())]
    scores = table(run / "report" / "scores.csv")
    moved = folder / "data"
    target = moved.resolve()
    moved.unlink()
    try:
        status, out, err = tsjax("evaluate", run, *arguments)
    finally:
        moved.symlink_to(target)
    assert status == 0, err
    assert "all of the files given" in out
    assert all(f"{float(row['rmse']):.4g}" in out for row in scores)
    assert tsjax("evaluate", run, "--data", files[0], "--split", "valid")[0] == 2
    status, _, err = tsjax("evaluate", run, "--data", folder / "nowhere.hdf5")
    assert status == 1
    assert "nowhere.hdf5" in err


def test_files_that_cannot_be_scored_are_refused(run, folder, tsjax):
    """Another rate, a missing output, a sample that is NaN, and no sample."""
    u, y = np.zeros(50), np.zeros(50)
    broken = y.copy()
    broken[7] = np.nan
    for name, signals, dt, words in (
        ("rate", {"u": u, "y": y}, 0.5, "the sampling time is 0.5 s, and the model's is"),
        ("lacking", {"u": u}, None, "no signal 'y'"),
        ("gap", {"u": u, "y": broken}, None, "samples are NaN or infinite"),
        ("none", {"u": u[:0], "y": y[:0]}, None, "there is no sample to simulate"),
    ):
        path = folder / f"{name}.hdf5"
        with h5py.File(path, "w") as file:
            file.update(signals)
            if dt is not None:
                file.attrs["dt"] = dt
        status, _, err = tsjax("evaluate", run, "--data", path)
        assert status == 1
        assert words in " ".join(err.split())
        print(err)


def test_predict_writes_hdf5_and_csv(run, folder, tsjax):
    """Both formats hold the simulated outputs; HDF5 also the sampling time."""
    data = folder / "data" / "test" / "multisine.hdf5"
    with h5py.File(data) as file:
        expected = predict(load_model(run / "model"), file["u"][:])
    status, out, _ = tsjax("predict", run, data, "--out", folder / "simulated.csv")
    assert status == 0
    assert "wrote time, u, y, y_simulated (512 samples)" in out
    rows = rows_of(folder / "simulated.csv")
    assert rows[0] == ["time", "u", "y", "y_simulated"]
    columns = np.array(rows[1:], float).T
    np.testing.assert_allclose(columns[3], expected, rtol=1e-6)
    np.testing.assert_allclose(columns[0], np.arange(512) / 610.35, rtol=1e-6)
    n_skip = load_learner(run).n_skip
    error = np.sqrt(np.mean((columns[3] - columns[2])[n_skip:] ** 2))
    assert f"y: rmse {error:.4g}, fit {100 * (1 - error / columns[2][n_skip:].std()):.2f} %" in out
    assert tsjax("predict", run, data, "--out", folder / "simulated.hdf5")[0] == 0
    with h5py.File(folder / "simulated.hdf5") as file:
        np.testing.assert_array_equal(file["y_simulated"][:], expected)
        assert file.attrs["dt"] == pytest.approx(1 / 610.35)


def test_a_horizon_needs_a_model_that_predicts_ahead(run, folder, tsjax):
    """A simulation model is refused by name, and so is a horizon of no steps."""
    data = folder / "data" / "test" / "multisine.hdf5"
    out = folder / "ahead.csv"
    status, _, err = tsjax("predict", run, data, "--out", out, "--horizon", "5")
    assert (status, "core/gru does not predict from measured outputs" in err) == (1, True)
    print(err)
    assert not out.exists()


def test_a_full_disk_leaves_no_part_of_a_file(run, folder, tsjax, monkeypatch):
    """Outputs appear whole or not at all, so that the next try is not refused."""
    data, out = folder / "data" / "test" / "multisine.hdf5", folder / "full.csv"
    with monkeypatch.context() as patch:
        patch.setattr(csv, "writer", FullDisk)
        status, _, err = tsjax("predict", run, data, "--out", out)
    assert (status, "No space left" in err) == (1, True)
    assert not [path for path in folder.iterdir() if "full" in path.name]
    assert tsjax("predict", run, data, "--out", out)[0] == 0


class FullDisk:
    """A writer that has room for a header alone."""

    def __init__(self, stream):
        self.stream = stream

    def writerow(self, row):
        self.stream.write(",".join(row) + "\n")

    def writerows(self, rows):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_predict_reads_csv(run, folder, tsjax):
    """Inputs may come as CSV; the default output stands beside them."""
    u = np.random.default_rng(0).standard_normal(20)
    (folder / "inputs.csv").write_text("k,u\n" + "\n".join(f"{i},{v}" for i, v in enumerate(u)))
    assert tsjax("predict", run, folder / "inputs.csv")[0] == 0
    assert Path.cwd() == folder
    rows = rows_of(folder / "inputs_predicted.csv")
    np.testing.assert_allclose(
        [float(row[-1]) for row in rows[1:]], predict(load_model(run / "model"), u), rtol=1e-5
    )


def test_predict_reads_files_as_the_run_does(run, folder, tsjax, monkeypatch):
    """A run that resampled simulates at its own rate; without that, another rate is refused."""
    monkeypatch.chdir(folder)
    arguments = ["--set", "data.target_fs=305.0", "--set", "train.epochs=1"]
    assert tsjax("train", "small.toml", "--out", "slow", *arguments)[0] == 0
    data = folder / "data" / "test" / "multisine.hdf5"
    assert tsjax("predict", "slow", data, "--out", "slow.hdf5")[0] == 0
    learner = load_learner(Path("slow"))
    evaluation = learner.evaluate("test")
    pairs, names = evaluation.pairs, tuple(evaluation.files)
    expected = pairs[names.index("multisine.hdf5")][0][0, :, 0]
    with h5py.File("slow.hdf5") as file:
        np.testing.assert_allclose(file["y_simulated"][5:], expected, rtol=1e-4, atol=1e-6)
        assert file.attrs["dt"] == pytest.approx(1 / 305.0)
    with h5py.File("fast.hdf5", "w") as file:
        file["u"], file.attrs["fs"] = np.zeros(30), 1000.0
    status, _, err = tsjax("predict", run, "fast.hdf5")
    assert status == 1
    assert "the sampling time is 0.001 s, and the model's is 0.00163840" in err
    assert "target_fs" in err
    assert not Path("fast_predicted.hdf5").exists()


def test_csv_options_of_the_run_serve_for_predict(folder, tsjax, monkeypatch, tmp_path):
    """Delimiter and column of time are those of the training data."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        Path("csv", split).mkdir(parents=True)
        rows = [f"{0.1 * i:.1f};{a:.3f};{b:.3f}" for i, (a, b) in enumerate(rng.random((90, 2)))]
        Path("csv", split, "a.csv").write_text("t;u;y\n" + "\n".join(rows))
    changed = {**EXPERIMENT["data"], "dataset": "csv", "delimiter": ";", "time": "t"}
    Path("e.toml").write_text(tomli_w.dumps({**EXPERIMENT, "data": changed}))
    assert tsjax("train", "e.toml", "--out", "run", "--set", "train.epochs=1")[0] == 0
    assert tsjax("predict", "run", Path("csv", "test", "a.csv"))[0] == 0
    assert len(rows_of(Path("a_predicted.csv"))) == 91


def test_a_training_that_diverges_says_so(folder, tsjax, monkeypatch):
    """Without a good epoch nothing is kept; with one, that is the model, and the status is 1."""
    out = folder / "diverged"
    status, _, err = tsjax("train", folder / "small.toml", "--out", out, "--set", "train.lr=3e38")
    assert status == 1
    assert "skipped 5 of 6 steps" in err
    assert "training diverged in epoch 2: the loss was not finite in any of its 6 steps" in err
    assert "and there is no model to keep. Try a lower lr; clip the gradients" in err
    assert f"{out} was removed." in err
    assert not out.exists()

    from tsjax_core.training import learner as learner_module

    epoch = learner_module.train_epoch

    def at_a_cliff(self, fit, number):
        if number == 2:
            fit.rates[:] = 1e38
        return epoch(self, fit, number)

    monkeypatch.setattr(learner_module, "train_epoch", at_a_cliff)
    change = ("--set", "train.epochs=5")
    status, text, _ = tsjax("train", folder / "small.toml", "--out", out, *change)
    assert status == 1
    assert "training diverged in epoch 4: the loss was not finite in any" in text
    assert "kept the model of epoch 2 (best valid_loss)" in text
    assert (out / "model" / "model.json").exists()


def test_simulations_that_leave_the_range_of_numbers_are_told(folder, tsjax, monkeypatch):
    """All losses of the training are finite, and those of the validation never are."""
    from tsjax_core.training.evaluation import SplitEvaluator

    monkeypatch.setattr(SplitEvaluator, "_loss_of", lambda *_: float("inf"))
    status, _, err = tsjax("train", folder / "small.toml", "--out", folder / "unstable")
    assert status == 1
    assert "training gave no finite valid_loss, and there is no model to keep." in err
    assert "The simulations of the validation data leave the range of numbers" in err
    assert not (folder / "unstable").exists()


def test_units_in_brackets_are_part_of_a_name(tsjax, tmp_path, monkeypatch):
    """`a [m/s]` is a name and no markup: it is trained on and printed whole."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        Path("csv", split).mkdir(parents=True)
        rows = [",".join(f"{v:.3f}" for v in row) for row in rng.random((90, 3))]
        Path("csv", split, "x.csv").write_text("a [m/s],p [/min],q [deg]\n" + "\n".join(rows))
    names = {"dataset": "csv", "u": ["a [m/s]"], "y": ["p [/min]", "q [deg]"]}
    tables = {**EXPERIMENT, "data": {**EXPERIMENT["data"], **names}}
    Path("e.toml").write_text(tomli_w.dumps(tables))
    status, out, _ = tsjax("train", "e.toml", "--out", "run")
    assert status == 0
    assert "u = a [m/s]; y = p [/min], q [deg]" in out
    assert out.count("q [deg]") >= 2


def test_two_runs_at_once_do_not_share_a_directory(folder, monkeypatch, tsjax):
    """The one that comes second to the directory is told, and the first goes on untouched."""
    from tsjax_core.experiments.experiment import Experiment

    out = folder / "raced"
    build = Experiment.build

    def slow(self):
        learner = build(self)
        out.mkdir()
        (out / "experiment.toml").write_text("of the other run")
        return learner

    monkeypatch.setattr(Experiment, "build", slow)
    status, _, err = tsjax("train", folder / "small.toml", "--out", out)
    assert status == 2
    assert "was taken by another run; nothing was written" in err
    assert [path.name for path in out.iterdir()] == ["experiment.toml"]


def test_a_place_that_cannot_be_written_is_told_without_traceback(folder, tsjax):
    """A path below a file, and a run that never finished."""
    file = folder / "small.toml"
    status, _, err = tsjax("train", file, "--out", file / "run")
    assert status == 1
    assert err.splitlines()[-1].startswith("error: ")
    stub = folder / "stub"
    stub.mkdir()
    (stub / "experiment.toml").write_text("")
    status, _, err = tsjax("train", file, "--out", stub)
    assert (status, "holds an unfinished run" in err) == (2, True)


def test_an_output_that_exists_is_left_alone(run, folder, tsjax):
    """A run directory, a directory with files, and a file of predictions."""
    before = (run / "history.csv").read_bytes()
    status, _, err = tsjax("train", folder / "small.toml", "--out", run)
    assert status == 2
    assert f"{run} exists and holds another run; nothing was written" in err
    assert "--out" in err
    assert (run / "history.csv").read_bytes() == before
    status, _, err = tsjax("train", folder / "small.toml", "--out", folder)
    assert (status, "is not empty" in err) == (2, True)
    taken = folder / "taken.csv"
    taken.write_text("mine")
    status, _, err = tsjax("predict", run, folder / "data/test/arrow.hdf5", "--out", taken)
    assert (status, "exists; nothing was written" in err) == (2, True)
    assert taken.read_text() == "mine"
    status, _, err = tsjax("demo", "--out", folder)
    assert (status, "exists; nothing was written" in err) == (2, True)


def test_a_wrong_experiment_writes_nothing(folder, tsjax):
    """Exit status 2, one sentence, no traceback, no directory."""
    out = folder / "never"
    status, _, err = tsjax("train", folder / "small.toml", "--out", out, "--set", "model.hidden=3")
    assert status == 2
    assert err.startswith("error: ")
    assert "[model] unknown option 'hidden'" in err
    assert "Traceback" not in err
    assert not out.exists()
    status, _, err = tsjax("train", folder / "small.toml", "--out", out, "--set", "data.u=['v']")
    assert status == 1
    assert "'v'" in err
    assert not out.exists()


def test_a_directory_that_is_no_run_is_told(tmp_path, folder, tsjax):
    """The error says what is missing there."""
    status, _, err = tsjax("evaluate", tmp_path)
    assert status == 2
    assert "holds no finished run: experiment.toml is missing" in err
    status, _, err = tsjax("predict", tmp_path, folder / "data/test/arrow.hdf5")
    assert status == 2


def test_predict_tells_what_does_not_fit(run, folder, tsjax):
    """An input that is not in the file, a format that cannot be written."""
    (folder / "other.csv").write_text("k,v\n0,1\n1,2\n")
    status, _, err = tsjax("predict", run, folder / "other.csv")
    assert status == 1
    assert "'u'" in err
    assert not (folder / "other_predicted.csv").exists()
    data = folder / "data/test/arrow.hdf5"
    status, _, err = tsjax("predict", run, data, "--out", folder / "y.txt")
    assert (status, "ends in .csv" in err) == (2, True)


def test_plugins_tells_what_core_offers_and_that_it_works(tsjax):
    """A row with namespace, distribution, version, offers and status."""
    status, out, _ = tsjax("plugins")
    assert status == 0
    (row,) = [line for line in out.splitlines() if "tsjax-core" in line]
    assert [cell.strip() for cell in row.split("│")[1:4]] == [
        "core",
        "tsjax-core",
        version("tsjax-core"),
    ]
    assert "5 models, 15 losses, 6 metrics" in row
    assert row.endswith(" ok     │")


def test_list_and_show_tell_names_and_options(tsjax):
    """Names by kind, and the options of one with types, defaults and meanings."""
    status, out, _ = tsjax("list", "model")
    assert status == 0
    assert "core/gru" in out
    assert "core/rmse" not in out
    assert "core/rmse" in tsjax("list")[1]
    status, out, _ = tsjax("show", "core/gru")
    assert status == 0
    for part in ("hidden_size", "int", "100", "Units in each layer.", "'sequence' | 'last'"):
        assert part in out
    assert "It has no options." in tsjax("show", "core/normalized_mae")[1]
    assert "a loss" in tsjax("show", "core/mse")[1]
    for name in Registry.installed().names("source") + Registry.installed().names("plot"):
        status, out, _ = tsjax("show", name)
        assert status == 0
        assert "Any" not in out.replace("Any | ", "")
    status, _, err = tsjax("show", "core/gri")
    assert (status, "core/gru" in err) == (2, True)
    status, _, err = tsjax("list", "modles")
    assert (status, "kinds are model" in err) == (2, True)


def test_the_tables_of_an_experiment_can_be_shown(tsjax):
    """Every key of [data] and [train], and the version."""
    out = tsjax("show", "data")[1]
    assert all(part in out for part in ("win_sz", "target_fs", "delimiter", "list of text"))
    out = tsjax("show", "train")[1]
    assert all(part in out for part in ("schedule", "keep", "'best' | 'last'"))
    assert "\ntsjax-core 0." in "\n" + tsjax("--version")[1]
    assert "core/noise" in tsjax("list", "transform")[1]


def test_bad_calls_have_status_2(tsjax):
    """Unknown commands and options are usage errors."""
    assert tsjax("trian")[0] == 2
    assert tsjax("train")[0] == 2
    assert tsjax("train", "x.toml", "--epochs", "3")[0] == 2


def test_ctrl_c_finishes_the_run_after_the_last_whole_epoch(folder, tsjax, monkeypatch):
    """The model so far is saved and evaluated."""
    from tsjax_core.training import learner as learner_module

    epoch = learner_module.train_epoch

    def interrupted(self, fit, number):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, fit, number)

    monkeypatch.setattr(learner_module, "train_epoch", interrupted)
    out = folder / "interrupted"
    status, text, _ = tsjax("train", folder / "small.toml", "--out", out)
    assert status == 1
    assert "training interrupted after 2 epochs" in text
    assert (out / "report" / "scores.csv").exists()
    monkeypatch.setattr(learner_module, "train_epoch", lambda self, *_: interrupted(self, None, 2))
    status, _, err = tsjax("train", folder / "small.toml", "--out", folder / "nothing")
    assert status == 1
    assert "interrupted after 0 epochs" in err
    assert not (folder / "nothing").exists()


def test_warnings_are_one_line_on_standard_error(folder, tsjax, tmp_path):
    """A file that is too short for a window is told without Python's decoration."""
    (tmp_path / "data").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "data" / split).mkdir()
        for source in sorted((folder / "data" / split).iterdir()):
            (tmp_path / "data" / split / source.name).symlink_to(source)
    short = tmp_path / "data" / "train" / "short.hdf5"
    with h5py.File(short, "w") as file:
        file["u"], file["y"] = np.arange(10.0), np.arange(10.0)
        file.attrs["fs"] = 610.35
    (tmp_path / "e.toml").write_text(tomli_w.dumps(EXPERIMENT))
    code = (
        "import sys; from tsjax_core.cli import main;"
        f"sys.argv = ['tsjax', 'train', {str(tmp_path / 'e.toml')!r},"
        f"'--out', {str(tmp_path / 'run')!r}, '--set', 'train.epochs=1']; main()"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    print(done.stderr)
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "short.hdf5" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    assert all(line.startswith(("warning: ", "epoch ")) for line in done.stderr.splitlines())
    assert any((tmp_path / "cache" / "tsjax" / "xla").iterdir())


@pytest.mark.slow
def test_the_demonstration_beats_the_linear_model(folder, tsjax, monkeypatch, tmp_path):
    """With a tenth of its training, data, experiment, run and comparison are there."""
    from tsjax_core.experiments import demo

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "EXPERIMENT", demo.EXPERIMENT.replace("epochs = 40", "epochs = 4"))
    status, out, _ = tsjax("demo", "--seed", 1)
    assert status == 0
    cells = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in cells[::2]] == ["arrow.hdf5", "multisine.hdf5", "all of test"]
    nrmse = [float(row[2]) for row in cells]
    assert all(model < linear for model, linear in zip(nrmse[::2], nrmse[1::2], strict=True))
    assert Path("tsjax-demo/run/report/test_arrow.png").exists()
    assert "tsjax evaluate tsjax-demo/run --split valid" in out


def test_the_demonstration_without_training_writes_what_can_be_trained_on(
    tsjax, monkeypatch, tmp_path
):
    """The data and the experiment, and no run."""
    monkeypatch.chdir(tmp_path)
    status, out, err = tsjax("demo", "--data-only")
    assert (status, err) == (0, "")
    assert out.endswith("experiment, not run: tsjax-demo/experiment.toml\n")
    written = {path.name for path in Path("tsjax-demo").iterdir()}
    assert written == {"data", "experiment.toml"}
    experiment = load_experiment(Path("tsjax-demo/experiment.toml"))
    assert len(experiment.build().pipeline.records("test")) == 2
