"""Both models through learners, experiment files and saved models."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
import tomli_w
from flax import nnx
from rich.console import Console

from tsjax_core import Learner, create_grain_dls, fit_percent, load_model, make_learner, predict
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.experiment import load_experiment, parse_experiment
from tsjax_core.experiments.run import load_learner, train
from tsjax_tcn import TCN, CRNNLearner, TCNLearner

SMALL = {
    "tcn/tcn": {"num_layers": 5, "hidden_size": 12},
    "tcn/crnn": {"num_cnn_layers": 3, "rnn_hidden_size": 16, "num_rnn_layers": 1},
}


def loaded(dataset, **options):
    return create_grain_dls(["u"], ["y"], dataset, win_sz=100, stp_sz=4, bs=16, **options)


@pytest.mark.parametrize("name", ["tcn/tcn", pytest.param("tcn/crnn", marks=pytest.mark.slow)])
def test_both_train_through_a_learner_and_beat_the_mean(oscillator, tmp_path, name):
    """A few epochs explain most of the validation, and the saved model is the trained one."""
    learner = make_learner(loaded(oscillator), name, metrics=[fit_percent], **SMALL[name])
    assert learner.n_skip == (32 if name == "tcn/tcn" else 0)
    results = list(learner.fit_iter(8, lr=1e-2, schedule=lambda progress: 1.0 - progress))
    print([round(result.metrics["fit_percent"], 1) for result in results])
    assert results[-1].valid_loss < results[0].valid_loss
    assert results[-1].metrics["fit_percent"] > 30.0
    learner.save(tmp_path / "model")
    u = learner.pipeline.test[0]["u"]
    np.testing.assert_array_equal(predict(load_model(tmp_path / "model"), u), learner.predict(u))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_batch_norm_and_dropout_train_with_several_inputs_and_outputs(two_by_three, name):
    """The learner gives keys, carries the statistics of batch norm, and saves them."""
    prefix = "cnn_" if name == "tcn/crnn" else ""
    pipeline = create_grain_dls(
        ["a", "b"], ["p", "q", "r"], two_by_three, win_sz=60, stp_sz=20, bs=8
    )
    learner = make_learner(
        pipeline,
        name,
        **{**SMALL[name], f"{prefix}normalization": "batchnorm", f"{prefix}dropout": 0.1},
    )
    results = list(learner.fit_iter(6, lr=1e-2))
    assert results[-1].valid_loss < results[0].valid_loss
    u = pipeline.test[0]["u"]
    model = learner.model
    np.testing.assert_allclose(model(u[None])[0], learner.predict(u), rtol=1e-3, atol=1e-2)
    assert learner.evaluate("test").loss < 1.0


@pytest.mark.parametrize("name", SMALL)
def test_both_train_from_an_experiment_file(oscillator, tmp_path, name):
    """The run's own experiment holds the n_skip that was used, and builds the same learner."""
    tables = {
        "data": {
            "dataset": str(oscillator),
            "u": ["u"],
            "y": ["y"],
            "win_sz": 100,
            "stp_sz": 4,
            "bs": 16,
            "valid": "files",
        },
        "model": {"name": name, **SMALL[name]},
        "train": {"epochs": 8, "lr": 1e-2},
    }
    (tmp_path / "e.toml").write_text(tomli_w.dumps(tables))
    result = train(load_experiment(tmp_path / "e.toml"), tmp_path / "run", Console(quiet=True))
    print(result.evaluation.metrics)
    multisine = next(v for k, v in result.evaluation.files.items() if "multisine" in k)
    assert multisine.metrics["fit_percent"] > 30.0
    resolved = tomllib.loads((tmp_path / "run" / "experiment.toml").read_text())
    assert resolved["train"]["n_skip"] == result.learner.n_skip
    again = load_learner(tmp_path / "run")
    assert again.n_skip == result.learner.n_skip
    assert again.evaluate("test") == result.evaluation


def test_n_skip_is_the_receptive_field_unless_given(oscillator):
    """By default for a TCN, ready-made or not, 0 for a CRNN, and what is given, 0 included."""
    data = loaded(oscillator)
    assert TCNLearner(data, num_layers=3).n_skip == TCN(num_layers=3).receptive_field == 8
    assert TCNLearner(data, num_layers=2, kernel_size=5).n_skip == 13
    assert TCNLearner(data, num_layers=3, n_skip=0).n_skip == 0
    assert CRNNLearner(data).n_skip == 0
    ready = TCN(num_layers=3).build(data.signals, rngs=nnx.Rngs(0))
    assert Learner(ready, data).n_skip == 8
    assert Learner(ready, data, n_skip=0).n_skip == 0
    assert CRNNLearner(data, n_skip=11).n_skip == 11


def test_a_receptive_field_that_leaves_nothing_of_a_window_is_told(oscillator, two_by_three):
    """The text says where the number came from, and what to do."""
    with pytest.raises(ConfigError) as caught:
        TCNLearner(loaded(oscillator), num_layers=7)
    print(caught.value)
    for part in ("n_skip = 128", "receptive field of TCN", "fewer layers", "win_sz = 100"):
        assert part in str(caught.value)
    assert TCNLearner(loaded(oscillator), num_layers=7, n_skip=50).n_skip == 50
    long = create_grain_dls(["a"], ["p"], two_by_three, win_sz=90, stp_sz=20, bs=4)
    with pytest.raises(ConfigError) as caught:
        TCNLearner(long, num_layers=4, kernel_size=6)
    print(caught.value)
    for part in ("n_skip = 76", "receptive field of TCN", "has 75 samples", "part_1.hdf5"):
        assert part in str(caught.value)


def test_batches_that_a_transform_cuts_to_the_receptive_field_are_refused(oscillator):
    """Training on nothing would give NaN; one sample more is trained on."""

    def cut(samples):
        def cut_short(batch):
            return {name: x[:, :samples] for name, x in batch.items()}

        cut_short.changes_shape = True
        return cut_short

    data = loaded(oscillator)
    for samples in (6, 8):
        learner = TCNLearner(data, num_layers=3, batch_transform=cut(samples))
        with pytest.raises(ConfigError) as caught:
            learner.fit(1, show_progress=False)
        print(caught.value)
        for part in (
            "n_skip = 8 leaves nothing",
            f"the transform 'cut_short', which has {samples} samples",
            "receptive field",
        ):
            assert part in str(caught.value)
        assert caught.value.key == "n_skip"
    (result,) = TCNLearner(data, num_layers=3, batch_transform=cut(9)).fit(1, show_progress=False)
    assert np.isfinite(result.train_loss)


def test_the_error_of_an_experiment_names_file_and_table(oscillator, tmp_path):
    """As all other errors of an experiment."""
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "win_sz": 60}
    tables = {"data": data, "model": {"name": "tcn/tcn", "num_layers": 6}}
    (tmp_path / "e.toml").write_text(tomli_w.dumps(tables))
    experiment = load_experiment(tmp_path / "e.toml")
    assert "n_skip" not in experiment.to_tables()["train"]
    assert parse_experiment(experiment.to_tables()).train == experiment.train
    with pytest.raises(ConfigError) as caught:
        experiment.build()
    print(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'e.toml'}: [train] n_skip = 64 is the")
    assert caught.value.key == "train.n_skip"
