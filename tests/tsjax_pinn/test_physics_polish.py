"""A polish with equations beside the data."""

from __future__ import annotations

import h5py
import numpy as np

from tsjax_core import (
    FrozenMapping,
    Learner,
    Linear,
    compose_losses,
    create_grain_dls,
    normalized_mse,
    rmse,
)
from tsjax_pinn import Constant, physics_loss


def test_a_polish_obeys_equations_beside_the_data(write_oscillator, tmp_path):
    """With few samples of a noisy record, Newton's law makes a linear model better on test."""
    folder = tmp_path / "few"
    lengths = {"train": (60,), "valid": (200,), "test": (400,)}
    write_oscillator(folder, lengths, np.random.default_rng(3))
    with h5py.File(folder / "train" / "0.hdf5", "r+") as file:
        noise = 0.1 * np.random.default_rng(0).standard_normal(60)
        file["position"][...] = file["position"][...] + noise.astype("f4")

    def newton(u, y, derivatives, parameters):
        x = y["position"]
        force = parameters["damping"] * derivatives.first(x) + parameters["stiffness"] * x
        return derivatives.second(x) + force - u["force"]

    known = FrozenMapping({"damping": Constant(0.6), "stiffness": Constant(4.0)})
    law = physics_loss(newton, constants=known, auxiliary=False)

    def error(*terms):
        data = create_grain_dls(
            u=["force"], y=["position"], dataset=folder, win_sz=30, stp_sz=10, valid="files"
        )
        learner = Learner(
            Linear(order=2),
            data,
            loss=compose_losses((normalized_mse, 1.0), *terms),
            initial_state="window",
            init_samples=20,
            metrics=[rmse],
        )
        learner.polish(iterations=15, keep="last", show_progress=False)
        return learner.evaluate("test").metrics["rmse"]

    assert error((law, 1.0)) < 0.5 * error()
