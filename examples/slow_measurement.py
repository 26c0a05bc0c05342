"""An output that is measured at a tenth of the rate of the input, with gaps."""

import numpy as np

from tsjax_core import create_grain_dls, make_learner, nrmse


def measure(seed: int, n: int = 4000) -> dict[str, np.ndarray]:
    """Simulate a tank whose level is written down every tenth sample, and not for a while."""
    rng = np.random.default_rng(seed)
    inflow = np.repeat(rng.uniform(0.0, 1.0, n // 20), 20)
    level, levels = 0.5, np.empty(n)
    for t, q in enumerate(inflow):
        levels[t] = level
        level += 0.05 * (q - np.sqrt(max(level, 0.0)))
    measured = np.full(n, np.nan)
    measured[::10] = levels[::10] + 0.002 * rng.standard_normal(n // 10)
    measured[1500:1700] = np.nan
    return {"inflow": inflow, "level": measured}


def main(epochs: int = 20) -> None:
    splits = {name: [measure(seed)] for seed, name in enumerate(("train", "valid", "test"))}
    data = create_grain_dls(
        ["inflow"], ["level"], splits, win_sz=200, stp_sz=20, dt=1.0, allow_nan=True
    )
    print(data.summary())
    # The loss leaves out what was not measured; between the samples the model simulates.
    learner = make_learner(data, "core/gru", hidden_size=12, n_skip=50, metrics=[nrmse])
    learner.fit(epochs, lr=1e-2, show_progress=False)
    error = learner.evaluate("test").metrics["nrmse"]
    print(f"NRMSE at the measured samples of the test: {error:.3f}")


if __name__ == "__main__":
    main()
