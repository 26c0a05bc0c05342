"""Every example runs from beginning to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsjax_core import cli

EXAMPLES = Path(__file__).parents[2] / "examples"
MEASURED = pytest.mark.skipif("TSJAX_DATA" not in os.environ, reason="TSJAX_DATA is not set")


def test_no_example_is_left_out():
    """Scripts and experiments below, and those of tsjax-ss, which have their tests there."""
    names = {path.name for path in EXAMPLES.iterdir()}
    assert names == {
        "cascaded_tanks.py",
        "control.py",
        "dead_time.py",
        "file_to_report.py",
        "how_sure.py",
        "identibench_scores.py",
        "mass_spring_damper.py",
        "official_benchmarks.py",
        "oscillator.py",
        "pendulum.py",
        "saturating_sensor.py",
        "silverbox.toml",
        "silverbox_state_space.toml",
        "slow_measurement.py",
        "two_pumps.py",
        "wiener_hammerstein.toml",
        "wiener_hammerstein_state_space.toml",
    }


@pytest.mark.slow
def test_the_oscillator_is_identified(tmp_path):
    """Two epochs of the script write a model and three figures."""
    command = [sys.executable, EXAMPLES / "oscillator.py", tmp_path, "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "test RMSE in V: 0.0" in done.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"data", "model", "history.png", "arrow.png", "batch.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,says",
    [
        ("control", r"after 10 s the cart is 0\.0\d\d m from its target"),
        ("dead_time", r"tcn/tcn: NRMSE on test 0\.[12]"),
        ("file_to_report", r"report: .*report\.html"),
        ("how_sure", r"bands of 90 % hold (8|9)\d % of the errors on test"),
        ("saturating_sensor", r"ss/wiener: NRMSE on test 0\.0[12]"),
        ("slow_measurement", r"samples of the test: 0\.0"),
        ("two_pumps", r"ss/neural: fit on test 9[78]\."),
    ],
)
def test_an_example_on_a_simulated_system_ends_as_it_says(name, says, tmp_path):
    """In a directory of its own, with what it promises in the last lines."""
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert re.search(says, done.stdout)


@pytest.mark.slow
@MEASURED
@pytest.mark.parametrize(
    "name,files",
    [
        ("silverbox", ["arrow_full", "arrow_no_extrapolation", "multisine"]),
        ("wiener_hammerstein", ["test"]),
    ],
)
def test_experiments_on_measured_data_run(name, files, tmp_path, monkeypatch, capsys):
    """One epoch already beats the mean of the measured output, on every test file."""
    out = tmp_path / "run"
    arguments = ["train", EXAMPLES / f"{name}.toml", "--out", out, "--set", "train.epochs=1"]
    monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr().out
    print(printed)
    assert not left.value.code
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    for file in files:
        fits = [float(row[-1]) for row in rows if file in row[0]]
        assert fits
        assert min(fits) > 20.0
        assert any(file in path.name for path in (out / "report").glob("*.png"))


def load_example(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def measure_saturated(n, rng):
    """Return input and output, each (n,), of a first-order system behind a saturation."""
    u = np.repeat(rng.standard_normal(n // 5), 5)
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.8 * y[t - 1] + 0.3 * np.tanh(1.5 * u[t - 1])
    return u, y


class Record(SimpleNamespace):
    """A record in the form of nonlinear-benchmarks."""

    def __len__(self):
        return len(self.u)


@pytest.mark.slow
def test_the_official_benchmarks_are_identified_as_their_package_gives_them(tmp_path):
    """On records in the form of the package; without it, the script says what to install."""
    path = EXAMPLES / "official_benchmarks.py"
    example = load_example("official_benchmarks")
    rng = np.random.default_rng(0)

    def measure(n):
        u, y = measure_saturated(n, rng)
        return Record(u=u, y=y, sampling_time=0.1, state_initialization_window_length=20)

    train, test = measure(1500), measure(600)
    scores = example.identify(train, (test, test))
    assert scores["ss/neural"] < 0.3 * scores["core/linear"]
    if find_spec("nonlinear_benchmarks") is None:
        done = subprocess.run(
            [sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "pip install nonlinear-benchmarks" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 20])
def test_the_model_for_identibench_takes_what_the_package_gives(first, tmp_path):
    """Sequences in, simulated outputs out; without the package, the script says what to install."""
    example = load_example("identibench_scores")
    rng = np.random.default_rng(1)

    def give(n):
        u, y = measure_saturated(n, rng)
        return SimpleNamespace(u=u[:, None], y=y[:, None], attrs={"fs": 10.0})

    train, valid, test = give(1500), give(400), give(600)
    errors = {}
    for model, options in (("core/linear", {}), ("ss/neural", {"hidden_size": 4})):
        context = SimpleNamespace(
            spec=SimpleNamespace(
                u_cols=["u0"], y_cols=["y0"], task=SimpleNamespace(init_window=first)
            ),
            hyperparameters={"model": model, "model_options": options, "seconds": 5},
            seed=None,
            get_train_sequences=lambda: iter([train]),
            get_valid_sequences=lambda: iter([valid]),
            get_test_sequences=lambda: iter([test]),
        )
        simulate = example.build_model(context)
        out = simulate(test.u, test.y[:first], test.attrs)
        assert out.shape == test.y.shape
        errors[model] = np.sqrt(np.mean((out - test.y)[first:] ** 2))
    assert errors["ss/neural"] < 0.3 * errors["core/linear"]
    if find_spec("identibench") is None:
        path = EXAMPLES / "identibench_scores.py"
        done = subprocess.run(
            [sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "pip install identibench" in done.stderr
