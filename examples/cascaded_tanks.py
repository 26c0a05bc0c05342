"""Bernoulli's law on two cascaded tanks, measured in a laboratory: known physics and a network.

A pump fills the upper tank, which flows into the lower one, and that into a reservoir; the level of
the lower tank is measured. Where the upper tank is full it spills, in part into the lower one.
Source of the data and of the equations: Schoukens and Noel, Three benchmarks addressing open
challenges in nonlinear system identification (2017).

Run it with the folder of the data: python examples/cascaded_tanks.py data/cascaded_tanks
It needs Diffrax: pip install "tsjax-pinn[diffrax]"
"""

import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from tsjax_core import Bounded, FrozenMapping, create_grain_dls, normalized_mse, rmse
from tsjax_pinn import Auxiliary, GreyBoxLearner


def tanks(u: Any, x: Any, parameters: Any) -> dict[str, Any]:
    """The derivatives of both levels, in V/s."""
    p, full = parameters, 10.0
    # Below zero there is no water; the small number keeps the slope of the root finite.
    upper = jnp.sqrt(jnp.maximum(x["upper"], 1e-3))
    lower = jnp.sqrt(jnp.maximum(x["y"], 1e-3))
    spill = jnp.maximum(x["upper"] - full, 0.0)
    over = jnp.maximum(x["y"] - full, 0.0)
    return {
        "upper": p["k4"] * u["u"] - p["k1"] * upper - p["k5"] * spill,
        "y": p["k2"] * upper - p["k3"] * lower + p["k6"] * spill - p["k5"] * over,
    }


def main(folder: Path, epochs: int) -> None:
    data = create_grain_dls(["u"], ["y"], folder, win_sz=400, stp_sz=20, bs=8, valid="files")
    root, rate = "V^0.5/s", "1/s"
    learner = GreyBoxLearner(
        data,
        field=f"{__file__}:tanks",
        auxiliary=FrozenMapping({"upper": Auxiliary(5.0, 2.0, "V")}),
        parameters=FrozenMapping(
            {
                "k1": Bounded(0.05, 0.0, 1.0, root),
                "k2": Bounded(0.05, 0.0, 1.0, root),
                "k3": Bounded(0.05, 0.0, 1.0, root),
                "k4": Bounded(0.04, 0.0, 1.0, rate),
                "k5": Bounded(0.1, 0.0, 5.0, rate),
                "k6": Bounded(0.05, 0.0, 5.0, rate),
            }
        ),
        hidden_size=8,
        solver="heun",
        init_window=20,
        # The first 50 samples do not count in the benchmark.
        n_skip=50,
        loss=normalized_mse,
        metrics=[rmse],
    )
    learner.fit(epochs, lr=1e-2, show_progress=False)
    for name, value in learner.history[-1].quantities.items():
        print(f"{name} = {value:.4f}")
    print(f"test RMSE from sample 50 on, in V: {learner.evaluate('test').metrics['rmse']:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
