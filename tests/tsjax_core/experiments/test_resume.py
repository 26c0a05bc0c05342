"""`tsjax resume`: a run killed at any moment ends with the numbers of an undisturbed one."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
import tomli_w
from flax import nnx

from tsjax_core import cli, load_model
from tsjax_core.directories import held_directory
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.training.checkpoints.checkpoints import stored_epochs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with experiments on files of unequal length, two inputs and two outputs."""
    folder = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(0)
    lengths = {"train": (900, 500), "valid": (300,), "test": (200, 240)}
    for split, sizes in lengths.items():
        for number, n in enumerate(sizes):
            u = rng.standard_normal((n, 2))
            y = np.stack([np.convolve(u[:, 0], [0.5, 0.3], "same"), np.tanh(u @ [1.0, -1.0])], 1)
            path = folder / "data" / split / f"{number}.hdf5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                for name, column in zip(("a", "b", "p", "q"), [*u.T, *y.T], strict=True):
                    file[name] = column.astype(np.float32)
    return folder


NOISE = {"name": "core/noise", "std": [0.01, 0.05], "p": 0.8}
LENGTH = {"name": "core/vary_length", "shortest": 24}


def experiment(
    folder: Path,
    name: str,
    *,
    epochs: int,
    stp_sz: int = 20,
    resident: bool = True,
    transforms: Sequence[Mapping[str, object]] = (NOISE,),
    **train: object,
) -> Path:
    """Write an experiment with sampling, transforms and dropout that draw, and return its file."""
    options = {"epochs": epochs, "lr": 0.01, "average": 0.95, "clip_norm": 1.0, **train}
    tables = {
        "data": {
            "dataset": "data",
            "u": ["a", "b"],
            "y": ["p", "q"],
            "win_sz": 40,
            "stp_sz": stp_sz,
            "bs": 8,
            "balance": "files",
            "resident": resident,
        },
        "model": {"name": "core/gru", "hidden_size": 6, "weight_dropout": 0.1},
        "transform": list(transforms),
        "train": {k: v for k, v in options.items() if v is not None},
    }
    file = folder / f"{name}.toml"
    file.write_text(tomli_w.dumps(tables))
    return file


