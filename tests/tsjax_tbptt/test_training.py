"""Training by TBPTT through the learner."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    LSTM,
    Carry,
    GRULearner,
    Learner,
    clip_gradients,
    compose_losses,
    constant,
    create_grain_dls,
    exact_batches,
    limit_batches,
    load_model,
    mse,
    normalized_mse,
    predict,
    rmse,
    skip_large,
    temporal_activation_regularizer,
)
from tsjax_core.errors import ConfigError
from tsjax_tbptt import StatefulRNN, TBPTTLearner, stateful


def pipeline_of(records, **changes):
    splits = {"train": records, "valid": records[:1], "test": records[:2]}
    options = {"win_sz": 10, "bs": 2, "source": "tbptt/chunks", **changes}
    return create_grain_dls(["u:0", "u:1"], ["y:0", "y:1"], splits, **options)


@pytest.fixture(scope="module")
def data(make_records):
    return pipeline_of(make_records(50, 23, 41))


def params_of(learner):
    return jax.tree.leaves(nnx.state(learner.model, nnx.Param))


def numbers(learner):
    return [replace(r, seconds=0.0, step_losses=None) for r in learner.history]


def test_a_chunk_that_is_a_sequence_trains_as_ordinary_windows(make_records):
    """To 1e-6, because they are two programs: equal windows in equal batches."""
    records = make_records(20, 20, 20, 20)
    chunked = pipeline_of(records, win_sz=20)
    learner = TBPTTLearner(chunked, model=GRU(hidden_size=3))
    ordinary = pipeline_of(records, win_sz=20, source=None)

    class SameOrder:
        """The windows in the order of the chunks."""

        def __init__(self, source, order):
            self.source, self.order = source, order

        def __len__(self):
            return len(self.source)

        def __getitem__(self, index):
            return self.source[index]

        def read_batch(self, indices):
            return self.source.read_batch(indices)

        def draw(self, n, *, seed, epoch):
            return self.order.draw(n, seed=seed, epoch=epoch)

    ordinary = replace(ordinary, train=SameOrder(ordinary.train, chunked.train), resident=False)
    plain = GRULearner(ordinary, hidden_size=3)
    for each in (learner, plain):
        list(each.fit_iter(3, lr=1e-2))
    for a, b in zip(params_of(learner), params_of(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    losses = [[r.train_loss for r in each.history] for each in (learner, plain)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_both_data_paths_train_to_the_same_bits(make_records, data):
    """Chunks that are cut on the device, and chunks that are read."""
    learners = []
    for pipeline in (data, replace(data, resident=False)):
        learner = TBPTTLearner(pipeline, model=GRU(hidden_size=3), look_back=10)
        list(learner.fit_iter(2))
        learners.append(learner)
    assert numbers(learners[0]) == numbers(learners[1])


def test_a_fit_goes_on_in_the_middle_of_a_sequence_to_the_same_bits(make_records, tmp_path):
    """The order goes on across epochs, and the carry is in the checkpoint."""
    source = {"name": "tbptt/chunks", "epoch_batches": 2}
    pipeline = pipeline_of(make_records(93, 81), source=source)

    def learner_of():
        return TBPTTLearner(pipeline, model=GRU(hidden_size=3), look_back=10)

    whole = learner_of()
    list(whole.fit_iter(4))
    assert any((batch["position"][:, 0] > 0).all() for batch in pipeline.train_batches(1))
    part = learner_of()
    for result in part.fit_iter(4):
        part.save_checkpoint(tmp_path / "checkpoints")
        if result.epoch == 1:
            break
    carried = jax.tree.leaves(nnx.state(part.model, Carry))
    assert any(np.abs(np.asarray(x)).max() > 0 for x in carried)
    resumed = learner_of()
    list(resumed.resume(tmp_path / "checkpoints"))
    assert numbers(resumed) == numbers(whole)
    for a, b in zip(params_of(resumed), params_of(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    # Without the carry the next epoch would begin from other states.
    forgotten = learner_of()
    results = forgotten.resume(tmp_path / "checkpoints")
    nnx.update(
        forgotten.model,
        jax.tree.map(lambda x: 0 * x, nnx.state(forgotten.model, Carry)),
    )
    list(results)
    assert numbers(forgotten) != numbers(whole)


def test_n_skip_acts_in_the_first_chunk_of_a_sequence_alone(data):
    """And padding counts nowhere: other targets there change no loss."""
    learner = TBPTTLearner(data, model=GRU(hidden_size=2), n_skip=13, loss=normalized_mse)
    batches = [dict(batch) for batch in data.train_batches(0)]
    for batch in batches:
        spoilt = np.array(batch["y"])
        left_out = (batch["position"] < 13)[..., None]
        spoilt = np.where(left_out, 1e6, spoilt)
        first, second = (
            learner.engine.batch_loss(learner.model, {**batch, "y": y}, learner.weights)
            for y in (batch["y"], spoilt)
        )
        assert first["normalized_mse"] == second["normalized_mse"]
    counted = sum((batch["position"] >= 13).sum() for batch in batches)
    assert counted == (50 - 13) + (23 - 13) + (41 - 13)


def test_evaluation_never_sees_the_carry_and_a_saved_model_has_none(data, tmp_path):
    """Whatever the carry holds, validation, test and prediction are those of the model alone."""
    learner = TBPTTLearner(data, model=GRU(hidden_size=3), metrics=[rmse])
    list(learner.fit_iter(1))
    before = learner.evaluate("test")
    wild = jax.tree.map(lambda x: x + 1, nnx.state(learner.model, Carry))
    nnx.update(learner.model, wild)
    assert learner.evaluate("test") == before
    u = data.test[0]["u"]
    learner.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert not jax.tree.leaves(nnx.state(model, Carry))
    np.testing.assert_array_equal(predict(model, u), learner.predict(u))
    inner = nnx.state(learner.model.inner, nnx.Param)
    plain = GRU(hidden_size=3).build(data.signals, rngs=nnx.Rngs(0))
    nnx.update(plain, inner)
    np.testing.assert_array_equal(predict(plain, u), learner.predict(u))


def test_batches_of_other_sequences_do_not_change_predictions(make_records):
    """With a rate of 0, losses are those of the sequences, whatever came before them."""
    losses = []
    for seed in (0, 1):
        pipeline = pipeline_of(make_records(20, 20, 20, 20, 20, 20), seed=seed)
        learner = TBPTTLearner(pipeline, model=GRU(hidden_size=3), loss=mse)
        (result,) = learner.fit_iter(1, lr=1e-30, schedule=constant())
        drawn = np.concatenate(list(pipeline.batch_indices(0)))
        assert len(set(drawn.tolist())) == 12
        losses.append((drawn.tolist(), result.train_loss))
    assert losses[0][0] != losses[1][0]
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-5)


def test_a_memory_longer_than_the_chunk_is_learnt(third_party):
    """A time constant of 40 samples from chunks of 5, which windows that begin at zero miss."""
    rng = np.random.default_rng(0)
    u = np.repeat(rng.standard_normal(200), 4)
    y = np.zeros(800)
    for t in range(800):
        y[t] = (0.975 * y[t - 1] if t else 0.0) + 0.5 * u[t]
    record = {"u": u, "y": y}
    splits = {"train": [record] * 2, "valid": record, "test": record}
    poles = []
    for source in ("tbptt/chunks", None):
        data = create_grain_dls(["u"], ["y"], splits, win_sz=5, stp_sz=5, bs=2, source=source)
        learner = Learner(stateful(third_party.Lag()), data, normalized_mse)
        list(learner.fit_iter(6, lr=5e-3))
        poles.append(float(learner.model.inner.a[...]))
    print(poles)
    assert abs(poles[0] - 0.975) < 1e-3
    assert abs(poles[1] - 0.975) > 1e-2


@pytest.mark.parametrize("limit", ["exact", "fewer"])
def test_weights_and_limits_compose(make_records, limit):
    """Balanced files and exact batches, or fewer; with clipping, skipping, aux and dropout."""
    pipeline = pipeline_of(make_records(50, 23, 41), balance="files" if limit == "exact" else None)
    if limit == "exact":
        pipeline = exact_batches(pipeline, 11)
    elif limit == "fewer":
        pipeline = limit_batches(pipeline, 3)
    loss = compose_losses((normalized_mse, 1.0), (temporal_activation_regularizer("hidden"), 0.1))

    optimizer = skip_large(clip_gradients(optax.adam, 1.0), 1e3)
    learner = TBPTTLearner(
        pipeline,
        model=GRU(hidden_size=3, input_dropout=0.1),
        look_back=10,
        loss=loss,
        optimizer=optimizer,
    )
    results = list(learner.fit_iter(2))
    assert len(results[0].step_losses) == {"exact": 11, "fewer": 3}[limit]
    assert all(np.isfinite(r.train_loss) for r in results)


def test_the_third_party_models_train(third_party, make_records):
    """One that reads y in its initial window and one without channels of its own."""
    pipeline = pipeline_of(make_records(50, 23, 41))
    learner = TBPTTLearner(pipeline, model=third_party.Prior(), look_back=10)
    assert learner.n_skip == 3
    list(learner.fit_iter(2))
    assert np.isfinite(learner.evaluate("test").loss)
    u, y = pipeline.test[0]["u"], np.array(pipeline.test[0]["y"])
    spoilt = y.copy()
    spoilt[3:] = np.nan
    np.testing.assert_array_equal(learner.predict(u, y), learner.predict(u, spoilt))


def test_pipelines_whose_rows_do_not_go_on_are_told(make_records, data):
    """No position, another number of rows, and epochs that do not meet."""
    records = make_records(50, 23, 41)
    endless = pipeline_of(records, source={"name": "tbptt/chunks", "epoch_batches": 4})
    cases = [
        (pipeline_of(records, source=None), "the training batches have no position"),
        (replace(data, bs=3), "bs = 3 of the pipeline, and its source tbptt/chunks arranges 2"),
        (limit_batches(endless, 3), "an epoch has 3 batches, and the next one would go on after"),
    ]
    for pipeline, text in cases:
        with pytest.raises(ConfigError) as caught:
            TBPTTLearner(pipeline)
        print(caught.value)
        assert text in str(caught.value)
    assert TBPTTLearner(endless).pipeline.steps_per_epoch == 4


def test_stateful_is_the_specification(data):
    """With the defaults of the factory."""
    assert stateful(LSTM(), look_back=3) == StatefulRNN(LSTM(), 3)
    assert TBPTTLearner(data).spec == StatefulRNN()
    assert StatefulRNN().model == GRU()
