"""A process with a dead time of 40 samples, identified by temporal convolutions."""

import numpy as np

from tsjax_core import create_grain_dls, make_learner, nrmse


def measure(seed: int, n: int = 3000, delay: int = 40) -> dict[str, np.ndarray]:
    """Simulate a lag behind a dead time, whose gain depends on the sign of the input."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.standard_normal(n // 10), 10)
    y = np.zeros(n)
    for t in range(1, n):
        late = u[t - delay] if t >= delay else 0.0
        y[t] = 0.9 * y[t - 1] + (0.1 if late > 0.0 else 0.05) * late
    return {"u": u, "y": y + 0.002 * rng.standard_normal(n)}


def main(epochs: int = 15) -> None:
    splits = {name: [measure(seed)] for seed, name in enumerate(("train", "valid", "test"))}
    data = create_grain_dls(["u"], ["y"], splits, win_sz=300, stp_sz=20, bs=16, dt=0.1)
    options = {"num_layers": 6, "hidden_size": 16, "n_skip": 80, "metrics": [nrmse]}
    learner = make_learner(data, "tcn/tcn", **options)
    learner.fit(epochs, lr=5e-3, show_progress=False)
    linear = make_learner(data, "core/linear", n_skip=80, metrics=[nrmse])
    for name, each in (("tcn/tcn", learner), ("core/linear", linear)):
        print(f"{name}: NRMSE on test {each.evaluate('test').metrics['nrmse']:.3f}")


if __name__ == "__main__":
    main()
