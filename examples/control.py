"""A controller from an identified model: the exported step, its Jacobians, and an LQR.

The plant is a cart with friction. The model is exported as a file for NumPy alone, linearised at
rest, and the controller that follows from it brings the plant to its target.
"""

import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from scipy.linalg import solve_discrete_are

from tsjax_core import create_grain_dls, make_learner
from tsjax_core.export.facts import Facts
from tsjax_core.export.numpy_file import write_numpy_file
from tsjax_core.export.step import make_step

DT = 0.05


def push(state: np.ndarray, force: float) -> np.ndarray:
    """Move the cart for one sampling time: position and speed, with friction."""
    position, speed = state
    return np.array([position + DT * speed, speed + DT * (force - 0.5 * speed)])


def measure(seed: int, n: int = 800) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    force = np.repeat(rng.uniform(-1.0, 1.0, n // 8), 8)
    state, rows = np.zeros(2), []
    for f in force:
        rows.append(state)
        state = push(state, f)
    rows = np.array(rows) + 1e-3 * rng.standard_normal((n, 2))
    return {"force": force, "position": rows[:, 0], "speed": rows[:, 1]}


def main() -> None:
    splits = {name: [measure(seed)] for seed, name in enumerate(("train", "valid", "test"))}
    data = create_grain_dls(["force"], ["position", "speed"], splits, win_sz=100, dt=DT)
    options = {"initial_state": "window", "init_samples": 20}
    learner = make_learner(data, "core/linear", order=2, direct=False, **options)
    learner.polish(iterations=10, show_progress=False)

    text = write_numpy_file(
        make_step(learner.model, data.signals), Facts("cart", "core/linear", data.signals)
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cart.py"
        file.write_text(text, encoding="utf-8")
        spec = spec_from_file_location("cart", file)
        assert spec is not None
        assert spec.loader is not None
        cart = module_from_spec(spec)
        sys.modules["cart"] = cart
        spec.loader.exec_module(cart)

    a, b, c, _ = cart.linearize(cart.START, [0.0])
    # Weights of position and speed, in the states of the model.
    p = solve_discrete_are(a, b, c.T @ np.diag([10.0, 1.0]) @ c, np.eye(1))
    gain = np.linalg.solve(np.eye(1) + b.T @ p @ b, b.T @ p @ a)
    state = np.array([1.0, 0.0])
    for _ in range(200):
        # Both states are measured here; what the model's state is off follows from the outputs.
        x = np.linalg.solve(c, state)
        state = push(state, float(-(gain @ x)[0]))
    print(f"after 10 s the cart is {abs(state[0]):.3f} m from its target")


if __name__ == "__main__":
    main()
