"""What `tsjax resid` prints of a run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy import signal

from tsjax_core.errors import ModelError
from tsjax_core.experiments.check_run import check_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A lag whose second input acts through a square, which no linear model has."""
    folder = tmp_path_factory.mktemp("squared")
    for seed, (split, n) in enumerate((("train", 900), ("valid", 500), ("test", 900))):
        rng = np.random.default_rng(seed)
        u = rng.standard_normal((n, 2))
        bent = np.where(u[:, 1] > 0.0, u[:, 1] ** 2, 0.0)
        y = signal.lfilter([0.3], [1.0, -0.7], u[:, 0] + bent)
        (folder / split).mkdir()
        with h5py.File(folder / split / "a.hdf5", "w") as file:
            file.attrs["dt"] = 0.1
            file["a"], file["b"] = u.T
            file["y"] = y + 0.01 * rng.standard_normal(n)
    return folder


@pytest.fixture(scope="module")
def write(folder, tmp_path_factory):
    def write_experiment(inputs, more=""):
        file = tmp_path_factory.mktemp("experiment") / "e.toml"
        file.write_text(
            f"[data]\ndataset = {str(folder)!r}\nu = {inputs}\ny = ['y']\nwin_sz = 50\n{more}"
            "[model]\nname = 'core/linear'\norder = 1\n[train]\nepochs = 0\n"
        )
        return file

    return write_experiment


def test_an_input_that_the_model_lacks_is_what_the_residuals_contain(write, tsjax, tmp_path):
    """And the test of the input that it has passes: its dynamics are all there."""
    run = tmp_path / "run"
    assert tsjax("train", write(["a"]), "--out", run)[0] == 0
    status, text, err = tsjax("resid", run)
    assert status == 0, err
    assert "its own past" in text
    assert "not white, but independent of the inputs" in text
    found = check_run(run)
    assert f"residuals of {found.tests.samples} samples" in text
    assert found.tests.independence[0][0].passed
    assert not found.tests.whiteness[0].passed
    status, text, _ = tsjax("resid", run, "--split", "valid", "--lags", 10)
    assert (status, len(check_run(run, "valid", lags=10).tests.whiteness[0].lags)) == (0, 10)


def test_windows_are_no_records(write, tsjax, tmp_path):
    """Their residuals begin anew in every window."""
    run = tmp_path / "run"
    assert tsjax("train", write(["a"], "valid = 'windows'\n"), "--out", run)[0] == 0
    status, _, err = tsjax("resid", run, "--split", "valid")
    assert (status, "are no sequences of whole files" in err) == (1, True)
    print(err)
    with pytest.raises(ModelError):
        check_run(run, "valid")
