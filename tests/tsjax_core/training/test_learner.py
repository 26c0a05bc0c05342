"""Training: reproducible, equal on both data paths, and right on whole splits."""

from __future__ import annotations

import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from rich.console import Console

from tsjax_core import (
    GRU,
    RNN,
    GRULearner,
    Learner,
    LSTMLearner,
    RNNLearner,
    compose_losses,
    create_grain_dls,
    fit_percent,
    mae,
    make_learner,
    mse,
    normalized_mae,
    nrmse,
    rmse,
    vaf,
)
from tsjax_core.errors import ConfigError
from tsjax_core.training.epoch import runs_of_epoch, state_before
from tsjax_core.training.progress import follow
from tsjax_core.training.schedules import constant, flat_cos, warmup_cosine
from tsjax_core.training.step.engine import split_model


@pytest.fixture(scope="module")
def wide(two_by_three):
    return create_grain_dls(
        ["a", "b"], ["p", "q", "r"], two_by_three, win_sz=40, stp_sz=10, bs=8, valid="files"
    )


def parameters(learner: Learner) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model, nnx.Param))]


def losses(results) -> list[tuple[float, float]]:
    return [(result.train_loss, result.valid_loss) for result in results]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_bits(data):
    """Two learners, with dropout, agree in every loss and parameter; another seed does not."""
    spec = GRU(hidden_size=4, input_dropout=0.2, weight_dropout=0.2)
    first, again, other = (Learner(spec, data, seed=seed) for seed in (1, 1, 2))
    runs = [losses(learner.fit_iter(2)) for learner in (first, again, other)]
    assert runs[0] == runs[1] != runs[2]
    assert_same_bits(parameters(first), parameters(again))


def test_fit_equals_consuming_fit_iter(data):
    """`fit` and `fit_flat_cos` are loops over `fit_iter` and nothing else, with the last weights.

    The rate rises and falls as `warmup_cosine` does unless a schedule is given.
    """
    by_fit, by_iter = (make_learner(data, "core/gru", hidden_size=4) for _ in range(2))
    options = {"keep": "last", "show_progress": False}
    by_fit.fit(2, lr=1e-2, **options)
    by_fit.fit(1, lr=1e-2, schedule=constant(), **options)
    results = by_fit.fit_flat_cos(2, lr=1e-2, pct_start=0.5, **options)
    list(by_iter.fit_iter(2, lr=1e-2, schedule=warmup_cosine()))
    list(by_iter.fit_iter(1, lr=1e-2, schedule=constant()))
    expected = list(by_iter.fit_iter(2, lr=1e-2, schedule=flat_cos(0.5)))
    assert losses(results) == losses(expected)
    assert losses(by_fit.history) == losses(by_iter.history)
    assert_same_bits(parameters(by_fit), parameters(by_iter))


def test_the_best_weights_are_kept(data):
    """Of a fit that gets worse: those of the epoch with the lowest validation loss, or the last."""
    kept = {}
    for keep in ("best", "last"):
        learner = make_learner(data, "core/gru", hidden_size=4)
        rising = {"lr": 1.0, "schedule": lambda progress: 0.01 + progress**4}
        results = learner.fit(6, **rising, keep=keep, show_progress=False)
        seen = [result.valid_loss for result in results]
        assert min(seen) < seen[-1]
        kept[keep] = learner.evaluate("valid").loss
        np.testing.assert_allclose(kept[keep], min(seen) if keep == "best" else seen[-1])
    assert kept["best"] < kept["last"]


def test_what_to_keep_is_one_of_two(data):
    """Nothing is trained before that is known."""
    learner = make_learner(data, "core/gru", hidden_size=4)
    with pytest.raises(ConfigError, match="keep = 'first'; give one of 'best', 'last'") as caught:
        learner.fit(1, keep="first")
    print(caught.value)
    assert learner.fit_in_progress is None


def test_both_data_paths_give_equal_losses(two_by_three):
    """Signals kept on the device, or read batch by batch: the same windows, the same losses."""
    runs = []
    for resident in (True, False):
        pipeline = create_grain_dls(
            ["a", "b"],
            ["p", "q", "r"],
            two_by_three,
            win_sz=30,
            stp_sz=7,
            bs=8,
            u_scalars=["mass"],
            resident=resident,
        )
        learner = GRULearner(pipeline, hidden_size=5, scalar_inputs=True, metrics=[rmse])
        runs.append(losses(learner.fit_iter(3, lr=1e-2)))
    assert runs[0] == runs[1]


