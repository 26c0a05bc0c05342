"""The experiments of the examples that begin as linear models.

`TSJAX_DATA` names the directory with the data sets.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsjax_core.experiments.experiment import load_experiment

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [
    pytest.mark.skipif("TSJAX_DATA" not in os.environ, reason="TSJAX_DATA is not set"),
    pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not here"),
]


@pytest.mark.parametrize(
    "name",
    [
        "silverbox",
        pytest.param("wiener_hammerstein", marks=pytest.mark.slow),
    ],
)
def test_a_few_iterations_beat_the_linear_model(name, tmp_path, tsjax):
    """On validation, of which the first iteration is the linear model."""
    out, file = tmp_path / "run", EXAMPLES / f"{name}_state_space.toml"
    assert load_experiment(file).polish.seconds == 60
    status, printed, _ = tsjax("train", file, "--out", out, "--set", "polish.iterations=3")
    assert status == 0
    assert "test" in printed
    rows = (out / "polish.csv").read_text().splitlines()
    column = rows[0].split(",").index("valid_loss")
    losses = [float(row.split(",")[column]) for row in rows[1:]]
    assert min(losses) < 0.8 * losses[0]
