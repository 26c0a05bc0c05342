"""An output that does not move in validation."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tsjax_core import load_model


@pytest.fixture
def write(tmp_path):
    """Write data whose outputs, by their number, are at rest in validation; return the file."""

    def write_experiment(*resting):
        for seed, split in enumerate(("train", "valid", "test")):
            rng = np.random.default_rng(seed)
            u = rng.standard_normal(200)
            (tmp_path / split).mkdir()
            with h5py.File(tmp_path / split / "a.h5", "w") as file:
                file["u"] = u
                for number in (1, 2):
                    still = split == "valid" and number in resting
                    file[f"y{number}"] = np.full(200, 0.2) if still else 0.5 * number * u
        file = tmp_path / "e.toml"
        file.write_text(
            f"[data]\ndataset = {str(tmp_path)!r}\nu = ['u']\ny = ['y1', 'y2']\nwin_sz = 50\n"
            "stp_sz = 25\n[model]\nname = 'core/gru'\nhidden_size = 2\n[train]\nepochs = 1\n"
            "monitor = 'core/fit_percent'\nmode = 'max'\nmetrics = ['core/fit_percent']\n"
        )
        return file

    return write_experiment


def test_it_is_named_and_the_other_decides(write, tsjax, tmp_path):
    """The mean of fit is that of the outputs that move."""
    run = tmp_path / "run"
    status, out, err = tsjax("train", write(2), "--out", run)
    assert status == 0, err
    status, out, _ = tsjax("evaluate", run, "--split", "valid")
    assert status == 0
    assert "y2 does not change in valid" in out


@pytest.mark.filterwarnings("default:.* had no finite value:UserWarning")
def test_a_model_is_kept_whose_metric_was_never_finite(write, tsjax, tmp_path):
    """It is that of the last epoch, and a warning says what to monitor."""
    run = tmp_path / "run"
    status, _, err = tsjax("train", write(1, 2), "--out", run)
    assert status == 0, err
    assert "had no finite value in any epoch" in err
    assert "Monitor valid_loss instead" in err
    assert load_model(run / "model")