def test_training_reduces_the_loss_of_several_inputs_and_outputs(wide):
    """A linear system in mixed units is learned far better than its mean, in every channel."""
    learner = GRULearner(wide, hidden_size=16, n_skip=5, metrics=[fit_percent])
    learner.fit_flat_cos(40, lr=2e-2, show_progress=False)
    channels = learner.evaluate("test").channels["fit_percent"]
    assert set(channels) == {"p", "q", "r"}
    assert min(channels.values()) > 80.0


def test_breaking_off_leaves_a_usable_learner(data):
    """The model has the weights of the last epoch, and training goes on from them."""
    learner = make_learner(data, "core/rnn", hidden_size=4)
    for _ in learner.fit_iter(10, lr=1e-2):
        break
    assert len(learner.history) == 1
    after = parameters(learner)
    assert learner.evaluate("valid").loss == learner.history[0].valid_loss
    learner.fit(1, show_progress=False)
    assert len(learner.history) == 2
    assert any((a != b).any() for a, b in zip(after, parameters(learner), strict=True))


def test_an_interrupted_epoch_leaves_the_weights_of_the_one_before(data):
    """Ctrl-C in the middle of the second epoch."""
    calls = 0

    def interrupt(batch):
        nonlocal calls
        calls += 1
        if calls == data.steps_per_epoch + 2:
            raise KeyboardInterrupt
        return batch

    interrupt.changes_shape = True
    learner = Learner(RNN(hidden_size=4), data, batch_transform=interrupt)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(3, lr=1e-2, schedule=constant(), show_progress=False)
    whole = Learner(RNN(hidden_size=4), data)
    whole.fit(1, lr=1e-2, schedule=constant(), show_progress=False)
    np.testing.assert_allclose(
        np.concatenate([x.ravel() for x in parameters(learner)]),
        np.concatenate([x.ravel() for x in parameters(whole)]),
        rtol=1e-5,
        atol=1e-7,
    )


def test_each_fit_draws_another_order_of_the_data(data):
    """The second fit of a learner does not repeat the batches of the first."""
    seen = []

    def record(batch):
        seen.append(np.asarray(batch["u"]).copy())
        return batch

    record.changes_shape = True
    learner = Learner(RNN(hidden_size=2), data, batch_transform=record)
    learner.fit(1, show_progress=False)
    learner.fit(1, show_progress=False)
    half = len(seen) // 2
    assert not np.array_equal(seen[0], seen[half])

    def windows(batches):
        return {x.tobytes() for batch in batches for x in batch}

    assert len(windows(seen[:half]) & windows(seen[half:])) > 0.5 * half * data.bs


def test_a_metric_is_that_of_the_whole_split_and_not_a_mean_over_batches(data):
    """NumPy on all validation windows at once gives the reported metric and loss."""
    learner = GRULearner(data, hidden_size=4, n_skip=7, loss=mse, metrics=[rmse, nrmse])
    result = learner.fit(1, show_progress=False)[0]
    windows = [data.valid[i] for i in range(len(data.valid))]
    pred = learner.predict(np.stack([w["u"] for w in windows]))[:, 7:]
    target = np.stack([w["y"] for w in windows])[:, 7:]
    error = pred - target
    assert len(windows) % data.bs != 0
    np.testing.assert_allclose(result.metrics["rmse"], np.sqrt(np.mean(error**2)), rtol=1e-5)
    np.testing.assert_allclose(result.valid_loss, np.mean(error**2), rtol=1e-5)
    by_batch = [np.sqrt(np.mean(error[i : i + 8] ** 2)) for i in range(0, len(error), 8)]
    assert abs(np.mean(by_batch) - result.metrics["rmse"]) > 1e-6


def test_files_of_unequal_length_are_scored_whole(wide):
    """Each file alone, all files as one record, and the loss by samples, against NumPy."""
    learner = GRULearner(wide, hidden_size=4, n_skip=11, loss=normalized_mae, metrics=[rmse, vaf])
    learner.fit(1, show_progress=False)
    got = learner.evaluate("test")
    std = wide.signals.stats["y"].std
    preds, targets = [], []
    for index in range(len(wide.test)):
        sample = wide.test[index]
        preds.append(learner.predict(sample["u"])[11:])
        targets.append(sample["y"][11:])
        rms = np.sqrt(np.mean((preds[-1] - targets[-1]) ** 2))
        name = f"part_{index}.hdf5"
        np.testing.assert_allclose(got.files[name].metrics["rmse"], rms, rtol=1e-4)
    pred, target = np.concatenate(preds), np.concatenate(targets)
    assert len({len(p) for p in preds}) == 2
    np.testing.assert_allclose(
        got.metrics["rmse"], np.sqrt(np.mean((pred - target) ** 2)), rtol=1e-4
    )
    np.testing.assert_allclose(got.loss, np.mean(np.abs(pred - target) / std), rtol=1e-4)
    for channel, name in enumerate("pqr"):
        expected = np.sqrt(np.mean((pred - target)[:, channel] ** 2))
        np.testing.assert_allclose(got.channels["rmse"][name], expected, rtol=1e-4)


