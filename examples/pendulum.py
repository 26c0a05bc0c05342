"""A pendulum whose friction is unknown, from a tenth of the data.

Its law is known but for the friction, which a small network learns, and for its length, which is
trained within bounds. A GRU is trained on all records for comparison, and neither sees a sample of
the test records. It needs Diffrax: pip install "tsjax-pinn[diffrax]"
"""

import sys
from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core import (
    Bounded,
    FrozenMapping,
    GrainPipeline,
    create_grain_dls,
    make_learner,
    normalized_mse,
    nrmse,
)
from tsjax_pinn import Auxiliary, Constant, GreyBoxLearner

DT, GRAVITY, LENGTH = 0.05, 9.81, 0.7


def pendulum(u: Any, x: Any, parameters: Any) -> dict[str, Any]:
    """Angle and speed without friction; u is the torque per moment of inertia, in 1/s^2."""
    gravity = parameters["gravity"] / parameters["length"] * jnp.sin(x["angle"])
    return {"angle": x["speed"], "speed": u["torque"] - gravity}


def measure(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Simulate a pendulum with viscous and dry friction; the noise of the angle is 0.01 rad."""
    torque = np.repeat(rng.uniform(-6.0, 6.0, n // 10), 10)
    angle, speed, angles = rng.uniform(-1.0, 1.0), 0.0, []
    for u in torque:
        angles.append(angle)
        # In steps so small that the method does not matter.
        for _ in range(50):
            friction = 0.3 * speed + 0.8 * np.tanh(10.0 * speed)
            speed += DT / 50 * (u - GRAVITY / LENGTH * np.sin(angle) - friction)
            angle += DT / 50 * speed
    return {"torque": torque, "angle": np.array(angles) + 0.01 * rng.standard_normal(n)}


def main(epochs: int) -> None:
    rng = np.random.default_rng(0)
    train = [measure(rng, 200) for _ in range(20)]
    valid = [measure(rng, 200) for _ in range(3)]
    test = [measure(rng, 400) for _ in range(3)]

    def load(records: list[Any]) -> GrainPipeline:
        data = {"train": records, "valid": valid, "test": test}
        return create_grain_dls(["torque"], ["angle"], data, win_sz=60, stp_sz=10, bs=16, dt=DT)

    few = load(train[:2])
    grey = GreyBoxLearner(
        few,
        field=f"{__file__}:pendulum",
        auxiliary=FrozenMapping({"speed": Auxiliary(0.0, 3.0, "rad/s")}),
        parameters=FrozenMapping({"length": Bounded(1.0, 0.2, 3.0, "m")}),
        constants=FrozenMapping({"gravity": Constant(GRAVITY, "m/s^2")}),
        hidden_size=16,
        corrects=("speed",),
        # A friction that saw the angle would take over a part of the gravity.
        sees=("speed",),
        init_window=10,
        n_skip=20,
        loss=normalized_mse,
        metrics=[nrmse],
    )
    grey.fit(10 * epochs, lr=1e-2, show_progress=False)
    options = {"loss": normalized_mse, "metrics": [nrmse], "n_skip": 20}
    gru = make_learner(load(train), "core/gru", hidden_size=32, **options)
    gru.fit(epochs, lr=1e-2, show_progress=False)
    print(f"length: {float(grey.model.quantities()['length'][0]):.3f} m, and {LENGTH} m is true")
    for name, learner in (("grey box, 10 % of the data", grey), ("GRU, all data", gru)):
        print(f"{name}: test NRMSE {learner.evaluate('test').metrics['nrmse']:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
