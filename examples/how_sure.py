"""How sure is a model? Bands that hold a share of its errors, and the spread of several models."""

import numpy as np

from tsjax_core import create_grain_dls, make_learner
from tsjax_core.judging.horizons import calibrate_bands, collect_errors
from tsjax_core.judging.spread import measure_spread


def measure(seed: int, n: int = 2000) -> dict[str, np.ndarray]:
    """Simulate a saturating lag with noise."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.standard_normal(n // 8), 8)
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = 0.9 * y[t - 1] + 0.2 * np.tanh(2.0 * u[t - 1])
    return {"u": u, "y": y + 0.02 * rng.standard_normal(n)}


def main(epochs: int = 12) -> None:
    splits = {name: [measure(seed)] for seed, name in enumerate(("train", "valid", "test"))}
    data = create_grain_dls(["u"], ["y"], splits, win_sz=150, stp_sz=25, dt=0.01)
    learners = []
    for seed in range(3):
        options = {"initial_state": "window", "init_samples": 20, "seed": seed}
        learners.append(make_learner(data, "core/gru", hidden_size=10, **options))
        learners[-1].fit(epochs, lr=1e-2, show_progress=False)
    bands = calibrate_bands(collect_errors(learners[0], "valid", horizon=100), confidence=0.9)
    inside = bands.coverage(collect_errors(learners[0], "test", horizon=100)).mean()
    print(f"bands of 90 % hold {100 * inside:.0f} % of the errors on test")
    u = data.records("test")[0]["u"]
    for factor in (1.0, 3.0):
        spread = measure_spread([learner.model for learner in learners], factor * u)
        print(f"inputs {factor:g} times as large: the models differ by {spread.std.mean():.4f}")


if __name__ == "__main__":
    main()
