"""Figures of results: what is drawn, for one output and for many, with gaps and without names."""

from __future__ import annotations

import numpy as np
import pytest

from tsjax_core import plot_results
from tsjax_core.judging.figures import worst_stretch
from tsjax_core.types import Signals


def axes_of(figure):
    return [axis for axis in figure.axes if axis.lines]


def line(axis, label):
    return next(each for each in axis.lines if each.get_label() == label)


def legend(figure):
    (only,) = figure.legends
    return [text.get_text() for text in only.get_texts()]


def test_a_short_record_is_shown_whole_with_its_error():
    """The error is measured minus simulated, on the scale of the output."""
    target = np.stack([np.arange(20.0), np.ones(20)], 1)
    figure = plot_results(target - [3.0, 0.0], target, outputs=["p", "q"], dt=0.5, start=10)
    first, second = axes_of(figure)
    assert (first.get_ylabel(), second.get_ylabel()) == ("p", "q")
    assert legend(figure) == ["measured", "simulated", "measured less simulated"]
    error = line(first, "measured less simulated")
    np.testing.assert_allclose(error.get_ydata(), 3.0)
    assert error.get_xdata()[0] == 5.0
    assert first.get_title("right") == f"fit {100 * (1 - 3 / np.arange(20).std()):.1f} %, RMSE 3"
    assert second.get_title("right") == "RMSE 0"
    assert second.get_xlabel() == "time in s"
    assert axes_of(plot_results(target, target))[0].get_ylabel() == "y0"
    # As a notebook shows it.
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_long_record_is_enlarged_where_it_is_worst_and_as_usual():
    """With the inputs below, the linear model beside, and the units on the axes."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((3000, 1))
    pred = target + 0.1 * rng.standard_normal((3000, 1))
    pred[1200:1300] += 2.0
    signals = Signals(("u",), ("y",), dt=0.01, units={"u": "V", "y": "rad/s"})
    batch = {"u": rng.standard_normal((3100, 1))}
    figure = plot_results(
        pred, target, dt=0.01, start=100, signals=signals, batch=batch, reference=0.5 * target
    )
    whole, worst, usual, *inputs = axes_of(figure)
    assert whole.get_ylabel() == "y in rad/s"
    assert [axis.get_title("left") for axis in (worst, usual)] == [
        "where the error is largest",
        "where it is as usual",
    ]
    shown = line(worst, "measured").get_xdata()
    assert shown[0] <= 13.0
    assert shown[-1] >= 13.99
    assert len(shown) == 300
    assert len(inputs) == 2
    np.testing.assert_allclose(
        inputs[0].lines[0].get_ydata(),
        batch["u"][100:][round(shown[0] / 0.01) - 100 : round(shown[0] / 0.01) + 200, 0],
    )
    assert "input u in V" in legend(figure)
    assert "linear" in legend(figure)
    assert "linear: fit 50" in whole.get_title("right")
    assert figure.get_figwidth() * figure.dpi == 1000


@pytest.mark.parametrize("n", [3, 6])
def test_many_outputs_stand_in_two_columns_with_one_legend(n):
    """No higher than a page, however many there are."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((1000, n))
    figure = plot_results(0.9 * target, target)
    assert len(axes_of(figure)) == 2 * n
    assert figure.get_figheight() * figure.dpi < 1150
    legend(figure)


def test_gaps_and_bands():
    """Single samples are points, an output that was not measured says so, and a band is drawn."""
    target = np.full((20, 2), np.nan)
    target[::5, 0] = [1.0, 2.0, 3.0, 4.0]
    figure = plot_results(np.zeros((20, 2)), target, band=np.ones((20, 2)))
    first, second = axes_of(figure)
    assert line(first, "measured").get_marker() == "."
    assert f"RMSE {np.sqrt(30 / 4):.3g}" in first.get_title("right")
    assert second.get_title("right") == "not measured"
    assert "band" in legend(figure)


def test_the_worst_stretch_is_that_of_all_errors():
    """Together, and a record that is shorter is shown whole."""
    errors = [np.zeros(1000), np.zeros(1000)]
    errors[0][100], errors[1][800:803] = 1.0, 1.0
    part = worst_stretch(errors, 50)
    assert part.start <= 800
    assert part.stop >= 803
    assert worst_stretch([np.ones(7)], 50) == slice(0, 7)
