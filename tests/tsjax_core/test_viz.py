"""Figures: drawn without a screen, with a label on every axis and a curve for every channel."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import EpochResult, create_grain_dls, plot_batch, plot_history, plot_results


@pytest.fixture(scope="module")
def batch(two_by_three) -> dict:
    data = create_grain_dls(["a", "b"], ["p", "q", "r"], two_by_three, win_sz=50, stp_sz=10, bs=6)
    return next(data.train_batches(0))


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_a_batch_shows_inputs_over_outputs_in_at_most_four_columns(batch, tmp_path):
    """Channels by their names, time in seconds where the sampling time is known."""
    figure = plot_batch(batch, inputs=["a", "b"], outputs=["p", "q", "r"], dt=0.1)
    assert len(figure.axes) == 8
    assert labels(figure.axes[0]) == ["a", "b"]
    assert labels(figure.axes[4]) == ["p", "q", "r"]
    assert figure.axes[0].get_ylabel() == "inputs"
    assert figure.axes[4].get_ylabel() == "outputs"
    assert figure.axes[4].get_xlabel() == "time in s"
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), batch["u"][0, :, 1])
    assert figure.axes[0].lines[0].get_xdata()[-1] == pytest.approx(4.9)
    figure.savefig(tmp_path / "batch.png")
    assert figure.get_figwidth() * figure.dpi == 1000


def test_a_batch_without_names_and_outputs_is_drawn():
    """Scalar targets have no curve; channels are numbered and time is in samples."""
    figure = plot_batch({"u": np.zeros((1, 9, 2)), "y_scalar": np.zeros((1, 1))})
    assert len(figure.axes) == 1
    assert labels(figure.axes[0]) == ["u0", "u1"]
    assert figure.axes[0].get_xlabel() == "sample"


def test_results_show_each_output_over_its_error():
    """The error is measured minus simulated, with its RMSE, from the first scored sample on."""
    target = np.stack([np.arange(20.0), np.ones(20)], 1)
    figure = plot_results(target - [3.0, 0.0], target, outputs=["p", "q"], dt=0.5, start=10)
    value, error, _, other = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["p", "error of p", "q", "error of q"]
    assert labels(value) == ["measured", "simulated"]
    np.testing.assert_allclose(error.lines[0].get_ydata(), 3.0)
    np.testing.assert_allclose(other.lines[0].get_ydata(), 0.0)
    assert error.get_title(loc="right") == "RMSE 3"
    assert value.lines[0].get_xdata()[0] == 5.0
    assert other.get_xlabel() == "time in s"
    assert plot_results(target, target).axes[0].get_ylabel() == "y0"


def test_results_with_gaps_show_what_was_measured():
    """Single samples are points, the RMSE is over them, and a channel without any has none."""
    target = np.full((20, 2), np.nan)
    target[::5, 0] = [1.0, 2.0, 3.0, 4.0]
    figure = plot_results(np.zeros((20, 2)), target)
    measured = figure.axes[0].lines[0]
    assert measured.get_marker() == "."
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(measured.get_ydata())), [0, 5, 10, 15])
    assert figure.axes[1].get_title("right") == f"RMSE {np.sqrt(30 / 4):.3g}"
    assert figure.axes[3].get_title("right") == "RMSE nan"


def test_a_history_shows_every_named_term_where_there_are_several():
    """One term is the training loss itself; two are drawn beside it."""
    one = [EpochResult(i, 1.0 / (i + 1), 2.0, terms={"mae": 1.0 / (i + 1)}) for i in range(3)]
    assert labels(plot_history(one).axes[0]) == ["train", "valid"]
    two = [EpochResult(i, 3.0, 2.0, terms={"fit": 1.0, "physics": 2.0}) for i in range(3)]
    axis = plot_history(two).axes[0]
    assert labels(axis) == ["train", "valid", "train, fit", "train, physics"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "loss")
    assert list(axis.lines[0].get_xdata()) == [1, 2, 3]


@pytest.mark.slow
def test_figures_need_no_pyplot():
    """Nothing is registered with matplotlib's global state, and no window can open."""
    import subprocess
    import sys

    code = (
        "import sys, numpy as np; from tsjax_core import plot_results;"
        "plot_results(np.zeros((5, 1)), np.ones((5, 1)));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
