"""Train several models on one device and on several, and print the losses as JSON.

Run by test_devices.py with four devices, in one process or as one of two.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax

process, port = int(sys.argv[2]), int(sys.argv[3])
if process >= 0:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)

import numpy as np  # noqa: E402 - jax.distributed comes before all that may use a device
import optax  # noqa: E402
from flax import nnx  # noqa: E402

from tsjax_core import (  # noqa: E402
    GRU,
    LSTM,
    Learner,
    add_noise,
    average_weights,
    compose_losses,
    create_grain_dls,
    hardest,
    normalized_mae,
    normalized_mse,
    rmse,
    skip_nonfinite,
    vary_length,
)
from tsjax_core.protocols import ModelSpec  # noqa: E402


class Normed(nnx.Module):
    """A static model whose running statistics are variables that training changes."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.norm = nnx.BatchNorm(2, momentum=0.5, rngs=rngs)
        self.out = nnx.Linear(2, 3, rngs=rngs)

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return (batch, time, 3)."""
        return self.out(self.norm(u))


CASES = {
    "gru resident": GRU(hidden_size=5, num_layers=2, hidden_dropout=0.2),
    "gru streamed": GRU(hidden_size=5, num_layers=2, hidden_dropout=0.2),
    "lstm resident": LSTM(hidden_size=4, weight_dropout=0.2),
    "normed streamed": Normed,
}


def trained(case: str, devices: int, files: Path) -> dict[str, object]:
    """Return what a fit of two epochs gives, with a loss that is no plain mean over windows."""
    data = create_grain_dls(
        ["a", "b"], ["p", "q", "r"], files, win_sz=40, stp_sz=7, bs=8, resident="resident" in case
    )
    learner = Learner(
        CASES[case] if isinstance(CASES[case], ModelSpec) else CASES[case](),
        data,
        compose_losses(all=(normalized_mae, 1.0), worst=(hardest(normalized_mse, 0.5), 0.3)),
        [rmse],
        skip_nonfinite(average_weights(optax.adam, 0.5)),
        vary_length(39) if "lstm" in case else add_noise(std=0.01),
        devices=devices,
    )
    results = learner.fit(2, lr=1e-3, show_progress=False)
    return {
        "losses": np.concatenate([r.step_losses for r in results]).tolist(),
        "valid": [r.valid_loss for r in results],
        "test": learner.evaluate("test").loss,
        "again": learner.fit(1, lr=1e-3, show_progress=False)[0].valid_loss,
    }


def main() -> None:
    """Print the results by case and number of devices."""
    everywhere = jax.device_count()
    counts = (everywhere,) if process >= 0 else (1, everywhere)
    told = {
        f"{case} {devices}": trained(case, devices, Path(sys.argv[1]))
        for case in CASES
        if process < 0 or "gru" in case
        for devices in counts
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
