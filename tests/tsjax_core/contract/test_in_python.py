"""The parts of the contract that belong to Python: arrays, search, residuals."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    Bounded,
    BoundedParameter,
    Checkpoints,
    FrozenMapping,
    GRULearner,
    Learner,
    also_in_evaluation,
    clip_gradients,
    compose_losses,
    constant,
    create_grain_dls,
    find_learning_rate,
    fit_population,
    fit_population_iter,
    mae,
    make_learner,
    masked_loss,
    mse,
    normalized_mae,
    normalized_mse,
    predict,
    shape_groups,
    skip_n,
    time_weighted,
    weighted_source,
)
from tsjax_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ModelError,
    SavedModelError,
    SignatureError,
)
from tsjax_core.experiments.experiment import parse_experiment


def lag(n, seed):
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.standard_normal((n // 5 + 1, 2)), 5, axis=0)[:n]
    y = np.zeros((n, 2))
    for t in range(1, n):
        y[t] = 0.8 * y[t - 1] + 0.2 * u[t] + [1.0, 0.0]
    return {"u": u, "level": y[:, 0], "flow": list(y[:, 1]), "size": 1.0 + seed, "note": ["x"] * n}


RECORDS = {
    "train": [lag(120, 0), lag(75, 1)],
    "valid": [lag(60, 2)],
    "test": [lag(50, 3), lag(33, 4)],
}


def pipeline_of(records=RECORDS, **changes):
    options = {"win_sz": 20, "stp_sz": 10, "bs": 4, "dt": 0.1, **changes}
    return create_grain_dls(["u:0", "u:1"], ["level", "flow"], records, **options)


def params_of(learner):
    return jax.tree.leaves(nnx.state(learner.model, nnx.Param))


@pytest.fixture(scope="module")
def data():
    return pipeline_of()


def test_arrays_in_memory_are_a_data_set(data):
    """Columns of tables, lists, jax arrays and scalars, on both data paths and in windows."""
    learner = GRULearner(data, hidden_size=3)
    (result,) = learner.fit(1, show_progress=False)
    assert np.isfinite(result.valid_loss)
    assert list(learner.evaluate("test").files) == ["test_0", "test_1"]
    on_device = {
        s: [{k: jnp.asarray(v) if k == "u" else v for k, v in r.items()} for r in rs]
        for s, rs in RECORDS.items()
    }
    other = create_grain_dls(
        ["u:0", "u:1"],
        ["level", "flow"],
        on_device,
        win_sz=20,
        stp_sz=10,
        bs=4,
        dt=0.1,
        resident=False,
    )
    again = GRULearner(other, hidden_size=3)
    assert again.fit(1, show_progress=False)[0] == result
    scalars = pipeline_of(u_scalars=["size"])
    assert scalars.train[0]["u_scalar"].tolist() == [1.0]
    slower = pipeline_of(target_fs=5.0, win_sz=10)
    assert slower.files["test"].lengths.tolist() == [25, 17]


def test_data_frames_are_a_data_set():
    """Their columns are the signals."""
    pandas = pytest.importorskip("pandas")
    frames = {
        split: [pandas.DataFrame({"u": r["u"][:, 0], "y": r["level"]}) for r in records]
        for split, records in RECORDS.items()
    }
    data = create_grain_dls(["u"], ["y"], {**frames, "valid": frames["valid"][0]}, win_sz=20, bs=4)
    np.testing.assert_allclose(data.test[0]["y"][:, 0], RECORDS["test"][0]["level"], rtol=1e-6)


@pytest.mark.parametrize(
    "change,error,text",
    [
        (
            {"test": [{"u": np.zeros((5, 2))}]},
            DataError,
            "test_0: no signal 'level'. It has: u:0, u:1",
        ),
        ({"test": [3.0]}, ConfigError, "dataset has a record of type float"),
        ({"test": {"a.csv": 1}}, DataError, "no signal"),
        ({"test": []}, DataError, "dataset['test'] is empty; give at least one record"),
        ({"test": [{**lag(5, 0), "u": np.zeros((5, 2), complex)}]}, DataError, "give real numbers"),
        ({"test": [{**lag(5, 0), "level": []}]}, DataError, "differ in length"),
        (
            {"test": [{"u": np.zeros((0, 2)), "level": [], "flow": []}]},
            DataError,
            "test_0: it has no sample; take it out of test, or record it again.",
        ),
        ({"test": [{**lag(5, 0), "level": ["a"] * 5}]}, DataError, "level"),
    ],
)
def test_records_that_do_not_fit_are_told(change, error, text):
    """With the number of the record."""
    with pytest.raises(error) as caught:
        create_grain_dls(["u:0", "u:1"], ["level", "flow"], {**RECORDS, **change}, win_sz=20)
    print(caught.value)
    assert text in str(caught.value)


def test_a_source_without_batches_trains(data):
    """Whatever keeps the contract of a source; samples of other lengths are refused."""
    import dataclasses

    class Plain:
        def __init__(self, lengths):
            self.lengths = lengths

        def __len__(self):
            return len(self.lengths)

        def __getitem__(self, index):
            if not 0 <= index < len(self):
                raise IndexError(index)
            rng = np.random.default_rng(index)
            n = self.lengths[index]
            return {key: rng.standard_normal((n, 2)).astype(np.float32) for key in ("u", "y")}

    even = dataclasses.replace(data, train=Plain([20] * 9), resident=False)
    assert len(GRULearner(even, hidden_size=2).fit(1, show_progress=False)) == 1
    uneven = dataclasses.replace(data, train=Plain([20] * 8 + [21]), resident=False, bs=9)
    with pytest.raises(DataError) as caught:
        GRULearner(uneven, hidden_size=2).fit(1, show_progress=False)
    print(caught.value)
    assert "the samples of a training source have one shape" in str(caught.value)


def test_pipelines_and_optimizers_compare_by_value(data):
    """Of equal content; another value anywhere makes them differ."""
    assert data == pipeline_of()
    assert hash(data) == hash(pipeline_of())
    assert data != pipeline_of(bs=3)
    assert data != pipeline_of(stp_sz=5)
    changed = {
        **RECORDS,
        "valid": [{**RECORDS["valid"][0], "level": RECORDS["valid"][0]["level"] + 1e-3}],
    }
    other = create_grain_dls(
        ["u:0", "u:1"], ["level", "flow"], changed, win_sz=20, stp_sz=10, bs=4, dt=0.1
    )
    assert data != other
    assert clip_gradients(optax.adam, 1.0) == clip_gradients(optax.adam, 1.0)
    assert clip_gradients(optax.adam, 1.0) != clip_gradients(optax.adam, 2.0)
    assert skip_n(mse, 3) == skip_n(mse, 3) != skip_n(mse, 4)


def test_learners_group_by_shape(data):
    """What one program can train, although each learner was made by itself."""

    def learner(**options):
        spec = options.pop("spec", GRU(hidden_size=3))
        options = {
            "optimizer": clip_gradients(optax.adam, 1.0),
            "loss": skip_n(normalized_mse, 2),
            **options,
        }
        return Learner(spec, pipeline_of(), **options)

    learners = [
        learner(),
        learner(spec=GRU(hidden_size=4)),
        learner(seed=5),
        learner(optimizer=clip_gradients(optax.adam, 2.0)),
        learner(loss=compose_losses((skip_n(normalized_mse, 2), 3.0))),
    ]
    assert shape_groups(learners) == ((0, 2, 4), (1,), (3,))
    assert shape_groups([]) == ()
    population = fit_population([learners[0], learners[2]], 1, show_progress=False)
    alone = learner(seed=5)
    alone.fit(1, show_progress=False)
    for a, b in zip(
        *(jax.tree.leaves(nnx.state(x.model, nnx.Param)) for x in (alone, population.learners[1])),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_population_can_be_followed_and_left(data):
    """Epoch by epoch, with the results of all members."""
    learners = [GRULearner(data, hidden_size=2, seed=seed) for seed in range(2)]
    seen = []
    for results in fit_population_iter(learners, 4):
        seen.append(sorted(results))
        assert all(results[n] == learners[n].history[-1] for n in results)
        if len(seen) == 2:
            break
    assert seen == [[0, 1], [0, 1]]
    assert [len(learner.history) for learner in learners] == [2, 2]


def test_a_checkpoint_is_whole_when_the_call_returns_and_can_be_changed(data, tmp_path):
    """Another rate, another schedule, and more epochs, from a copy in another directory."""
    learner = GRULearner(data, hidden_size=3, loss=normalized_mse)
    with pytest.raises(CheckpointError, match="no epoch of a fit is done"):
        learner.save_checkpoint(tmp_path / "early")
    results = learner.fit_iter(3, lr=1e-3)
    next(results)
    path = learner.save_checkpoint(tmp_path / "a")
    rest = list(results)
    other = GRULearner(data, hidden_size=3, loss=normalized_mse)
    assert list(other.resume(path)) == rest
    longer = GRULearner(data, hidden_size=3, loss=normalized_mse)
    more = list(longer.resume(path, n_epochs=5))
    assert [r.epoch for r in more] == [1, 2, 3, 4]
    assert longer.history[0] == learner.history[0]
    assert longer.fit_in_progress.rates.max() == pytest.approx(1e-3, rel=0.05)
    faster = GRULearner(data, hidden_size=3, loss=normalized_mse)
    list(faster.resume(path, lr=1e-2, schedule=constant()))
    assert faster.fit_in_progress.rates.tolist() == pytest.approx(
        [1e-2] * len(faster.fit_in_progress.rates)
    )
    assert faster.history[1] != rest[0]
    for wrong in ({"n_epochs": 0}, {"lr": -1.0}):
        fresh = GRULearner(data, hidden_size=3, loss=normalized_mse)
        with pytest.raises(ConfigError):
            fresh.resume(path, **wrong)
        assert fresh.history == []
    done = GRULearner(data, hidden_size=3, loss=normalized_mse)
    list(done.resume(path))
    done.save_checkpoint(tmp_path / "b")
    with pytest.raises(ConfigError, match="3 epochs are done"):
        GRULearner(data, hidden_size=3, loss=normalized_mse).resume(tmp_path / "b", n_epochs=2)


def test_other_data_are_named_when_a_fit_is_resumed(data, tmp_path):
    """Validation that is scaled, and training samples that are swapped in pairs."""
    learner = GRULearner(data, hidden_size=2)
    next(results := learner.fit_iter(2))
    path = learner.save_checkpoint(tmp_path / "a")
    results.close()
    swapped = [dict(r) for r in RECORDS["train"]]
    order = np.arange(120).reshape(-1, 2)[:, ::-1].ravel()
    swapped[0] = {
        **swapped[0],
        "u": swapped[0]["u"][order],
        "level": swapped[0]["level"][order],
        "flow": np.array(swapped[0]["flow"])[order],
    }
    scaled = [{**r, "level": r["level"][::-1] * 2.0} for r in RECORDS["valid"]]
    for split, records in (("train", swapped), ("valid", scaled)):
        changed = create_grain_dls(
            ["u:0", "u:1"],
            ["level", "flow"],
            {**RECORDS, split: records},
            win_sz=20,
            stp_sz=10,
            bs=4,
            dt=0.1,
        )
        with pytest.raises(CheckpointError) as caught:
            GRULearner(changed, hidden_size=2).resume(path)
        print(caught.value)
        assert f"content of the {split} files" in str(caught.value)


THERE = """
import pickle, sys
experiment, pipeline = pickle.load(open(sys.argv[1], "rb"))
print(repr([result.valid_loss for result in experiment.build(pipeline).fit_iter(1)]))
"""
TEXT = """
[data]
dataset = "."
u = ["u:0", "u:1"]
y = ["level", "flow"]
[model]
name = "core/gru"
hidden_size = 2
"""


@pytest.mark.slow
def test_learners_are_built_in_another_process(data, tmp_path):
    """From an experiment and a pipeline that pickle, arrays in memory included."""
    experiment = parse_experiment(tomllib.loads(TEXT))
    file = tmp_path / "both.pickle"
    file.write_bytes(pickle.dumps((experiment, data)))
    here = [result.valid_loss for result in experiment.build(data).fit_iter(1)]
    command = [sys.executable, "-c", THERE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(here)


def test_residuals_are_those_of_the_loss(data):
    """Of parts too; the gradient of half their squares points as that of the loss does."""
    rng = np.random.default_rng(0)
    pred, target = (jnp.asarray(rng.standard_normal((3, 9, 2)), jnp.float32) for _ in range(2))
    target = target.at[0, 3:6, 1].set(jnp.nan)
    stats = jnp.asarray([1.0, 2.0]), jnp.asarray([0.5, 3.0])
    for loss in (
        mse,
        normalized_mse,
        skip_n(normalized_mse, 2),
        masked_loss(skip_n(mse, 1), jnp.array([True, False])),
    ):

        def squares(p, loss=loss):
            return jnp.sum(jnp.square(loss.residuals(p, target, *stats)))

        gradients = [
            np.ravel(jax.grad(f)(pred))
            for f in (squares, lambda p, loss=loss: loss(p, target, *stats))
        ]
        assert np.isfinite(gradients[0]).all()
        cosine = gradients[0] @ gradients[1] / np.prod([np.linalg.norm(g) for g in gradients])
        assert cosine == pytest.approx(1.0, abs=1e-5)
    for loss in (mae, time_weighted(mse), skip_n(mae, 2)):
        with pytest.raises((SignatureError, AttributeError)) as caught:
            loss.residuals(pred, target, *stats)
        print(caught.value)


def test_training_records_are_whole_files_with_the_samples_that_count(data):
    """Inputs in the order of reads, and n_skip samples of each that do not count."""
    learner = GRULearner(data, hidden_size=2, n_skip=7)
    records = list(learner.training_records())
    assert [len(r.target) for r in records] == [120, 75]
    assert [r.name for r in records] == ["train_0", "train_1"]
    np.testing.assert_allclose(records[1].inputs[0], RECORDS["train"][1]["u"], rtol=1e-6)
    assert [int((~r.counts).sum()) for r in records] == [7, 7]


def test_bounded_parameters_stay_within_their_bounds():
    """They begin at the start, follow a gradient, and never leave the range."""
    for bounds in ({}, {"low": 0.0}, {"high": 5.0}, {"low": 0.0, "high": 5.0}):
        parameter = BoundedParameter(Bounded(2.0, **bounds, unit="kg"))
        assert float(parameter.value) == pytest.approx(2.0)
        assert parameter.quantity[1] == "kg"
        for raw in (-30.0, -1.0, 1.0, 30.0):
            parameter.raw.set_value(jnp.float32(raw))
            value = float(parameter.value)
            assert bounds.get("low", -np.inf) <= value <= bounds.get("high", np.inf)
            assert (value > 2.0) == (raw > 0) or bounds.keys() == {"high"}
    mapping = FrozenMapping({"mass": Bounded(1.0)})
    assert hash(mapping) == hash(FrozenMapping({"mass": Bounded(1.0)}))
    assert mapping == FrozenMapping({"mass": Bounded(1.0)})
    for wrong, text in (
        ({"start": 0.0, "low": 0.0}, "lies between the bounds"),
        ({"start": "a"}, "give a number"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            Bounded(**wrong)
        print(caught.value)


def test_data_of_another_rate_are_refused(data):
    """In Python as on the command line, where the rate is given."""
    learner = GRULearner(data, hidden_size=2)
    u = np.zeros((30, 2), np.float32)
    assert learner.predict(u, dt=0.1).shape == (30, 2)
    with pytest.raises(
        DataError, match=r"sampling time of 0.2 s, and the model's is 0.1 s"
    ) as caught:
        predict(learner.model, u, dt=0.2)
    print(caught.value)


def test_saving_does_not_replace_a_model_unasked(data, tmp_path):
    """As the command line does not."""
    learner = GRULearner(data, hidden_size=2)
    learner.save(tmp_path / "m")
    with pytest.raises(SavedModelError, match="overwrite=True") as caught:
        learner.save(tmp_path / "m")
    print(caught.value)
    learner.save(tmp_path / "m", overwrite=True)


def test_a_model_that_does_not_fit_in_memory_is_refused_at_once(data):
    """With its size, and not after minutes."""
    for hidden_size in (60_000, 10**9):
        with pytest.raises(ModelError, match=r"takes .* GB, and training keeps about") as caught:
            GRULearner(data, hidden_size=hidden_size)
        print(caught.value)


def test_the_first_step_of_a_default_fit_trains(data):
    """A fit of one step changes the parameters."""
    one = pipeline_of(n_batches=1)
    learner = GRULearner(one, hidden_size=2)
    before = [np.array(x) for x in jax.tree.leaves(nnx.state(learner.model, nnx.Param))]
    learner.fit(1, show_progress=False, keep="last")
    after = jax.tree.leaves(nnx.state(learner.model, nnx.Param))
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert learner.fit_in_progress.rates[0] > 0.0


def test_fit_keeps_the_best_by_validation_and_not_by_training(data):
    """The training loss falls on a wrong target, where validation rises."""
    learner = GRULearner(data, hidden_size=3, loss=mse, batch_transform=_away)
    history = learner.fit(6, lr=3e-2, show_progress=False, schedule=constant())
    valid, train = ([getattr(r, k) for r in history] for k in ("valid_loss", "train_loss"))
    assert int(np.argmin(valid)) != int(np.argmin(train))
    assert learner.evaluate("valid").loss == pytest.approx(min(valid), rel=1e-5)


def _away(batch):
    """Train on other targets than those of validation."""
    return {**batch, "y": batch["y"] + 20.0}


def test_make_learner_takes_options_named_model(families):
    """A specification within another is given in Python as such."""
    data = pipeline_of()
    learner = make_learner(data, "families/carrying", model=GRU(hidden_size=2))
    assert learner.spec.model == GRU(hidden_size=2)
    for call, text in (
        (lambda: make_learner("core/gru", data), "got a str for the pipeline"),
        (lambda: make_learner(data, GRU()), "give a name such as 'core/gru'"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            call()
        print(caught.value)


def test_weights_within_an_order_of_its_own(families):
    """A source that takes weights keeps its order; one that does not is refused."""
    data = pipeline_of(source=families.Chunks)
    with pytest.raises(ConfigError, match="it is no WeighableSource"):
        weighted_source(data.train, np.ones(len(data.train)))

    class Weighable(families.Chunks):
        def with_weights(self, weights):
            return Weighable(self.records, bs=self.bs, win_sz=self.win_sz, weights=weights)

    source = Weighable(data.records("train"), bs=2, win_sz=20)
    weights = np.array([*(0.0 if file else 1.0 for file, _ in source.chunks), 1.0])
    drawn = weighted_source(source, weights).draw(8, seed=0, epoch=0)
    assert {source.chunks[i][0] for i in drawn if i < len(source.chunks)} == {0}


def test_a_loss_may_be_bound_by_partial(data):
    """What partial gives is no argument that tsjax has to give."""

    def scaled(pred, target, y_mean, y_std, *, factor, signals):
        return factor * len(signals.outputs) * normalized_mae(pred, target, y_mean, y_std)

    learner = GRULearner(data, hidden_size=2, loss=functools.partial(scaled, factor=2.0))
    result = learner.fit(1, show_progress=False)[0]
    assert result.valid_loss == pytest.approx(
        4.0 * GRULearner(data, hidden_size=2).fit(1, show_progress=False)[0].valid_loss, rel=0.2
    )
    assert set(result.terms) == {"scaled"}


def test_the_first_samples_that_dominate_the_error_are_reported():
    """A record that begins far from zero, and a model that begins at zero."""
    from tsjax_core.experiments.report import early_errors

    n = np.arange(400)
    decay = {"u": np.sin(n / 9.0), "y": 5.0 * 0.8**n + 0.01 * np.sin(n / 9.0)}
    data = create_grain_dls(
        ["u"], ["y"], {"train": decay, "valid": decay, "test": decay}, win_sz=80, dt=0.1
    )
    evaluation = GRULearner(data, hidden_size=2).evaluate("test")
    count, share = evaluation.early_share()
    assert count == 20
    assert share > 0.5
    print(early_errors(evaluation))
    assert "the first 20 samples of each file hold" in early_errors(evaluation)
    skipped = GRULearner(data, hidden_size=2, n_skip=60).evaluate("test")
    assert early_errors(skipped) == ""


def test_a_marked_transform_acts_in_evaluation_and_not_in_prediction(data):
    """Prediction runs the model on its inputs as they are."""

    def doubled(batch):
        return {**batch, "u": 2.0 * batch["u"]}

    learner = GRULearner(data, hidden_size=2, batch_transform=also_in_evaluation(doubled))
    (pred, _), *_ = learner.evaluate("test").pairs
    u = data.test[0]["u"]
    np.testing.assert_allclose(pred[0], learner.predict(2.0 * u), atol=1e-5)
    assert not np.allclose(pred[0], learner.predict(u), atol=1e-3)


def test_the_learning_rate_finder_leaves_a_running_fit_alone(data, tmp_path):
    """The fit goes on to its bits, and its checkpoints are its own."""
    histories = []
    for search in (False, True):
        learner = GRULearner(data, hidden_size=2)
        checkpoints = Checkpoints(tmp_path / str(search), keep_last=9)
        for result in checkpoints.follow(learner.fit_iter(3), learner):
            if search and result.epoch == 0:
                before = learner.fit_in_progress
                find_learning_rate(learner, 1e-4, 1.0, n_steps=20)
                assert learner.fit_in_progress is before
                assert learner.progress == pytest.approx(1 / 3)
        assert checkpoints.epochs == (1, 2, 3)
        histories.append(learner.history)
    assert histories[0] == histories[1]


def test_a_snapshot_keeps_the_fit_of_its_moment(data):
    """Going back to it and going on gives the epochs that were there before."""
    learner = GRULearner(data, hidden_size=2)
    results = learner.fit_iter(3)
    next(results)
    snapshot = learner.snapshot()
    rest = list(results)
    learner.restore(snapshot)
    assert (learner.fit_in_progress.done, learner.epochs_done) == (1, 1)
    assert list(learner._epochs(learner.fit_in_progress)) == rest
