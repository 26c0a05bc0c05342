"""Losses around losses in experiment files."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from tsjax_core import cli, mse, normalized_mse
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.components import decode_options, loss_within
from tsjax_core.experiments.experiment import load_experiment
from tsjax_core.experiments.run import load_learner
from tsjax_core.options import options_of
from tsjax_core.protocols import BatchTransform, LossTerm

TABLES = {
    "data": {"dataset": "data", "u": ["u"], "y": ["y"], "win_sz": 40, "stp_sz": 40, "bs": 8},
    "model": {"name": "core/gru", "hidden_size": 2},
    "train": {"epochs": 1},
}
HUBER = {"name": "core/normalized_huber", "delta": 0.5}


def wrapper(
    loss: LossTerm,
    other: LossTerm | None = None,
    several: Sequence[LossTerm] = (),
    change: BatchTransform | None = None,
) -> LossTerm:
    """Takes components as options."""


def within(**options) -> dict:
    return {**TABLES, "loss": [{"name": "core/skip_n", "n": 5, **options}]}


@pytest.fixture
def folder(oscillator, tmp_path) -> Path:
    (tmp_path / "data").symlink_to(oscillator)
    return tmp_path


def write(folder: Path, tables: dict) -> Path:
    file = folder / "experiment.toml"
    file.write_text(tomli_w.dumps(tables))
    return file


def test_a_component_is_an_option_by_name_or_as_a_table():
    """A term is taken as it is, a factory is called with the options beside its name."""
    table = {"loss": "core/mse", "other": HUBER, "several": ["core/mse", HUBER]}
    got = decode_options(wrapper, table, where="loss", file=None)
    assert got["loss"] is mse
    assert got["several"][0] is mse
    error = np.full((1, 1, 1), 2.0), np.zeros((1, 1, 1)), 0, 1
    assert float(got["other"](*error)) == 0.5 * 2.0 - 0.125
    assert float(got["several"][1](*error)) == 0.5 * 2.0 - 0.125
    change = decode_options(
        wrapper, {"loss": "core/mse", "change": "core/noise"}, where="loss", file=None
    )["change"]
    batch = {"u": np.zeros((1, 2, 1)), "y": np.zeros((1, 2, 1))}
    assert set(change(batch, key=np.array([0, 1], np.uint32))) == set(batch)


def test_options_that_are_components_say_so():
    """As `tsjax show` prints them."""
    types = {option.name: option.type for option in options_of(wrapper)}
    assert types == {
        "loss": "loss",
        "other": "loss | none",
        "several": "list of loss",
        "change": "transform | none",
    }


def test_losses_nest_and_go_by_the_name_of_the_innermost(folder):
    """Two tables with one wrapper are two terms, with the weights beside the outer names."""
    hardest = {"name": "core/hardest", "loss": {"name": "core/skip_n", "n": 5, "loss": HUBER}}
    tables = {**within(loss="core/normalized_mse", weight=2)}
    tables["loss"] += [{**hardest, "weight": 0.5}]
    learner = load_experiment(write(folder, tables)).build()
    weights = [(term.name, term.weight) for term in learner.terms]
    assert weights == [("normalized_mse", 2.0), ("normalized_huber", 0.5)]
    rng = np.random.default_rng(0)
    pred, target = rng.standard_normal((2, 3, 20, 1))
    value = learner.terms[0].loss(pred, target, np.zeros(1), np.ones(1), given={})
    assert value == normalized_mse(pred[:, 5:], target[:, 5:], np.zeros(1), np.ones(1))


def test_only_a_single_loss_within_gives_its_name_on():
    """A loss made of several goes by its own name."""
    assert loss_within(wrapper, {"other": HUBER}) == HUBER
    assert loss_within(wrapper, {"loss": "core/mse"}) == {"name": "core/mse"}
    assert loss_within(wrapper, {"several": ["core/mse", "core/mae"]}) is None


@pytest.mark.parametrize(
    "tables,key,parts",
    [
        (within(), "loss.loss", ["[loss]", "'loss' is missing; it is loss"]),
        (within(loss=3), "loss.loss", ["[loss] loss: expected a loss", "'core/mse'", "got 3"]),
        (within(loss="core/msee"), "loss.loss", ["[loss] loss: ", "Did you mean 'core/mse'?"]),
        (within(loss={"name": "core/msee"}), "loss.loss.name", ["[loss.loss] name: ", "core/mse"]),
        (within(loss={"delta": 1.0}), "loss.loss", ["[loss.loss] name: expected the name", "None"]),
        (
            within(loss={**HUBER, "delta": "x"}),
            "loss.loss.delta",
            ["[loss.loss] delta: expected a number, got 'x'"],
        ),
        (
            within(loss={**HUBER, "dleta": 1.0}),
            "loss.loss.dleta",
            ["[loss.loss]", "Did you mean 'delta'?"],
        ),
        (within(loss={**HUBER, "delta": 0}), "loss.loss.delta", ["[loss.loss]", "delta = 0"]),
        (
            within(loss={"name": "core/mse", "delta": 1}),
            "loss.loss",
            ["[loss.loss] core/mse takes no options, and got 'delta'"],
        ),
        (
            within(loss={"name": "core/skip_n", "n": 1, "loss": {**HUBER, "delta": "x"}}),
            "loss.loss.loss.delta",
            ["[loss.loss.loss] delta: expected a number"],
        ),
        (within(loss="core/skip_n"), "loss.loss.loss", ["[loss.loss]", "'loss' is missing"]),
        (within(loss="core/mse", n=-1), "loss.n", ["[loss] n = -1"]),
        (
            within(loss="core/mse", n=40),
            "loss",
            ["[loss] skip_n(n=40) leaves nothing", "40 samples"],
        ),
        (
            {**TABLES, "loss": within(loss="core/mse")["loss"] * 2},
            "loss",
            ["core/skip_n stands twice"],
        ),
        (
            {**TABLES, "loss": [{"name": "core/activation_regularizer", "name_": "x"}]},
            "loss.name_",
            ["unknown option 'name_'"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_path_to_it(folder, tables, key, parts):
    """File, table within table, and key; the learner is not built."""
    file = write(folder, tables)
    with pytest.raises(ConfigError) as caught:
        load_experiment(file).build()
    print(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert all(part in str(caught.value) for part in parts)
    assert (caught.value.key, caught.value.file) == (key, file)


def test_what_is_no_list_or_no_table_is_told_without_a_file():
    """Options are decoded for Python too."""
    for table, part in (
        ({"loss": "core/mse", "several": "core/mse"}, "several: expected a list, got 'core/mse'"),
        ({"loss": "core/mse", "several": ["core/mse", 1]}, r"several\[1\]: expected a loss"),
        ({"loss": "core/mse", "change": 1}, "change: expected a transform.*'core/noise'"),
        ({"loss": "core/mse", "change": "core/nois"}, "core/noise"),
    ):
        with pytest.raises(ConfigError, match=part) as caught:
            decode_options(wrapper, table, where="loss", file=None)
        print(caught.value)


@pytest.fixture
def tsjax(monkeypatch, capsys):
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        return capsys.readouterr().out

    return run


def test_a_run_has_a_column_for_every_term(folder, tsjax):
    """And a learner that is loaded from it has the same losses."""
    tables = within(loss=HUBER)
    tables["loss"] += [{"name": "core/activation_regularizer", "weight": 0.01}]
    tsjax("train", write(folder, tables), "--out", folder / "run")
    with (folder / "run" / "history.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    terms = [float(row[f"term_{n}"]) for n in ("normalized_huber", "activation_regularizer")]
    assert min(terms) > 0.0
    assert sum(terms) == pytest.approx(float(row["train_loss"]), rel=1e-5)
    learner = load_learner(folder / "run")
    assert learner.loss_weights == {"normalized_huber": 1.0, "activation_regularizer": 0.01}
    assert learner.evaluate("valid").loss == pytest.approx(float(row["valid_loss"]), rel=1e-5)


@pytest.mark.parametrize("name", ["skip_n", "masked", "random_length", "hardest", "ignore_nan"])
def test_show_tells_the_options_of_a_wrapper(tsjax, name):
    """Each with its meaning; the loss inside it is of type loss."""
    text = tsjax("show", f"core/{name}")
    print(text)
    assert f"core/{name}, a loss: " in text
    assert re.search(r"│ loss +│ loss +│ \(required\) +│ A loss, ", text)
