"""Two coupled tanks, each with its own pump: two inputs, two outputs, records of unequal length."""

import numpy as np

from tsjax_core import create_grain_dls, fit_percent, make_learner

DT = 1.0
"""Sampling time in s."""


def measure(seed: int, n: int) -> dict[str, np.ndarray]:
    """Simulate levels in m for voltages in V, with 1 mm of noise.

    Water leaves by the law of Torricelli, and flows between the tanks by the root of the difference
    of their levels.
    """
    rng = np.random.default_rng(seed)
    pumps = np.repeat(rng.uniform(2.0, 8.0, (-(-n // 40), 2)), 40, axis=0)[:n]
    levels = np.full((n, 2), 0.5)
    for k in range(n - 1):
        a, b = np.maximum(levels[k], 0.0)
        between = 0.012 * np.sign(a - b) * np.sqrt(abs(a - b))
        out = 0.03 * np.sqrt(np.array([a, b]))
        flow = 0.005 * pumps[k] - out + np.array([-between, between])
        levels[k + 1] = levels[k] + DT * flow
    levels += 1e-3 * rng.standard_normal((n, 2))
    names = ("pump_1", "pump_2", "level_1", "level_2")
    return dict(zip(names, np.hstack([pumps, levels]).T, strict=True))


def main() -> None:
    splits = {
        "train": [measure(0, 1500), measure(1, 911)],
        "valid": [measure(2, 1003)],
        "test": [measure(3, 1207), measure(4, 640)],
    }
    inputs, outputs = ["pump_1", "pump_2"], ["level_1", "level_2"]
    data = create_grain_dls(inputs, outputs, splits, win_sz=300, dt=DT)
    options = {"metrics": [fit_percent], "initial_state": "window", "init_samples": 50}
    for name, more in (("core/linear", {}), ("ss/neural", {"hidden_size": 8})):
        learner = make_learner(data, name, order=2, **more, **options)
        learner.polish(iterations=30, show_progress=False)
        print(f"{name}: fit on test {learner.evaluate('test').metrics['fit_percent']:.1f} %")


if __name__ == "__main__":
    main()