def process(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    code = "import sys; from tsjax_core.cli import main; sys.argv[0] = 'tsjax'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def numbers(run: Path) -> tuple[list[dict[str, str]], list[bytes], str]:
    """Return the history without its seconds, the bits of the model, and the test scores."""
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    for row in rows:
        del row["seconds"]
    state = nnx.state(load_model(run / "model"))
    bits = [np.asarray(x).tobytes() for x in jax.tree.leaves(state)]
    return rows, bits, (run / "report" / "scores.csv").read_text()


def moments(run: Path, generator: random.Random) -> Iterator[Callable[[], bool]]:
    """Yield, for each kill, what is waited for before it.

    In turn: a random time after the start, a random time after another epoch, and twice the
    moment at which a checkpoint is being written.
    """
    checkpoints = run / "checkpoints"

    def delayed(condition: Callable[[], bool], seconds: float) -> Callable[[], bool]:
        since: list[float] = []

        def over() -> bool:
            if not since and condition():
                since.append(time.monotonic())
            return bool(since) and time.monotonic() - since[0] >= seconds

        return over

    def last() -> int:
        return max(stored_epochs(checkpoints), default=0)

    def another_than(known: int) -> bool:
        return last() > known

    def is_writing() -> bool:
        return any("-tmp" in path.name for path in checkpoints.iterdir())

    while True:
        yield delayed((run / "experiment.toml").exists, generator.uniform(0.0, 3.0))
        yield delayed(partial(another_than, last()), generator.uniform(0.0, 0.15))
        for _ in range(2):
            is_new = partial(another_than, last())
            yield lambda is_new=is_new: is_new() and is_writing()


def drill(folder: Path, file: Path, run: Path, kills: int, seed: int) -> None:
    """Train, kill with SIGKILL and resume, `kills` times, then let the run end."""
    waits = moments(run, random.Random(seed))
    command: tuple[object, ...] = ("train", file, "--out", run)
    for number in range(1, kills + 1):
        running, is_time = process(folder, *command), next(waits)
        while running.poll() is None and not is_time():
            time.sleep(0.001)
        running.kill()
        _, err = running.communicate()
        assert running.returncode == -signal.SIGKILL, err
        print(f"kill {number}: epochs {stored_epochs(run / 'checkpoints')} are stored")
        # A process that is killed before it wrote its experiment has begun nothing.
        command = ("resume", run) if (run / "experiment.toml").exists() else command
    started = time.monotonic()
    running = process(folder, *command)
    out, err = running.communicate()
    print(f"ended in {time.monotonic() - started:.1f} s", out, err, sep="\n")
    assert running.returncode == 0


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_bits_of_the_undisturbed_one(folder):
    """Killed by SIGKILL soon after its start, and after an epoch."""
    file = experiment(folder, "short", epochs=12, stp_sz=1)
    whole, killed = folder / "short-whole", folder / "short-killed"
    drill(folder, file, whole, 0, seed=0)
    drill(folder, file, killed, 2, seed=1)
    assert numbers(whole) == numbers(killed)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_twenty_kills(folder, resident):
    """On each data path ten kills, also in checkpoints; every resume goes on and the bits agree."""
    transforms = (LENGTH, NOISE)
    file = experiment(
        folder, f"long-{resident}", epochs=45, stp_sz=1, resident=resident, transforms=transforms
    )
    whole, killed = folder / f"long-whole-{resident}", folder / f"long-killed-{resident}"
    drill(folder, file, whole, 0, seed=0)
    drill(folder, file, killed, 10, seed=int(resident))
    assert numbers(whole) == numbers(killed)


def trained(file: Path, run: Path, *, until: int | None = None) -> int:
    """Train in this process until Ctrl-C in the epoch `until`, if any; return the status."""
    from tsjax_core.training import learner as learner_module

    epoch = learner_module.train_epoch

    def stopped(self, fit, number):
        if number == until:
            raise KeyboardInterrupt
        return epoch(self, fit, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stopped)
        patch.setattr(sys, "argv", ["tsjax", "train", str(file), "--out", str(run)])
        with pytest.raises(SystemExit) as left:
            cli.main()
    return left.value.code or 0


@pytest.fixture(scope="module")
def small(folder):
    """Return an experiment of four epochs, a run of it, and one that Ctrl-C ended in its third."""
    file = experiment(folder, "small", epochs=4, average=None, checkpoints=2)
    assert trained(file, folder / "small-whole") == 0
    assert trained(file, folder / "small-interrupted", until=2) == 1
    return file, folder / "small-whole", folder / "small-interrupted"


@pytest.fixture
def interrupted(small, tmp_path):
    """Return a run that Ctrl-C ended, of the test's own, and its experiment."""
    file, _, run = small
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run", file


@pytest.fixture
def whole(small):
    """Return the numbers of the undisturbed run."""
    return numbers(small[1])


def test_a_run_that_ctrl_c_ended_goes_on(interrupted, whole, tsjax):
    """Model and report are those of the whole run then, and there is nothing left to resume."""
    run, _ = interrupted
    assert len((run / "history.csv").read_text().splitlines()) == 3
    status, out, err = tsjax("resume", run)
    assert status == 0
    assert "resuming after epoch 2 of 4" in out
    assert "epoch 3/4" in err
    assert "epoch 2/4" not in err
    assert numbers(run) == whole
    status, _, err = tsjax("resume", run)
    assert status == 2
    assert f"{run} is finished, and there is nothing to resume." in err
    assert numbers(run) == whole


def test_a_run_is_prolonged(interrupted, tsjax):
    """Before its end and after it; the epochs that were done stay, and fewer are refused."""
    run, _ = interrupted
    done = numbers(run)[0]
    status, out, _ = tsjax("resume", run, "--epochs", 5)
    assert status == 0
    assert "resuming after epoch 2 of 5" in out
    assert load_experiment(run / "experiment.toml").train.epochs == 5
    before = numbers(run)[0]
    assert len(before) == 5
    assert before[:2] == done[:2]
    assert tsjax("resume", run, "--epochs", 6)[0] == 0
    after = numbers(run)[0]
    assert len(after) == 6
    assert after[:5] == before
    text = (run / "experiment.toml").read_text()
    status, _, err = tsjax("resume", run, "--epochs", 3)
    assert status == 2
    assert "n_epochs = 3, and 6 epochs are done; give as many or more." in err
    assert (run / "experiment.toml").read_text() == text


def test_a_resumed_run_that_is_killed_before_it_saves_is_not_finished(
    interrupted, whole, tsjax, monkeypatch
):
    """The model and report of the interrupted run are not taken for those of the whole."""
    from tsjax_core.training.learner import Learner

    run, _ = interrupted

    def killed(*_, **__):
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "save", killed)
        assert tsjax("resume", run)[0] == 9
    assert stored_epochs(run / "checkpoints")[-1] == 4
    assert not (run / "report").exists()
    assert tsjax("resume", run)[0] == 0
    assert numbers(run) == whole


