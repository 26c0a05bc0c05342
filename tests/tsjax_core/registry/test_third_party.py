"""Components of somebody else's plugin, by name in an experiment and on the command line."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import tomli_w

from tsjax_core import cli
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.experiment import load_experiment, parse_experiment
from tsjax_core.registry import registry

ACME = """
from collections.abc import Callable
from dataclasses import dataclass
import jax.numpy as jnp
from tsjax_core import hookimpl

def offset(by: float, channels: tuple[int, ...] = (), mode: "Mode" = None, f: Callable = abs):
    '''Shift the targets.

    Args:
        by: In the unit of the outputs.
    '''
    if by == 0:
        raise ValueError("by = 0 would change nothing")

    def transform(batch):
        return {**batch, "y": batch["y"] + by}
    return transform

@dataclass(frozen=True)
class Power:
    '''Mean absolute error to a power.'''
    exponent: float = 1.0

    def __post_init__(self):
        if self.exponent <= 0.0:
            raise ValueError(f"exponent = {self.exponent}; give a positive one.")

    def __call__(self, pred, target, y_mean, y_std):
        return jnp.mean(jnp.abs(pred - target) ** self.exponent)

@hookimpl
def tsjax_transforms():
    return {"offset": offset}

@hookimpl
def tsjax_losses():
    return {"power": Power}
"""


@pytest.fixture
def acme(site):
    """Install the plugin `acme` for one test."""
    site.install("acme", ACME)
    registry._installed.cache_clear()
    yield site
    registry._installed.cache_clear()


@pytest.fixture
def tables(oscillator) -> dict:
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "win_sz": 40, "stp_sz": 40, "bs": 8}
    return {"data": data, "model": {"name": "core/rnn", "hidden_size": 2}}


def test_transforms_and_losses_take_their_options_by_name(acme, tables):
    """A factory is called with the options beside its name; the term keeps its name."""
    tables["transform"] = [{"name": "acme/offset", "by": 1000}]
    tables["loss"] = [{"name": "acme/power", "exponent": 2.0, "weight": 3.0}]
    learner = parse_experiment(tables).build()
    result = learner.fit(1, show_progress=False)[0]
    assert result.train_loss == pytest.approx(3.0 * 1000.0**2, rel=1e-2)
    assert set(result.terms) == {"power"}
    again = parse_experiment(parse_experiment(tables).to_tables())
    assert list(again.transform) == tables["transform"]


@pytest.mark.parametrize(
    "transforms,parts",
    [
        ([{"name": "acme/offset"}], ["[transform] 'by' is missing; it is float"]),
        ([{"name": "acme/offset", "by": "much"}], ["[transform] by: expected a number", "'much'"]),
        ([{"name": "acme/offset", "by": 1, "channels": [0, "x"]}], ["channels", "'x'"]),
        (
            [{"name": "acme/offset", "by": 1, "mode": "up"}],
            ["[transform] mode: it is Mode", "cannot be given"],
        ),
        ([{"name": "acme/offset", "by": 1, "f": "abs"}], ["[transform] f", "cannot be given"]),
        (
            [
                {"name": "acme/offset", "by": 1},
                {"name": "acme/offset", "by": 2, "evaluation": "no"},
            ],
            ["[transform] evaluation: expected true or false, got 'no'"],
        ),
    ],
)
def test_options_that_do_not_fit_are_told(acme, tables, transforms, parts):
    """As for core's own components."""
    with pytest.raises(ConfigError) as caught:
        parse_experiment({**tables, "transform": transforms}).build()
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_several_transforms_act_one_after_the_other(acme, tables):
    """Also two of one name, and one that another wraps."""
    offset = {"name": "acme/offset", "by": 1000}
    always = {"name": "core/with_probability", "p": 1.0, "transform": offset}
    tables["transform"] = [offset, {**offset, "evaluation": True}, always]
    tables["loss"] = [{"name": "core/mae"}]
    learner = parse_experiment(tables).build()
    result = learner.fit(1, show_progress=False)[0]
    assert result.train_loss == pytest.approx(3000.0, rel=1e-2)
    assert result.valid_loss == pytest.approx(1000.0, rel=1e-2)


