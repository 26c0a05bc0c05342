"""Attitude from gyroscope and accelerometer on real data: BROAD, one trial per split.

Source of the data and of VQF's figure: Laidig, Caruso, Cereatti and Seel (2021).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import tsjax_quat as tq
from tsjax_core import create_grain_dls
from tsjax_quat.strapdown import tilt_to_vertical

VQF_DEG = 1.02


@pytest.mark.slow
def test_the_inclination_of_a_fast_trial_is_known_to_two_degrees(case):
    """Trained on one slow trial; on movement rows, beside the integration without correction."""
    folder = Path(os.environ.get("TSJAX_DATA", "")) / "broad"
    if "TSJAX_DATA" not in os.environ or not folder.exists():
        pytest.skip("set TSJAX_DATA to a folder with the data set broad")
    data = create_grain_dls(
        case.imu,
        case.quat,
        folder,
        win_sz=3000,
        stp_sz=300,
        bs=16,
        allow_nan=True,
        further={"mask": ["movement"]},
    )
    mask = tq.score_where("mask")
    learner = tq.StrapDownLearner(data, hidden_size=0, batch_transform=mask, n_skip=600)
    before = learner.evaluate("test").metrics["rms_inclination_deg"]
    learner.fit(6, lr=2e-2, schedule=lambda progress: 1.0 - progress, show_progress=False)
    after = learner.evaluate("test").metrics["rms_inclination_deg"]

    record = data.test[0]
    start = tilt_to_vertical(record["u"][:1, 3:])[0]
    q = np.asarray(tq.integrate_rates(record["u"][:, :3], data.signals.dt, start), np.float64)
    counts = (record["mask"][:, 0] > 0.5) & ~np.isnan(record["y"]).any(-1)
    errors = tq.inclination(q[counts], record["y"][counts].astype(np.float64))
    integrated = np.degrees(np.sqrt(np.mean(np.square(errors))))
    print(f"integration {integrated:.2f} deg, untrained filter {before:.2f} deg", end="; ")
    print(f"trained {after:.2f} deg, VQF {VQF_DEG} deg")
    assert after < before < integrated
    assert after < 2.0