def test_a_model_that_is_not_stateful_is_run_on_unpadded_files(wide):
    """A model that looks at the whole record sees the record and no padding."""

    class MeanOfInputs(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones((2, 3)))

        def __call__(self, u):
            return jnp.broadcast_to(u.mean(1, keepdims=True), u.shape) @ self.gain[...]

    learner = Learner(MeanOfInputs(), wide, loss=mse)
    evaluation = learner.evaluate("test")
    pairs, names = evaluation.pairs, tuple(evaluation.files)
    for (pred, _), index in zip(pairs, range(len(names)), strict=True):
        u = wide.test[index]["u"]
        np.testing.assert_allclose(pred[0, 0], u.mean(0) @ np.ones((2, 3)), rtol=1e-4)


def test_scalar_targets_train(two_by_three):
    """Sequence to scalar: `wear` falls with the file number, which the signals do not tell."""
    pipeline = create_grain_dls(
        ["a", "b"],
        [],
        two_by_three,
        win_sz=30,
        stp_sz=3,
        bs=16,
        u_scalars=["mass"],
        y_scalars=["wear"],
        valid="files",
    )
    learner = GRULearner(pipeline, hidden_size=8, scalar_inputs=True, output="last", metrics=[rmse])
    learner.fit_flat_cos(20, lr=2e-2, show_progress=False)
    evaluation = learner.evaluate("test")
    assert evaluation.metrics["rmse"] < 0.5
    assert evaluation.files == {}


def test_fits_reuse_the_compiled_step(data):
    """Other rates, schedules and lengths of fit do not compile the step again."""
    learner = make_learner(data, "core/rnn", hidden_size=3)
    learner.fit(1, lr=1e-2, show_progress=False)
    learner.fit_flat_cos(2, lr=1e-3, show_progress=False)
    assert learner.engine._make_compiled._cache_size() == 1


def test_a_step_takes_over_the_memory_of_the_state_before(data):
    """Arrays of the learner's model are copied before, and stay."""
    learner = make_learner(data, "core/rnn", hidden_size=3)
    fit = learner.begin_fit(1, 1e-2, None)
    with learner.whole_epoch(fit):
        state = state_before(learner, fit)
        run = next(runs_of_epoch(learner, fit, 0))
        *_, buffers, _ = split_model(learner.model)
        learner.engine.make_run(run, state, buffers, learner.signals_on_device, learner.weights)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert all(np.isfinite(x).all() for x in parameters(learner))


class Convolution(nnx.Module):
    """A layer of flax, within a function that is compiled for itself."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 1, kernel_size=(3,), padding="CAUSAL", rngs=rngs)

    def __call__(self, u):
        return nnx.jit(lambda conv, u: conv(u))(self.conv, u)


@pytest.mark.parametrize("resident", [True, False])
def test_steps_of_convolutions_are_no_loop(data, resident):
    """XLA's convolution is slow within a loop: on a processor there is none around its steps."""
    pipeline = replace(data, resident=resident)
    learner = Learner(Convolution(nnx.Rngs(0)), pipeline)
    recurrent = make_learner(pipeline, "core/rnn", hidden_size=2)
    assert recurrent.engine.steps_in_loops
    assert learner.engine.steps_in_loops == (jax.default_backend() != "cpu")
    lengths = {}
    for name, each in (("convolution", learner), ("recurrent", recurrent)):
        fit = each.begin_fit(1, 1e-3, None)
        lengths[name] = [int(run.count) for run in runs_of_epoch(each, fit, 0)]
        assert sum(lengths[name]) == data.steps_per_epoch
    assert max(lengths["recurrent"]) > 1
    if not learner.engine.steps_in_loops:
        assert set(lengths["convolution"]) == {1}
    learner.fit(1, 1e-3, show_progress=False)


