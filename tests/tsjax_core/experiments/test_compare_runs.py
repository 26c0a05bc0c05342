"""Several runs beside each other."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tsjax_core.errors import ConfigError, DataError
from tsjax_core.experiments.compare_runs import compare_runs, tabulate_comparison
from tsjax_core.experiments.run import load_learner


@pytest.fixture(scope="module")
def runs(two_by_three, tmp_path_factory):
    """A linear model, a network that begins at random, and one of two outputs alone."""
    from rich.console import Console

    from tsjax_core.experiments.experiment import load_experiment
    from tsjax_core.experiments.run import train

    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, model, outputs in (
        ("linear", "name = 'core/linear'\norder = 3", "['p', 'q', 'r']"),
        ("rnn", "name = 'core/rnn'\nhidden_size = 2", "['p', 'q', 'r']"),
        ("fewer", "name = 'core/linear'\norder = 1", "['p', 'q']"),
    ):
        file = folder / f"{name}.toml"
        epochs = 1 if name == "rnn" else 0
        file.write_text(
            f"[data]\ndataset = {str(two_by_three)!r}\nu = ['a', 'b']\ny = {outputs}\n"
            f"win_sz = 50\n[model]\n{model}\n[train]\nepochs = {epochs}\nn_skip = 5\n"
        )
        train(load_experiment(file), folder / name, Console(quiet=True))
        made[name] = folder / name
    return made


def test_a_table_and_a_figure_of_each_file(runs, tsjax, tmp_path):
    """RMSE and fit of every output of every run, the best of a row with a star."""
    out = tmp_path / "figures"
    status, text, err = tsjax("compare", runs["linear"], runs["rnn"], "--out", out)
    assert status == 0, err
    rows = [line for line in text.splitlines() if re.search(r"│ [pqr] +│", line)]
    assert len(rows) == 3 * 3
    assert all(row.count("*") == 1 for row in rows)
    pred, target = load_learner(runs["linear"]).evaluate("test").pairs[0]
    error = np.sqrt(np.mean((pred - target)[0, :, 1] ** 2))
    fit = 100 * (1 - error / target[0, :, 1].std())
    assert f"{error:.4g} ({fit:.2f})" in text
    assert len(list(out.glob("*.png"))) in (0, 3)
    status, _, err = tsjax("compare", runs["linear"], runs["rnn"], "--out", out)
    if list(out.glob("*.png")):
        assert (status, "exists and is not empty" in err) == (2, True)


def test_other_files_may_be_given(runs, two_by_three):
    """They are simulated by all runs."""
    file = two_by_three / "valid" / "part_1.hdf5"
    comparison = compare_runs([runs["linear"], runs["rnn"]], files=[file])
    assert [list(each.files) for each in comparison.evaluations.values()] == 2 * [["part_1.hdf5"]]
    assert tabulate_comparison(comparison).row_count == 3


def test_what_cannot_be_compared_is_refused(runs):
    """One run alone, one twice, and runs of other outputs."""
    for given, part in (([runs["linear"]], "two runs"), ([runs["rnn"]] * 2, "each once")):
        with pytest.raises(ConfigError, match=part) as caught:
            compare_runs(given)
        print(caught.value)
    with pytest.raises(DataError, match="compare runs of the same outputs") as caught:
        compare_runs([runs["linear"], runs["fewer"]])
    print(caught.value)


def test_the_figure_shows_the_worst_stretch(tmp_path):
    """Measured and every model over it, and the errors over the whole record."""
    pytest.importorskip("matplotlib")
    from tsjax_core.judging.figures import plot_comparison

    rng = np.random.default_rng(0)
    target = rng.standard_normal((1000, 2))
    bad = target.copy()
    bad[700:720] += 5.0
    models = {"good": target + 0.01, "bad": bad}
    figure = plot_comparison(target, models, outputs=["p", "q"], dt=0.1, title="a.csv")
    figure.savefig(tmp_path / "figure.png")
    measured, good, worse = figure.axes[0].get_lines()
    assert [line.get_label() for line in (measured, good, worse)] == ["measured", "good", "bad"]
    shown = measured.get_xdata()
    assert shown[0] <= 70.0
    assert shown[-1] >= 71.9
    assert len(shown) == 300
    np.testing.assert_allclose(figure.axes[1].get_lines()[1].get_ydata()[700:720], -5.0)
