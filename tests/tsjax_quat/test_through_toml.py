"""Every component by its name, through an experiment file and the command line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tomli_w

import tsjax_quat as tq
from tsjax_core import also_in_evaluation, create_grain_dls, load_model, predict
from tsjax_core.experiments.run import load_learner
from tsjax_core.training import learner as learner_module


def done(result) -> str:
    status, out, err = result
    assert status == 0, err
    return out


def experiment(tmp_path, dataset, case, model, **more):
    tables = {
        "data": {
            "dataset": str(dataset),
            "u": list(case.imu),
            "y": list(case.quat),
            "win_sz": 40,
            "stp_sz": 20,
            "bs": 4,
            "allow_nan": True,
            "further": {"mask": ["movement"]},
        },
        "model": model,
        "loss": [{"name": "quat/ms_inclination_rad2"}],
        "train": {"epochs": 2, "lr": 1e-2, "metrics": ["quat/rms_inclination_deg"]},
        **more,
    }
    file = tmp_path / "e.toml"
    file.write_text(tomli_w.dumps(tables))
    return file


def stopping(train):
    """Return a training of an epoch that Ctrl-C ends in the second one."""

    def stop(self, fit, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return train(self, fit, epoch)

    return stop


def history(run):
    with (run / "history.csv").open() as stream:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(stream)]


@pytest.mark.slow
def test_the_strap_down_model_through_the_command_line(case, turning, tsjax, tmp_path, monkeypatch):
    """Train, evaluate, predict, resume, save and load, with mask, quantities and figures."""
    file = experiment(
        tmp_path,
        turning,
        case,
        {"name": "quat/strapdown", "hidden_size": 2, "time_constant": 0.5},
        transform=[{"name": "quat/score_where", "mask": "mask"}, {"name": "quat/rotate"}],
        report={"plot": ["quat/errors", "quat/inclination", "quat/relative_angle", "quat/heading"]},
    )
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "train_epoch", stopping(learner_module.train_epoch))
        assert tsjax("train", file, "--out", run)[0] == 1
    done(tsjax("resume", run))
    rows = history(run)
    assert len(rows) == 2
    assert {"time_constant [s]", "bias_x [rad/s]", "rms_inclination_deg"} <= set(rows[0])
    assert float(rows[-1]["rms_inclination_deg"]) < 10.0
    assert len(list((run / "report").glob("test_*_errors.png"))) == 2
    assert "rms_inclination_deg" in done(tsjax("evaluate", run, "--split", "valid"))
    out = tmp_path / "out.csv"
    done(tsjax("predict", run, turning / "test" / "0.hdf5", "--out", out))
    assert len(out.read_text().splitlines()) == 118
    learner = load_learner(run)
    u = learner.pipeline.test[0]["u"]
    np.testing.assert_array_equal(predict(load_model(run / "model"), u), learner.predict(u))


def test_the_unit_head_slerp_and_the_regularizer_through_the_command_line(
    case, turning, tsjax, tmp_path
):
    """A head around a GRU, the length before it as a second term, and half the rate."""
    file = experiment(
        tmp_path,
        turning,
        case,
        {"name": "quat/unit", "model": {"name": "core/gru", "hidden_size": 3}},
        loss=[
            {"name": "quat/abs_relative_angle_rad"},
            {"name": "quat/regularizer", "of": "quaternion_norm", "weight": 0.1},
        ],
    )
    run = tmp_path / "run"
    changes = ("--set", "data.store=quat/slerp", "--set", "data.target_fs=25")
    assert "0.04 s" in done(tsjax("train", file, "--out", run, *changes))
    model = load_model(run / "model")
    y = predict(model, np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1.0, atol=1e-6)
    done(tsjax("predict", run, turning / "test" / "0.hdf5", "--out", tmp_path / "out.csv"))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 60


def test_a_mask_that_is_not_read_is_told(case, turning, tsjax, tmp_path):
    """With the keys that there are."""
    file = experiment(
        tmp_path,
        turning,
        case,
        {"name": "quat/strapdown", "hidden_size": 0},
        transform=[{"name": "quat/score_where", "mask": "moves"}],
    )
    status, _, err = tsjax("train", file, "--out", tmp_path / "run")
    assert status == 2
    assert "looks for the key 'moves' of the batch, which has" in err


def test_masked_samples_count_in_no_split(case, turning):
    """Scores under the mask are those of the samples that it leaves, by hand."""
    data = create_grain_dls(
        case.imu,
        case.quat,
        turning,
        win_sz=40,
        stp_sz=20,
        bs=4,
        allow_nan=True,
        further={"mask": ["movement"]},
    )
    learner = tq.StrapDownLearner(data, hidden_size=0, batch_transform=tq.score_where())
    got = learner.evaluate("test").metrics["rms_inclination_deg"]
    squares = []
    for record in (data.test[0], data.test[1]):
        keep = (record["mask"][:, 0] > 0.5) & ~np.isnan(record["y"]).any(-1)
        y = learner.predict(record["u"])[keep].astype(np.float64)
        squares.append(np.square(tq.inclination(y, record["y"][keep].astype(np.float64))))
    expected = np.degrees(np.sqrt(np.mean(np.concatenate(squares))))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert also_in_evaluation(tq.score_where()).in_evaluation


def test_an_inclination_is_a_target_by_itself(turning, case):
    """The angle of the quaternion in the file, in rad, and its error in degrees."""
    data = create_grain_dls(
        case.imu,
        ["quat_inclination_rad"],
        turning,
        win_sz=40,
        stp_sz=40,
        bs=4,
        allow_nan=True,
        store="quat/slerp",
    )
    from tsjax_core import GRULearner

    learner = GRULearner(data, hidden_size=2, metrics=[tq.rmse_rad_in_deg])
    (result,) = learner.fit(1, show_progress=False)
    assert 0.0 < result.metrics["rmse_rad_in_deg"] < 180.0