def test_any_optax_transformation_serves_as_optimizer(data):
    """A function of the rate is steered by the fit; a ready transformation has its own rate."""
    steered = make_learner(data, "core/rnn", hidden_size=3, optimizer=optax.sgd)
    steered.fit(1, lr=0.05, schedule=constant(), show_progress=False)
    ready = make_learner(
        data, "core/rnn", hidden_size=3, optimizer=optax.chain(optax.identity(), optax.sgd(0.05))
    )
    ready.fit(1, show_progress=False)
    for a, b in zip(parameters(steered), parameters(ready), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    for lr, parts in ((1e-3, ["lr = 0.001", "rate of its own"]),):
        with pytest.raises(ConfigError) as caught:
            ready.fit(1, lr=lr)
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)
    with pytest.raises(ConfigError) as caught:
        make_learner(data, "core/rnn", optimizer=optax.trace)
    print(caught.value)
    assert "learning_rate" in str(caught.value)


def test_the_schedule_sets_the_rate_of_every_step(data):
    """With gradient descent and rate 0 in the second epoch, that epoch changes nothing."""
    learner = make_learner(data, "core/rnn", hidden_size=3, optimizer=optax.sgd)
    results = learner.fit_iter(2, lr=0.1, schedule=lambda progress: (progress < 0.5) * 1.0)
    snapshots = [parameters(learner), *(parameters(learner) for _ in results)]
    assert any((a != b).any() for a, b in zip(*snapshots[:2], strict=True))
    assert_same_bits(*snapshots[1:])


