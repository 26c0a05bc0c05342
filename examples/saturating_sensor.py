"""A linear system behind a sensor that saturates: a Wiener model with interpretable blocks."""

import numpy as np
from scipy.signal import lfilter

from tsjax_core import create_grain_dls, make_learner, nrmse


def measure(seed: int, n: int = 1500) -> dict[str, np.ndarray]:
    """Simulate a resonance whose output is limited smoothly, with 1 % of noise."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(n)
    inner = lfilter([0.0, 0.3], [1.0, -1.5, 0.8], u)
    return {"u": u, "y": np.tanh(inner) + 0.01 * rng.standard_normal(n)}


def main() -> None:
    splits = {name: [measure(seed)] for seed, name in enumerate(("train", "valid", "test"))}
    data = create_grain_dls(["u"], ["y"], splits, win_sz=200, dt=0.01)
    options = {"metrics": [nrmse], "initial_state": "window", "init_samples": 30}
    for name, more in (("core/linear", {}), ("ss/wiener", {"hidden_size": 4})):
        learner = make_learner(data, name, order=2, **more, **options)
        learner.polish(iterations=15, show_progress=False)
        print(f"{name}: NRMSE on test {learner.evaluate('test').metrics['nrmse']:.3f}")


if __name__ == "__main__":
    main()
