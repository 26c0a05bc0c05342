"""Figures of errors over time."""

from __future__ import annotations

import numpy as np
import pytest

import tsjax_quat as tq

pytest.importorskip("matplotlib")

PLOTS = {
    tq.plot_quaternion: 3,
    tq.plot_inclination: 2,
    tq.plot_relative_angle: 2,
    tq.plot_heading: 2,
}


@pytest.mark.parametrize("plot", PLOTS, ids=lambda f: f.__name__)
def test_every_axis_is_labelled_and_shows_what_does_not_count(case, plot, tmp_path):
    """As many axes as it says, time in s, the RMS of the samples that count, the others grey."""
    target = tq.from_rotation_vector(np.linspace(0, 1, 40)[:, None] * np.array([1.0, 0.0, 0.0]))
    pred = tq.multiply(tq.from_rotation_vector(np.array([0.0, 0.02, 0.0])), target)
    pred[20:] = case.draw(0, 20)
    target[20:] = np.nan
    figure = plot(pred, target, signals=case.signals, title="test", start=10, dt=0.5)
    figure.savefig(tmp_path / "figure.png")
    assert len(figure.axes) == PLOTS[plot]
    for axis in figure.axes:
        assert "deg" in axis.get_ylabel()
        assert axis.collections
        for line in axis.get_lines():
            assert np.array_equal(np.isnan(line.get_ydata()), np.arange(40) >= 20)
            np.testing.assert_allclose(line.get_xdata()[[0, -1]], [5.0, 24.5])
    assert figure.axes[-1].get_xlabel() == "time in s"
    assert figure.get_suptitle() == "test"
    shown = [axis.get_title(loc="right") for axis in figure.axes]
    error = np.degrees(0.02)
    if plot in (tq.plot_quaternion, tq.plot_inclination):
        assert f"RMS {error:.3g} deg" in shown


def test_several_quaternions_without_a_reference(case):
    """Three axes for each, though nothing was measured."""
    names = tuple(f"{stem}_{axis}" for stem in ("thigh", "shank") for axis in "wxyz")
    pred = np.tile(np.eye(4)[0], (9, 2))
    figure = tq.plot_quaternion(pred, np.full((9, 8), np.nan), signals=case.signals_of(names))
    assert len(figure.axes) == 6
    assert "of shank" in figure.axes[-1].get_ylabel()
    assert figure.axes[-1].get_xlabel() == "sample"
    tq.plot_heading(pred, np.full((9, 8), np.nan), signals=case.signals_of(names))