def test_flat_cos_is_flat_then_half_a_cosine_to_zero():
    """At the known points of the curve."""
    progress = np.array([0.0, 0.5, 0.75, 0.875, 1.0])
    np.testing.assert_allclose(flat_cos()(progress), [1, 1, 1, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(constant()(progress), 1.0)
    with pytest.raises(ConfigError) as caught:
        flat_cos(1.0)
    print(caught.value)
    assert "pct_start = 1.0" in str(caught.value)


def test_a_transform_gets_what_it_declares_and_validation_never_sees_it(data):
    """A fresh key each step, the progress of the fit, and the epoch; the input stays as it is."""
    seen = []

    def spy(batch, *, key, progress, epoch):
        seen.append((jax.random.key_data(key).tolist(), float(progress), int(epoch)))
        return {**batch, "u": batch["u"] * 0.0}

    spy.changes_shape = True
    learner = Learner(GRU(hidden_size=3), data, batch_transform=spy)
    plain = Learner(GRU(hidden_size=3), data)
    assert learner.evaluate("valid") == plain.evaluate("valid")
    learner.fit(2, show_progress=False)
    steps = data.steps_per_epoch
    assert len(seen) == 2 * steps
    assert len({tuple(key) for key, _, _ in seen}) == len(seen)
    np.testing.assert_allclose([p for _, p, _ in seen], np.arange(2 * steps) / (2 * steps))
    assert [e for _, _, e in seen] == [0] * steps + [1] * steps


def test_a_compiled_transform_acts_on_training_alone(data):
    """A transform that keeps shapes is part of the compiled step: here it shifts the targets."""

    def shift(batch, *, key):
        return {**batch, "y": batch["y"] + 1000.0}

    learner = Learner(GRU(hidden_size=3), data, batch_transform=shift, loss=mae)
    result = learner.fit(1, show_progress=False)[0]
    assert result.train_loss == pytest.approx(1000.0, abs=1.0)
    assert result.valid_loss < 1.0


def test_a_loss_gets_what_it_declares_and_its_terms_are_in_the_history(data):
    """Batch, model, intermediate values and a key reach the term; every term has its name."""

    def everything(pred, target, y_mean, y_std, *, batch, model, aux, key):
        assert pred.shape == target.shape == (8, 35, 1)
        assert batch["u"].shape == (8, 40, 1)
        assert aux["hidden"].shape == (8, 40, 4)
        penalty = jnp.mean(model.head.out.kernel[...] ** 2)
        return penalty + 0.0 * jax.random.normal(key)

    loss = compose_losses(fit=(normalized_mae, 1.0), penalty=(everything, 0.5))
    learner = GRULearner(data, hidden_size=4, n_skip=5, loss=loss)
    result = learner.fit(1, show_progress=False)[0]
    assert set(result.terms) == {"fit", "penalty"}
    assert result.train_loss == pytest.approx(sum(result.terms.values()))
    plain = GRULearner(data, hidden_size=4, n_skip=5)
    plain.model = learner.model
    assert result.valid_loss == pytest.approx(plain.evaluate("valid").loss)


@pytest.mark.parametrize("valid", ["windows", "files"])
def test_a_loss_that_needs_the_batch_is_validated_batch_by_batch(two_by_three, valid):
    """With no plain term the validation loss is the mean over all samples, none padded."""
    data = create_grain_dls(["a"], ["p"], two_by_three, win_sz=17, bs=8, valid=valid)

    def input_power(pred, target, y_mean, y_std, *, batch, key):
        return jnp.mean(batch["u"] ** 2) + 0.0 * (jnp.mean(pred) + jax.random.normal(key))

    def scored_power(pred, target, y_mean, y_std, *, batch):
        return jnp.mean(batch["u"][:, 5:] ** 2) + 0.0 * jnp.mean(pred)

    skipping = GRULearner(data, hidden_size=2, loss=scored_power, n_skip=5)
    scored = np.concatenate([data.valid[i]["u"][5:] for i in range(len(data.valid))])
    assert skipping.evaluate("valid").loss == pytest.approx(np.mean(scored**2), rel=1e-5)

    learner = GRULearner(data, hidden_size=2, loss=input_power)
    samples = np.concatenate([data.valid[i]["u"] for i in range(len(data.valid))])
    expected = np.mean(samples**2)
    assert learner.evaluate("valid").loss == pytest.approx(expected, rel=1e-5)


def test_variables_that_the_model_changes_are_kept(data):
    """A model that counts its training steps ends with the number of steps."""

    class Count(nnx.Variable):
        pass

    class Counting(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones(()))
            self.count = Count(jnp.zeros((), jnp.int32))

        def __call__(self, u):
            self.count[...] += 1
            return u * self.gain[...]

    learner = Learner(Counting(), data)
    learner.fit(2, show_progress=False)
    assert int(learner.model.count[...]) == 2 * data.steps_per_epoch


class FlaxLayers(nnx.Module):
    """A model of flax's own layers, with their own random state and running statistics."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(1, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, u):
        return self.out(self.dropout(self.norm(nnx.tanh(self.hidden(u)))))


def test_flax_layers_train_and_evaluate_in_their_modes(data):
    """Dropout and batch statistics act in training; evaluation is deterministic without them."""
    learner = Learner(FlaxLayers(nnx.Rngs(0)), data)
    learner.fit(2, lr=1e-2, schedule=constant(), keep="last", show_progress=False)
    running = np.asarray(learner.model.norm.mean[...])
    assert np.abs(running).max() > 0.0
    assert learner.evaluate("valid") == learner.evaluate("valid")
    np.testing.assert_array_equal(learner.model.norm.mean[...], running)
    assert int(learner.model.dropout.rngs.count[...]) == 2 * data.steps_per_epoch
    u = np.random.default_rng(0).standard_normal((4, 20, 1))
    np.testing.assert_array_equal(learner.predict(u), learner.predict(u))
    np.testing.assert_allclose(learner.predict(u)[:1], learner.predict(u[:1]), rtol=1e-5)


def test_factories_build_their_cell(data):
    """`GRULearner(pipeline, ...)` is `make_learner(pipeline, "core/gru", ...)`."""
    for factory, name in ((RNNLearner, "RNN"), (GRULearner, "GRU"), (LSTMLearner, "LSTM")):
        learner = factory(data, hidden_size=2, metrics=[mae])
        assert type(learner.spec).__name__ == name


def test_progress_counts_up_to_one(data):
    """The share that is done is readable at any time and ends at 1."""
    learner = GRULearner(data, hidden_size=2)
    shares = [learner.progress for _ in learner.fit_iter(4)]
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_progress_lines_show_loss_metric_and_time(data, capsys):
    """Without a terminal each epoch is one plain line on standard error."""
    GRULearner(data, hidden_size=2, metrics=[rmse]).fit(2)
    out = capsys.readouterr()
    assert out.out == ""
    lines = out.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  train ")
    assert "rmse" in lines[1]
    assert lines[1].endswith(" s")


def test_a_split_that_does_not_exist_is_refused(data):
    """The error lists the splits."""
    with pytest.raises(ConfigError) as caught:
        GRULearner(data, hidden_size=2).evaluate("testing")
    print(caught.value)
    assert "train, valid, test" in str(caught.value)


def test_signals_with_statistics_of_another_width_are_refused(data):
    """The error says how many channels there are."""
    with pytest.raises(ValueError, match="2 channels") as caught:
        replace(data.signals, inputs=("a", "b"))
    print(caught.value)


def test_a_terminal_shows_a_bar_with_the_time_left(data):
    """The bar ends full, with the losses of the last epoch and no time left."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    learner = GRULearner(data, hidden_size=2, metrics=[rmse])
    results = list(follow(learner.fit_iter(2), 2, lambda: learner.progress, console))
    last = screen.getvalue().rsplit("\r", 1)[-1]
    print(last)
    assert len(results) == 2
    assert "epoch 2/2" in last
    assert f"valid {results[-1].valid_loss:.4g}" in last
    assert "0:00:00 left" in last
