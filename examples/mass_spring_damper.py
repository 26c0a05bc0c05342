"""A mass with a spring and an unknown damper, from 50 short windows of its position.

Two equal networks are trained on the same windows: one with Newton's law, which also finds the
damping, and one without. The windows have slow forces and noise; both networks are tested on
records that are longer and have faster forces too.

Run it with a seed, if wanted: python examples/mass_spring_damper.py 1
"""

import sys
from typing import Any

import numpy as np

from tsjax_core import (
    Bounded,
    FrozenMapping,
    Learner,
    compose_losses,
    create_grain_dls,
    normalized_mse,
    rmse,
)
from tsjax_pinn import Auxiliary, Constant, PIRNNLearner, collocation_loss, physics_loss

DT, WINDOW, DAMPING = 0.1, 40, 0.6
KNOWN = FrozenMapping({"mass": Constant(1.0, "kg"), "stiffness": Constant(4.0, "N/m")})


def newton(u: Any, y: Any, derivatives: Any, parameters: Any) -> dict[str, Any]:
    """The velocity is no measured output; it is what the equations make of it."""
    x, v = y["position"], y["velocity"]
    return {
        "velocity": derivatives.first(x) - v,
        "force": parameters["mass"] * derivatives.first(v)
        + parameters["damping"] * v
        + parameters["stiffness"] * x
        - u["force"],
    }


def measure(rng: np.random.Generator, n: int, top: float, noise: float) -> dict[str, np.ndarray]:
    """Simulate the mass from rest under four sines of up to `top` rad/s, by Runge-Kutta steps."""
    tone, phase = rng.uniform(0.3, top, 4), rng.uniform(0.0, 6.28, 4)
    size, state, states = rng.uniform(0.3, 1.2, 4), np.zeros(2), []

    def force(t: Any) -> Any:
        return (size * np.sin(np.multiply.outer(t, tone) + phase)).sum(-1)

    def slope(t: float, s: np.ndarray) -> np.ndarray:
        return np.array([s[1], force(t) - DAMPING * s[1] - 4.0 * s[0]])

    for t in DT * np.arange(n):
        states.append(state)
        a = slope(t, state)
        b = slope(t + DT / 2, state + DT / 2 * a)
        c = slope(t + DT / 2, state + DT / 2 * b)
        state = state + DT / 6 * (a + 2 * b + 2 * c + slope(t + DT, state + DT * c))
    position = np.array(states)[:, 0] + noise * rng.standard_normal(n)
    return {"force": force(DT * np.arange(n)), "position": position}


def compare(seed: int) -> tuple[float, float, float]:
    """Return the damping that was found, and the test RMSE in m with and without physics."""
    rng = np.random.default_rng(seed)
    records = {
        "train": [measure(rng, WINDOW, 2.5, 0.02) for _ in range(50)],
        "valid": [measure(rng, WINDOW, 2.5, 0.02) for _ in range(10)],
        "test": [measure(rng, 300, 5.0, 0.0) for _ in range(5)],
    }
    data = create_grain_dls(
        ["force"], ["position"], records, win_sz=WINDOW, stp_sz=WINDOW, bs=25, dt=DT
    )
    law = {
        "difference": "central4",
        "constants": KNOWN,
        "scales": FrozenMapping({"velocity": 1.0, "force": 2.0}),
    }
    # Beside the windows, the law is to hold under forces that no window has; smooth ones, because a
    # difference over a step of the force is no derivative.
    faster = collocation_loss(
        newton, time=60, kinds=("sine", "multisine", "chirp"), frequency=(0.05, 0.8), **law
    )
    physics = compose_losses(
        (normalized_mse, 1.0), (physics_loss(newton, **law), 1.0), (faster, 0.3)
    )

    def train(loss: Any) -> Learner:
        learner = PIRNNLearner(
            data,
            hidden_size=16,
            linear_layers=0,
            init_window=10,
            p_state_encoder=0.0,
            auxiliary=FrozenMapping({"velocity": Auxiliary(unit="m/s")}),
            parameters=FrozenMapping({"damping": Bounded(2.0, 0.05, 5.0, "N s/m")}),
            loss=loss,
            metrics=[rmse],
            seed=seed,
        )
        learner.fit_flat_cos(700, lr=1e-2, show_progress=False)
        return learner

    informed, plain = train(physics), train(normalized_mse)
    damping = float(informed.model.quantities()["damping"][0])
    errors = (each.evaluate("test").metrics["rmse"] for each in (informed, plain))
    return damping, *errors


if __name__ == "__main__":
    damping, informed, plain = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(f"damping: {damping:.3f} N s/m, and {DAMPING} is true")
    print(f"test RMSE: {informed:.4f} m with physics and {plain:.4f} m without")
