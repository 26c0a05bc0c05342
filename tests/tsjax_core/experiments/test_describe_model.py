"""What `tsjax info` says of a saved model."""

from __future__ import annotations

import shutil
from importlib.metadata import version

import numpy as np
import pytest

from tsjax_core import GRU, Learner, describe_model
from tsjax_core.errors import SavedModelError


def test_a_run_and_its_model_are_described(two_by_three, tsjax, tmp_path):
    """Signals with their training range, sampling time, size, state, options and versions."""
    file = tmp_path / "e.toml"
    file.write_text(
        f"[data]\ndataset = {str(two_by_three)!r}\nu = ['a', 'b']\ny = ['p', 'q', 'r']\n"
        "win_sz = 50\n[model]\nname = 'core/gru'\nhidden_size = 3\n[train]\nepochs = 1\n"
    )
    run = tmp_path / "run"
    assert tsjax("train", file, "--out", run)[0] == 0
    status, text, err = tsjax("info", run)
    assert status == 0, err
    info = describe_model(run)
    assert info.parameters == (2 + 3 + 1) * 9 + 3 + (3 + 1) * 3
    assert (info.states, info.receptive_field, info.init_window) == (3, None, 0)
    assert info.signals.outputs == ("p", "q", "r")
    mean = float(info.signals.stats["u"].mean[1])
    for part in (
        "core/gru",
        "a, b",
        "p, q, r",
        f"mean {mean:.6g}",
        "0.1 s (10 Hz)",
        f"{info.parameters} ",
        "3 numbers",
        "the whole record",
        "option hidden_size",
        "version of jax",
        version("tsjax-core"),
    ):
        assert part in text
    alone = tmp_path / "alone"
    shutil.copytree(run / "model", alone)
    info = describe_model(alone)
    assert dict(info.versions) == {"tsjax-core": version("tsjax-core")}
    shutil.rmtree(run / "model")
    status, _, err = tsjax("info", run)
    assert (status, "is a run without a model" in err) == (1, True)
    print(err)
    with pytest.raises(SavedModelError, match="holds no saved model"):
        describe_model(tmp_path)


def test_a_model_without_sampling_time_says_so(tmp_path, tsjax):
    """And one of few samples of memory names them."""
    tcn = pytest.importorskip("tsjax_tcn", reason="the model with a finite memory is in tsjax-tcn")
    from tsjax_core import create_grain_dls

    u = np.random.default_rng(0).standard_normal(200)
    data = create_grain_dls(["u"], ["y"], {"u": u, "y": u}, win_sz=20)
    learner = Learner(tcn.TCN(hidden_size=2, num_layers=2), data)
    learner.save(tmp_path / "model")
    info = describe_model(tmp_path / "model")
    assert info.receptive_field == learner.model.receptive_field
    text = tsjax("info", tmp_path / "model")[1]
    assert "not known" in text
    assert f"{info.receptive_field} samples" in text
    Learner(GRU(hidden_size=2), data).save(tmp_path / "gru")
    assert describe_model(tmp_path / "gru").receptive_field is None