def test_ctrl_c_between_two_epochs_saves_the_best_model(folder, tsjax, tmp_path, monkeypatch):
    """While the history is written, outside of all generators of the training."""
    from tsjax_core.experiments import run as runs

    file = experiment(folder, "between", epochs=5, monitor="train_loss", mode="max", average=None)
    row = runs._row

    def stopped(result, counter):
        if result.epoch == 3:
            raise KeyboardInterrupt
        return row(result, counter)

    monkeypatch.setattr(runs, "_row", stopped)
    status, out, _ = tsjax("train", file, "--out", tmp_path / "run")
    assert status == 1
    assert "kept the model of epoch 1 (best train_loss)" in out
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").read_text().splitlines()))
    loss = runs.load_learner(tmp_path / "run").evaluate("valid").loss
    assert loss == pytest.approx(float(rows[0]["valid_loss"]), rel=1e-6)
    assert loss != pytest.approx(float(rows[2]["valid_loss"]), rel=1e-3)


def test_an_earlier_checkpoint_serves_where_the_last_is_damaged(interrupted, whole, tsjax):
    """The text names the option, which ends with the numbers of the whole run."""
    run, _ = interrupted
    last = run / "checkpoints" / "epoch_000002"
    part = last / "state" / "0"
    part.write_bytes(part.read_bytes()[:10])
    status, _, err = tsjax("resume", run)
    assert status == 1
    assert f"error: the checkpoint {last} is damaged (" in err
    assert "The one of epoch 1 is whole: resume with epoch=1." in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert tsjax("resume", run, "--epoch", 1)[0] == 0
    assert numbers(run) == whole


def test_a_run_without_any_checkpoint_begins_anew(interrupted, whole, tsjax, tmp_path):
    """As after a kill in the first epoch; an experiment that was being written is no run."""
    run, _ = interrupted
    for name in ("checkpoints", "model", "report"):
        shutil.rmtree(run / name)
    status, out, _ = tsjax("resume", run)
    assert status == 0
    assert "no epoch had ended; beginning anew" in out
    assert numbers(run) == whole
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / ".experiment.toml").write_text("[da")
    status, _, err = tsjax("resume", tmp_path / "stub")
    assert status == 2
    assert "holds no run to resume: experiment.toml is missing there" in err


def test_a_run_killed_before_its_report_is_completed(interrupted, tsjax):
    """All epochs are done: resuming writes model and report alone."""
    run, _ = interrupted
    assert tsjax("resume", run)[0] == 0
    before = numbers(run)
    shutil.rmtree(run / "report")
    status, out, err = tsjax("resume", run)
    assert status == 0
    assert "resuming after epoch 4 of 4" in out
    assert "epoch 4/4" not in err
    assert numbers(run) == before


