"""From one CSV file to a model beside a linear one, by one command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from rich.console import Console
from scipy.signal import butter, lfilter

from tsjax_core import load_model, predict
from tsjax_core.errors import TrainingError
from tsjax_core.experiments import fit_files
from tsjax_core.experiments.run import load_learner
from tsjax_core.judging.excitation import estimate_memory, measure_excitation, suggest_windows


@pytest.fixture(scope="module")
def motor(tmp_path_factory):
    """A saturating lag at 100 Hz with a column of time, as a drive gives it."""
    rng = np.random.default_rng(0)
    n = 1200
    u, load = (np.repeat(rng.standard_normal(n // 10), 10) for _ in range(2))
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.9 * y[t - 1] + 0.2 * np.tanh(2.0 * u[t - 1]) - 0.05 * load[t - 1]
    file = tmp_path_factory.mktemp("motor") / "motor.csv"
    columns = np.c_[np.arange(n) * 0.01, u, load, y + 0.002 * rng.standard_normal(n)]
    header = "t,voltage,load,speed"
    np.savetxt(file, columns, delimiter=",", header=header, comments="", fmt="%.9g")
    return file


def test_one_command_gives_models_beside_a_linear_one(motor, tsjax, tmp_path):
    """Every candidate is a run that can be used and edited; the best on validation is named."""
    out = tmp_path / "runs"
    signals = ["--u", "voltage", "--u", "load", "--y", "speed", "--time", "t"]
    recipe = ["--recipe", "fast", "--seconds", "8"]
    status, text, err = tsjax("fit", motor, *signals, "--out", out, *recipe)
    assert status == 0, err
    assert "sampling time 0.01 s (100 Hz)" in text
    assert "split: 70 / 15 / 15 %" in text
    assert "windows" not in text
    assert "linear" in text
    assert "(best on validation)" in text
    names = sorted(path.name for path in out.iterdir())
    assert "linear" in names
    losses = {}
    for name in names:
        learner = load_learner(out / name)
        losses[name] = learner.evaluate("valid").loss
        assert predict(load_model(out / name / "model"), np.zeros((20, 2))).shape == (20, 1)
    best = min(losses, key=losses.get)
    assert f"{best} (best on validation)" in text
    assert f"tsjax report {out / best}" in text
    status, _, err = tsjax("fit", motor, *signals, "--out", out)
    assert (status, "exists and is not empty" in err) == (2, True)
    assert tsjax("evaluate", out / best)[0] == 0


def test_what_is_wrong_is_reported_before_anything_is_written(motor, tsjax, tmp_path):
    """Signals that are not there, recipes, times; the directory does not appear."""
    out = tmp_path / "runs"
    for arguments, status, part in (
        (["--u", "volt", "--y", "speed"], 1, "volt"),
        (["--u", "load", "--y", "speed", "--recipe", "slow"], 2, "recipe = 'slow'"),
        (["--u", "load", "--y", "speed", "--seconds", "0"], 2, "seconds = 0.0"),
    ):
        got, _, err = tsjax("fit", motor, *arguments, "--out", out, "--dt", "0.01")
        assert (got, part in err) == (status, True)
        assert not out.exists()


def test_an_experiment_is_compared_with_a_recipe(oscillator, tsjax, tmp_path):
    """`tsjax train --recipe` takes the data of the experiment, and its model as one of several."""
    file = tmp_path / "own.toml"
    data = f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 100\n"
    file.write_text(data + "[model]\nname = 'core/rnn'\nhidden_size = 2\n[train]\nepochs = 1\n")
    out = tmp_path / "runs"
    recipe = ["--recipe", "fast", "--seconds", "4"]
    status, text, err = tsjax("train", file, "--out", out, *recipe)
    assert status == 0, err
    assert {"linear", "experiment"} <= {path.name for path in out.iterdir()}
    assert "training experiment: as the experiment says" in text
    assert "begun as the linear model" in text or "pip install tsjax-ss" in text
    status, _, err = tsjax("train", file, "--out", out, *recipe)
    assert (status, "exists and is not empty" in err) == (2, True)
    status, _, err = tsjax("train", file, "--seconds", "4")
    assert (status, "--seconds 4 is the time of a recipe" in err) == (2, True)


def test_an_experiment_without_a_model_is_data_for_a_recipe(oscillator, tmp_path, monkeypatch):
    """Its own windows are not those of the recipe."""
    file = tmp_path / "data.toml"
    file.write_text(f"[data]\ndataset = {str(oscillator)!r}\nu = ['u']\ny = ['y']\nwin_sz = 9\n")
    seen = []

    def note(candidates, *_):
        seen.extend(candidates)
        raise TrainingError("that is enough.")

    monkeypatch.setattr(fit_files, "try_candidates", note)
    with pytest.raises(TrainingError):
        fit_files.train_by_recipe(file, [], tmp_path / "out", Console(quiet=True), recipe="fast")
    assert "experiment" not in [candidate.name for candidate in seen]
    assert all(candidate.experiment.data["win_sz"] == 128 for candidate in seen)


@pytest.mark.parametrize("form", ["english", "german"])
def test_a_file_of_a_program_of_tables(motor, tsjax, tmp_path, form):
    """Units, dates, decimal commas, a gap, and a level that hides the changes, by one command."""
    columns = np.loadtxt(motor, delimiter=",", skiprows=1)
    begin = datetime(2024, 5, 1, 12, tzinfo=UTC)
    lines = []
    for number, (_, u, load, y) in enumerate(columns):
        stamp = begin + timedelta(milliseconds=10 * number + 3000 * (number >= 700))
        cells = [f"{u:.5f}", f"{load:.5f}", f"{y + 101325.0:.5f}"]
        if form == "german":
            date = stamp.strftime("%d.%m.%Y %H:%M:%S,") + f"{stamp.microsecond // 1000:03}"
            lines.append(";".join([date, *(cell.replace(".", ",") for cell in cells)]))
        else:
            lines.append(",".join([stamp.strftime("%Y-%m-%dT%H:%M:%S.%f"), *cells]))
    names = ["time", "voltage", "load", "pressure"]
    mark = ";" if form == "german" else ","
    head = ["Prüfstand 5", "", mark.join(names), mark.join(["", "V", "Nm", "1/min"])]
    file = tmp_path / "bench.csv"
    file.write_text("\n".join([*head, *lines]) + "\n", encoding="cp1252")
    signals = ["--u", "voltage", "--u", "load", "--y", "pressure"]
    status, out, err = tsjax("inspect", file, *signals)
    assert status == 0, err
    assert "every 0.01 s (100 Hz), 12 s in all, 1 gap" in out
    assert "pressure answers to voltage after" in out
    assert "Suggested: win_sz =" in out
    runs = tmp_path / "runs"
    recipe = ["--recipe", "fast", "--seconds", "4", "--out", runs]
    status, out, err = tsjax("fit", file, *signals, *recipe)
    assert status == 0, err
    assert "time from column 'time', with 1 gap" in out
    assert "is taken off (offsets in [data])" in out
    assert "sampling time 0.01 s (100 Hz)" in out
    found = load_learner(runs / "linear")
    assert dict(found.signals.units) == {"voltage": "V", "load": "Nm", "pressure": "1/min"}
    assert found.pipeline.records("train").lengths.tolist() == [490, 350]
    status, _, err = tsjax("predict", runs / "linear", file, "--out", tmp_path / "y.csv")
    assert (status, "holds 2 records (" in err) == (1, True)
    whole = tmp_path / "part.csv"
    whole.write_text("\n".join([*head, *lines[:500]]) + "\n", encoding="cp1252")
    status, out, err = tsjax("predict", runs / "linear", whole, "--out", tmp_path / "y.csv")
    assert status == 0, err
    table = np.genfromtxt(tmp_path / "y.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["pressure"], columns[:500, 3] + 101325.0, atol=1e-4)
    assert np.abs(table["pressure_simulated"] - table["pressure"]).mean() < 0.5


def test_inspect_says_what_stands_out(tsjax, tmp_path):
    """Of signals that are constant, saturated, quantised, missing or hardly moved."""
    rng = np.random.default_rng(0)
    n = 2000
    columns = {
        "still": np.full(n, 3.0),
        "limited": np.clip(2.0 * rng.standard_normal(n), -1.0, 1.0),
        "coarse": np.round(rng.standard_normal(n) * 4) / 4,
        "gappy": np.where(rng.uniform(size=n) < 0.1, np.nan, rng.standard_normal(n)),
        "stepped": np.repeat(rng.standard_normal(n // 100), 100),
        "switch": rng.integers(0, 2, n),
        "fine": rng.standard_normal(n),
    }
    file = tmp_path / "a.csv"
    rows = [
        ",".join("" if np.isnan(x) else f"{x:.6g}" for x in row)
        for row in zip(*columns.values(), strict=True)
    ]
    file.write_text("\n".join([",".join(columns), *rows]) + "\n")
    status, out, err = tsjax("inspect", file)
    assert status == 0, err
    for name, text in {
        "still": "constant",
        "limited": "saturated?",
        "coarse": "quantised:",
        "gappy": "missing",
        "stepped": "hardly moved: 99 %",
        "switch": "two levels",
    }.items():
        (row,) = [line for line in out.splitlines() if line.startswith(f"│ {name} ")]
        assert text in row
    (row,) = [line for line in out.splitlines() if line.startswith("│ fine ")]
    assert row.rstrip("│ ").endswith("1.0023") or "constant" not in row
    assert f"tsjax inspect {file} --u still --y fine" in out
    status, out, err = tsjax("inspect", file, "--u", "stepped", "--y", "fine")
    assert status == 0, err
    assert "This input was hardly moved" in out
    status, _, err = tsjax("inspect", tmp_path / "none.csv")
    assert (status, "does not exist" in err) == (1, True)
    (tmp_path / "short.csv").write_text("u,y\n1,2\n2,3\n")
    status, _, err = tsjax("inspect", tmp_path / "short.csv", "--u", "u", "--y", "y")
    assert (status, "too few to look at" in err) == (1, True)


def test_delay_and_memory_are_those_of_the_system():
    """A dead time of 7 samples, and a lag that has decayed to 2 % after 38 more."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((6000, 1))
    y = np.zeros((6000, 1))
    for t in range(7, 6000):
        y[t] = 0.9 * y[t - 1] + u[t - 7]
    ((memory,),) = estimate_memory([(u, y)])
    assert memory.delay == 7
    assert memory.length == pytest.approx(7 + np.log(0.02) / np.log(0.9), abs=2)
    assert suggest_windows([[memory]]) == (3 * round(memory.length, -1), round(memory.length, -1))
    assert estimate_memory([(u, rng.standard_normal((6000, 1)) + np.cumsum(u, 0))]) == [[None]]
    assert suggest_windows([[None]]) is None


def test_the_excited_band_is_that_of_the_input():
    """A low-pass input excites up to its corner, white noise all of the band."""
    rng = np.random.default_rng(0)
    slow = lfilter(*butter(8, 0.2), rng.standard_normal(20000))
    found = measure_excitation([np.stack([slow, rng.standard_normal(20000)], 1)], 0.01)
    assert 10.0 < found[0][0] < 16.0
    assert found[1] == (50.0, pytest.approx(1.0, abs=0.02))