@pytest.mark.parametrize(
    "name,table,told",
    [
        ("loss", {"name": "acme/power", "exponent": -1}, "Power: exponent = -1.0; give a positive"),
        ("transform", {"name": "acme/offset", "by": 0}, "offset: by = 0 would change nothing"),
    ],
)
def test_a_value_that_a_component_refuses_is_told_with_its_place(
    acme, tables, tmp_path, name, table, told
):
    """A ValueError of a class or function becomes an error of the file's table."""
    file = tmp_path / "e.toml"
    file.write_text(tomli_w.dumps({**tables, name: [table]}))
    with pytest.raises(ConfigError) as caught:
        load_experiment(file).build()
    print(caught.value)
    assert str(caught.value).startswith(f"{file}: [{name}] {told}")
    assert (caught.value.key, caught.value.file) == (name, file)
    assert isinstance(caught.value.__cause__, ValueError)


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out = capsys.readouterr()
    print(out.out, out.err)
    return (left.value.code or 0), out.out, out.err


def test_a_broken_plugin_is_a_row_and_exit_status_1(acme, monkeypatch, capsys):
    """Everything else is listed, and its names resolve."""
    acme.install("shaky", "import not_installed_anywhere")
    registry._installed.cache_clear()
    status, out, _ = run(monkeypatch, capsys, "plugins")
    assert status == 1
    assert "not_installed_anywhere" in out
    assert "fake-acme" in out
    assert "1 loss, 1 transform" in out
    status, out, _ = run(monkeypatch, capsys, "show", "acme/offset")
    assert status == 0
    assert "In the unit of the outputs." in out
    assert "(required)" in out
    assert "Mode" in out


def test_show_finds_a_component_beside_a_broken_hook(acme, monkeypatch, capsys):
    """Of a plugin with one broken hook, the other kinds are shown; the broken one is told."""
    acme.install("half", acme.hook("plot", "{'curve': lambda: None}") + acme.hook("loss", "1 / 0"))
    registry._installed.cache_clear()
    status, out, _ = run(monkeypatch, capsys, "show", "half/curve")
    assert status == 0
    assert "half/curve, a plot" in out
    status, _, err = run(monkeypatch, capsys, "show", "half/power")
    assert status == 1
    assert "plugin 'half' (fake-half 1.2) fails in tsjax_losses(): ZeroDivisionError" in err


def test_show_imports_the_plugin_of_the_namespace_alone(acme, monkeypatch, capsys):
    """Core's options are shown without importing any other plugin; `list` imports them all."""
    assert run(monkeypatch, capsys, "show", "core/gru")[0] == 0
    assert "fake_acme" not in sys.modules
    assert run(monkeypatch, capsys, "list")[0] == 0
    assert "fake_acme" in sys.modules


def test_predict_takes_scalars_from_attributes(two_by_three, tmp_path, monkeypatch, capsys):
    """A model that reads and gives scalars is run on a file; CSV files have none."""
    experiment = {
        "data": {
            "dataset": str(two_by_three),
            "u": ["a", "b"],
            "y": [],
            "u_scalars": ["mass"],
            "y_scalars": ["wear"],
            "win_sz": 30,
            "stp_sz": 15,
            "bs": 8,
            "valid": "files",
        },
        "model": {
            "name": "core/gru",
            "hidden_size": 2,
            "scalar_inputs": True,
            "output": "last",
        },
        "train": {"epochs": 1, "metrics": ["core/rmse"]},
    }
    (tmp_path / "e.toml").write_text(tomli_w.dumps(experiment))
    out = tmp_path / "run"
    assert run(monkeypatch, capsys, "train", tmp_path / "e.toml", "--out", out)[0] == 0
    data = two_by_three / "test" / "part_1.hdf5"
    written = tmp_path / "wear.csv"
    assert run(monkeypatch, capsys, "predict", out, data, "--out", written)[0] == 0
    header, *rows = csv.reader(written.read_text().splitlines())
    assert header == ["wear"]
    assert len(rows) == 1
    assert np.isfinite(float(rows[0][0]))
    (tmp_path / "u.csv").write_text("a,b\n1,2\n3,4\n")
    status, _, err = run(monkeypatch, capsys, "predict", out, tmp_path / "u.csv")
    assert status == 2
    assert "reads the scalars mass" in err
    assert not (tmp_path / "u_predicted.csv").exists()


def test_without_matplotlib_training_says_how_to_get_figures(tables, tmp_path, monkeypatch, capsys):
    """The run is complete but for its figures."""
    monkeypatch.setattr("tsjax_core.experiments.report.find_spec", lambda name: None)
    (tmp_path / "e.toml").write_text(tomli_w.dumps({**tables, "train": {"epochs": 1}}))
    status, out, _ = run(monkeypatch, capsys, "train", tmp_path / "e.toml", "--out", tmp_path / "r")
    assert status == 0
    assert 'no figures: install matplotlib with pip install "tsjax-core[viz]"' in out
