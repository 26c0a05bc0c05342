"""Figures: drawn without a screen, with a label on every axis and a curve for every channel."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import EpochResult, create_grain_dls, plot_batch, plot_history


@pytest.fixture(scope="module")
def batch(two_by_three) -> dict:
    data = create_grain_dls(["a", "b"], ["p", "q", "r"], two_by_three, win_sz=50, stp_sz=10, bs=6)
    return next(data.train_batches(0))


def legend(figure) -> list[str]:
    (only,) = figure.legends
    assert not any(axis.get_legend() for axis in figure.axes)
    return [text.get_text() for text in only.get_texts()]


def test_a_batch_shows_inputs_over_outputs_in_at_most_four_columns(batch, tmp_path):
    """Channels by their names, time in seconds where the sampling time is known."""
    figure = plot_batch(batch, inputs=["a", "b"], outputs=["p", "q", "r"], dt=0.1)
    assert len(figure.axes) == 8
    assert legend(figure) == ["a", "b", "p", "q", "r"]
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
    assert legend(figure) == ["u0", "u1"]
    assert figure.axes[0].get_xlabel() == "sample"


def test_a_history_shows_every_named_term_where_there_are_several():
    """One term is the training loss itself; two are drawn beside it."""
    one = [EpochResult(i, 1.0 / (i + 1), 2.0, terms={"mae": 1.0 / (i + 1)}) for i in range(3)]
    assert legend(plot_history(one)) == ["train", "valid"]
    two = [EpochResult(i, 3.0, 2.0, terms={"fit": 1.0, "physics": 2.0}) for i in range(3)]
    figure = plot_history(two, kept=1)
    axis = figure.axes[0]
    assert legend(figure) == ["train", "valid", "train, fit", "train, physics", "kept: epoch 2"]
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
