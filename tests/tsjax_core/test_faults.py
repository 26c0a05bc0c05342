"""Mistakes and accidents at the command line: each ends with a text that says what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from tsjax_core import GRU, Learner, create_grain_dls, load_model
from tsjax_core.commands import console
from tsjax_core.errors import DivergenceError, NonFiniteError, SavedModelError
from tsjax_core.experiments import report

HUGE = "1" + 22 * "0"


@pytest.fixture
def experiment(oscillator, tmp_path):
    """An experiment of one epoch of a small model."""
    file = tmp_path / "e.toml"
    file.write_text(
        f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 100\n"
        "[model]\nname = 'core/rnn'\nhidden_size = 2\n[train]\nepochs = 1\n"
    )
    return file


@pytest.mark.parametrize(
    "change,parts",
    [
        (f"data.win_sz={HUGE}", ("--set data.win_sz", "give a whole number of at most")),
        (f"data.stp_sz={HUGE}", ("--set data.stp_sz", "at most")),
        (f"data.n_batches={HUGE}", ("--set data.n_batches", "at most")),
        (f"train.devices={HUGE}", ("--set train.devices", "at most")),
        ("train.lr=-1", ("--set train.lr=-1: ", "lr")),
        ("data.dataset=", ("--set data.dataset=: ", "dataset is empty")),
        ("data.dataset=$NOT_SET/x", ("NOT_SET", "is written $$")),
        ("train.lr=1e-3\nmodel.hidden_size=3", ("has a line break",)),
        ("data.u=" + 5000 * "[", ("--set data.u: its brackets are nested too deeply",)),
        ("model.hidden_size=0", ("--set model.hidden_size=0: [model]", "at least 1")),
    ],
    ids=lambda value: value[:22] if isinstance(value, str) else "",
)
def test_a_bad_change_is_blamed_and_nothing_is_written(experiment, tsjax, tmp_path, change, parts):
    """The option is named, not the file, in which the value does not stand."""
    out = tmp_path / "run"
    status, _, err = tsjax("train", experiment, "--out", out, "--set", change)
    print(err)
    assert status == 2
    assert all(part in err for part in parts)
    assert not out.exists()
    assert "e.toml: [train]" not in err


@pytest.mark.parametrize(
    "text,part",
    [
        ('[data]\ndataset = "C:\\data\\motor.csv"\n', "write the path in single quotes"),
        ("a = " + 5000 * "[", "its brackets are nested too deeply"),
        ("{data}[[loss]]\nname='core/mse'\nweight=-1.0\n", "weight = -1.0; give a finite number"),
        ("{data}[[loss]]\nname='core/mse'\nweight=nan\n", "weight = nan; give a finite number"),
        ("{data}[[loss]]\nname='core/mse'\nweight=0\n", "every weight is 0"),
    ],
    ids=["backslashes", "brackets", "negative weight", "no weight", "zero weight"],
)
def test_a_bad_file_is_named(experiment, tsjax, tmp_path, text, part):
    """With what to write instead."""
    text = text.replace("{data}", experiment.read_text())
    experiment.write_text(text)
    status, _, err = tsjax("train", experiment, "--out", tmp_path / "run")
    print(err)
    assert status == 2
    assert "e.toml: " in err
    assert part in err
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model."""
    u = np.random.default_rng(0).standard_normal(200)
    data = create_grain_dls(["u"], ["y"], {"u": u, "y": u}, win_sz=20, dt=0.1)
    return Learner(GRU(hidden_size=2), data).save(tmp_path_factory.mktemp("saved") / "model")