@pytest.mark.slow
def test_early_stopping_goes_on_counting(folder, tsjax, tmp_path):
    """A run that is killed while it waits stops at the epoch at which it would have stopped."""
    options = {
        "patience": 3,
        "monitor": "core/rmse",
        "mode": "max",
        "checkpoints": 1,
        "average": None,
    }
    file = experiment(folder, "patient", epochs=30, **options)
    status, out, _ = tsjax("train", file, "--out", tmp_path / "whole")
    assert status == 0
    rows = len(numbers(tmp_path / "whole")[0])
    assert f"stopped after epoch {rows}: no better core/rmse for 3 epochs" in out
    assert f"kept the model of epoch {rows - 3} (best core/rmse)" in out
    assert trained(file, tmp_path / "run", until=rows - 1) == 1
    status, out, _ = tsjax("resume", tmp_path / "run")
    assert status == 0
    assert f"stopped after epoch {rows}: no better core/rmse" in out
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")
    assert tsjax("resume", tmp_path / "run")[0] == 2


def changed_experiment(run: Path, old: str, new: str) -> None:
    file = run / "experiment.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_what_a_run_needs_and_is_not_there_is_told(interrupted, tsjax):
    """A plugin, the data, the numbers of another model, another version: each in a sentence."""
    run, _ = interrupted
    original = (run / "experiment.toml").read_text()

    def told(old: str, new: str) -> str:
        changed_experiment(run, old, new)
        before = sorted(path.name for path in run.rglob("*"))
        status, _, err = tsjax("resume", run)
        (run / "experiment.toml").write_text(original)
        assert status in (1, 2)
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert sorted(path.name for path in run.rglob("*")) == before
        return err

    err = told('name = "core/gru"', 'name = "gone/gru"')
    assert "experiment.toml: [model] name: " in err
    assert "'gone'" in err
    assert "belong to another training: model: GRU(" in told("hidden_size = 6", "hidden_size = 7")
    assert "seed: 0 there, 1 here" in told("seed = 0\ninitial_state", "seed = 1\ninitial_state")
    assert "win_sz: 40 there, 50 here" in told("win_sz = 40", "win_sz = 50")
    assert "checksum of the experiment: " in told("std = [\n    0.01", "std = [\n    0.02")
    err = told("dataset = ", 'dataset = "nowhere" # ')
    assert "nowhere" in err
    file = run / "checkpoints" / "epoch_000002" / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    text = metadata["custom_metadata"]["text"].replace('"tsjax-core": "', '"tsjax-core": "9.')
    metadata["custom_metadata"] = {"text": text, "checksum": zlib.crc32(text.encode())}
    file.write_text(json.dumps(metadata))
    assert "was written by tsjax-core 9." in told("", "")
    assert tsjax("resume", run, "--epoch", 1)[0] == 0


def test_a_run_that_another_process_trains_is_left_alone(interrupted, tsjax):
    """The hold is that of the system: it ends with the process, however that ends."""
    run, _ = interrupted
    before = (run / "history.csv").read_bytes()
    with held_directory(run):
        status, _, err = tsjax("resume", run)
    assert status == 2
    assert f"{run} is being written by another process that trains" in err
    assert (run / "history.csv").read_bytes() == before


def test_unfinished_runs_tell_how_to_go_on(interrupted, tsjax, folder):
    """`evaluate` and `train` name the command."""
    run, file = interrupted
    shutil.rmtree(run / "model")
    status, _, err = tsjax("evaluate", run)
    assert (status, f"Go on with it: tsjax resume {run}" in err) == (2, True)
    status, _, err = tsjax("train", file, "--out", run)
    assert (status, f"or go on with it: tsjax resume {run}." in err) == (2, True)


def test_the_experiment_of_a_run_is_whole_or_not_there(interrupted):
    """What was written parses to the experiment that was run, defaults and all."""
    run, _ = interrupted
    train = load_experiment(run / "experiment.toml").train
    assert (train.epochs, train.checkpoints, train.clip_norm, train.average) == (4, 2, 1.0, None)
    assert not (run / ".experiment.toml").exists()
