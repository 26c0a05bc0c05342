"""Train members on several devices together, and alone on one, and print the losses as JSON.

Run by test_population.py with four devices.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tsjax_core import GRU, Learner, create_grain_dls, fit_population, rmse


def losses(learners: list[Learner]) -> list[list[float]]:
    """Return the losses of all steps, and of validation, of each member."""
    return [
        [*np.concatenate([r.step_losses for r in x.history]), x.history[-1].metrics["rmse"]]
        for x in learners
    ]


def main() -> None:
    """Print what members have together and alone."""
    files = Path(sys.argv[1])
    data = create_grain_dls(["a", "b"], ["p", "q", "r"], files, win_sz=40, stp_sz=7, bs=8)
    own = [replace(data, seed=k) for k in range(3)]
    cases = {"2 shared": (3, 2, [data] * 3), "4 shared": (2, 4, [data] * 2), "2 own": (3, 2, own)}
    told = {}
    for case, (n, devices, pipelines) in cases.items():

        def make(k: int, devices: int, pipelines: list = pipelines) -> Learner:
            spec = GRU(hidden_size=4, hidden_dropout=0.1, num_layers=2)
            return Learner(spec, pipelines[k], metrics=[rmse], seed=k, devices=devices)

        together = [make(k, devices) for k in range(n)]
        fit_population(together, 2, 1e-2, show_progress=False)
        alone = [make(k, 1) for k in range(n)]
        for learner in alone:
            learner.fit(2, 1e-2, show_progress=False)
        told[case] = [losses(together), losses(alone)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