def change_description(saved, folder, change):
    """Return a copy of a saved model with another description."""
    shutil.copytree(saved, folder)
    file = folder / "model.json"
    description = json.loads(file.read_text())
    change(description)
    file.write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize(
    "change,part",
    [
        (lambda d: d["signals"].update(stats={}), "there are no statistics of 'u'"),
        (lambda d: d["signals"].update(dt=0.0), "dt = 0.0 is no sampling time"),
        (lambda d: d["signals"].update(dt="fast"), "dt = 'fast' is no sampling time"),
        (lambda d: d["signals"]["stats"]["u"].update(std=[-1.0]), "of 'u' is below 0"),
        (lambda d: d["signals"]["stats"]["y"].update(mean=[float("nan")]), "'y' are not finite"),
        (lambda d: d["options"].update(hidden_size=20_000), "do not fit the options"),
        (lambda d: d["options"].update(hidden_size=10**9), "this machine has"),
    ],
    ids=["no statistics", "dt 0", "dt text", "negative", "not finite", "large", "too large"],
)
def test_a_changed_model_is_refused_before_it_is_built(saved, tmp_path, change, part):
    """A description that claims gigabytes takes none."""
    folder = change_description(saved, tmp_path / "copy", change)
    with pytest.raises(SavedModelError, match=part) as caught:
        load_model(folder)
    print(caught.value)
    assert load_model(saved).dt == pytest.approx(0.1)


def test_a_description_of_brackets_is_damaged(saved, tmp_path):
    """And not a traceback."""
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    (folder / "model.json").write_text(100_000 * "[")
    with pytest.raises(SavedModelError, match="is damaged"):
        load_model(folder)


def test_a_full_disk_names_the_file_of_the_report(experiment, tsjax, tmp_path, monkeypatch):
    """The error of the system does not name it."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "csv", SimpleNamespace(writer=refuse))
    status, _, err = tsjax("train", experiment, "--out", tmp_path / "run")
    print(err)
    assert status == 1
    assert "No space left on device" in err
    assert "scores.csv" in err


def test_a_reader_that_ends_early_is_named():
    """`tsjax list | head -1` ends with a word on standard error."""
    code = "import tsjax_core.cli as c; c.make_console().print('x' * 100_000); c.main()"
    read, write = os.pipe()
    # Without buffers, Python drops what a pipe does not take, and reports nothing.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        os.close(write)
        os.read(read, 1)
        os.close(read)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nothing reads the output any more" in err
    assert "Traceback" not in err


def test_a_deleted_working_directory_is_named(tmp_path, tsjax, monkeypatch):
    """Nothing relative can be read or written then."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    status, _, err = tsjax("list")
    monkeypatch.chdir(tmp_path)
    assert (status, "the working directory has been deleted" in err) == (1, True)


def test_errors_have_colour_on_a_terminal_alone(monkeypatch, capsys):
    """In a pipe or a file there are no control characters."""
    console.show_error("[brackets] stay")
    assert capsys.readouterr().err == "error: [brackets] stay\n"
    real = Console

    def terminal(**options):
        return real(**options, force_terminal=True, color_system="standard")

    monkeypatch.setattr(console, "Console", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console.show_error("[brackets] stay")
    assert capsys.readouterr().err.startswith("\x1b[1;31merror:\x1b[0m ")


@pytest.mark.parametrize(
    "change,part",
    [
        ({"u": np.nan}, "1 in 'u'"),
        ({"y": np.inf}, "1 in 'y'"),
    ],
    ids=["missing input", "infinite output"],
)
def test_samples_that_no_model_can_compute_with_are_blamed(change, part):
    """And not the learning rate, where they are accepted by allow_nan."""
    rng = np.random.default_rng(0)
    splits = {}
    for split in ("train", "valid", "test"):
        splits[split] = {name: rng.standard_normal(40) for name in "uy"}
    for name, value in change.items():
        splits["train"][name][20] = value
    data = create_grain_dls(["u"], ["y"], splits, win_sz=40, stp_sz=40, allow_nan=True)
    learner = Learner(GRU(hidden_size=2), data)
    with pytest.raises(DivergenceError) as caught:
        learner.fit(1, show_progress=False)
    print(caught.value.advice)
    assert part in caught.value.advice
    assert "lower lr" not in caught.value.advice


def test_a_part_without_any_measured_output_is_named():
    """Before anything is trained."""
    rng = np.random.default_rng(0)
    splits = {
        split: {name: rng.standard_normal(60) for name in "uy"}
        for split in ("train", "valid", "test")
    }
    splits["valid"]["y"][:] = np.nan
    with pytest.raises(NonFiniteError, match="y: no finite sample in any file of valid") as caught:
        create_grain_dls(["u"], ["y"], splits, win_sz=40, allow_nan=True)
    print(caught.value)
