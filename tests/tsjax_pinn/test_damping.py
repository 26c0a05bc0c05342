"""An unknown damping is found by the physics, together with the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tsjax_core import Bounded, FrozenMapping, compose_losses, create_grain_dls, normalized_mse
from tsjax_pinn import Auxiliary, Constant, PIRNNLearner, physics_loss

EQUATIONS = Path(__file__).parent / "equations.py"


@pytest.mark.slow
def test_the_damping_of_an_oscillator_is_found(write_oscillator, tmp_path):
    """To 2 %, from the position alone, beginning at more than three times its value."""
    folder = tmp_path / "oscillator"
    lengths = {"train": (300,) * 5, "valid": (300,) * 2, "test": (300,) * 2}
    write_oscillator(folder, lengths, np.random.default_rng(1))
    data = create_grain_dls(["force"], ["position"], folder, win_sz=100, stp_sz=20, bs=16)
    constants = {"mass": Constant(1.0, "kg"), "stiffness": Constant(4.0, "N/m")}
    law = physics_loss(f"{EQUATIONS}:oscillator", "central4", FrozenMapping(constants))
    learner = PIRNNLearner(
        data,
        hidden_size=16,
        linear_layers=0,
        init_window=20,
        # One position does not say where the mass goes.
        p_state_encoder=0.0,
        auxiliary=FrozenMapping({"velocity": Auxiliary(unit="m/s")}),
        parameters=FrozenMapping({"damping": Bounded(2.0, 0.05, 5.0, "N s/m")}),
        loss=compose_losses((normalized_mse, 1.0), (law, 1.0)),
    )
    learner.fit_flat_cos(400, lr=1e-2, show_progress=False)
    found = learner.model.quantities()["damping"][0]
    print([result.quantities for result in learner.history[39::40]], found)
    assert float(found) == pytest.approx(0.6, rel=0.02)
