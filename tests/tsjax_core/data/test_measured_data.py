"""Real measurements, where the environment variable TSJAX_DATA names their directory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tsjax_core.data.pipeline import create_grain_dls
from tsjax_core.errors import NonFiniteError

ROOT = Path(os.environ.get("TSJAX_DATA", "."))
pytestmark = pytest.mark.skipif("TSJAX_DATA" not in os.environ, reason="TSJAX_DATA is not set")
AXES = range(6)


# Some of the files of covid3month are equal.
@pytest.mark.filterwarnings("ignore:.*the same samples as other files of train")
@pytest.mark.parametrize(
    "folder, u, y, options, dt, test_lengths",
    [
        ("silverbox", ["u"], ["y"], {"win_sz": 500}, 0.001638, [40475, 32000, 21688]),
        ("wiener_hammerstein", ["u"], ["y"], {"win_sz": 200}, 1 / 51200, [78800]),
        ("cascaded_tanks", ["u"], ["y"], {}, 4.0, [1024]),
        (
            "industrial_robot",
            [f"u{i}" for i in AXES],
            [f"y{i}" for i in AXES],
            {},
            0.1,
            [3630],
        ),
        ("covid3month", ["u0"], [], {"win_sz": 84, "y_scalars": ["target"]}, 1.0, [84] * 61),
    ],
)
def test_measured_sets(folder, u, y, options, dt, test_lengths):
    """Each set is read with its rate and the lengths of its test files."""
    pipeline = create_grain_dls(u, y, ROOT / folder, **options)
    assert pipeline.signals.dt == pytest.approx(dt, rel=1e-3)
    assert [len(record["u"]) for record in pipeline.test] == test_lengths
    batch = next(iter(pipeline.train_batches(0)))
    assert all(np.isfinite(values).all() for values in batch.values())
    assert batch["u"].shape == (16, pipeline.win_sz, len(u))


def test_gaps_are_told(told):
    """The optical reference of the BROAD trials has gaps, which are counted by file."""
    error = told(NonFiniteError, create_grain_dls, ["gyr_x"], ["quat_w"], ROOT / "broad")
    assert "in 'quat_w'" in str(error)
    assert error.signal == "quat_w"
