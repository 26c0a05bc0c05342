"""Checkpoints: whole, few, for the right training only, and exact to go on from."""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    Checkpoints,
    EpochResult,
    GRULearner,
    Learner,
    LSTMLearner,
    add_noise,
    average_weights,
    clip_gradients,
    compose_transforms,
    exact_batches,
    flat_cos,
    load_model,
    make_learner,
    mse,
    predict,
    rmse,
    skip_nonfinite,
    vary_length,
    weighted_source,
)
from tsjax_core.errors import CheckpointError, ConfigError
from tsjax_core.training.checkpoints.checkpoints import stored_epochs


def variables(learner):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(learner.model, nnx.Not(nnx.RngState)))]


def assert_same(first, second):
    assert first.history == second.history
    for a, b in zip(variables(first), variables(second), strict=True):
        np.testing.assert_array_equal(a, b)


def interrupted(learner, folder, n_epochs, after, **options):
    """Train with checkpoints and leave the loop after the epoch of that number, from 1."""
    results = Checkpoints(folder, **options).follow(learner.fit_iter(n_epochs, lr=1e-2), learner)
    for result in results:
        if result.epoch + 1 == after:
            break
    results.close()


def everything(data, *, resident):
    """Return a learner with all that draws numbers: sampling, transforms, dropout, averaging."""
    weights = np.arange(len(data.train), dtype=float)
    pipeline = exact_batches(
        replace(data, train=weighted_source(data.train, weights), resident=resident), 6
    )
    return Learner(
        GRU(hidden_size=4, input_dropout=0.2, weight_dropout=0.2),
        pipeline,
        metrics=[rmse],
        optimizer=skip_nonfinite(average_weights(clip_gradients(optax.adam, 1.0), 0.9)),
        batch_transform=compose_transforms(vary_length(38), add_noise(0.02, p=0.7)),
        seed=5,
    )


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.slow
def test_resuming_gives_the_bits_of_the_uninterrupted_fit(data, tmp_path, resident):
    """With weighted sampling, transforms, dropout and averaging, on both data paths, twice over."""
    whole, first, second, third = (everything(data, resident=resident) for _ in range(4))
    schedule = flat_cos(0.5)
    list(whole.fit_iter(6, 1e-2, schedule))
    checkpoints = Checkpoints(tmp_path / "ck")
    for result in checkpoints.follow(first.fit_iter(6, 1e-2, schedule), first):
        if result.epoch == 1:
            break
    for result in checkpoints.follow(second.resume(tmp_path / "ck"), second):
        if result.epoch == 3:
            break
    assert [r.epoch for r in checkpoints.follow(third.resume(tmp_path / "ck"), third)] == [4, 5]
    assert_same(whole, third)
    assert whole.progress == third.progress == 1.0
    list(whole.fit_iter(1))
    list(third.fit_iter(1))
    assert_same(whole, third)


def test_checkpoints_do_not_change_the_numbers(data, tmp_path):
    """A fit that is followed equals one that is not."""
    plain, followed = (LSTMLearner(data, hidden_size=4) for _ in range(2))
    list(plain.fit_iter(3, lr=1e-2))
    list(Checkpoints(tmp_path).follow(followed.fit_iter(3, lr=1e-2), followed))
    assert_same(plain, followed)


def test_training_does_not_wait_for_a_checkpoint(data, tmp_path):
    """With 64 MB of random parameters, an epoch is given on before its checkpoint is whole."""

    class Large(nnx.Module):
        def __init__(self):
            noise = np.random.default_rng(0).standard_normal(1 << 24, np.float32)
            self.ballast = nnx.Param(jnp.asarray(noise))
            self.gain = nnx.Param(jnp.ones((1, 1)))

        def __call__(self, u):
            return u @ self.gain[...] + 0.0 * self.ballast[0]

    learner = Learner(Large(), data, optimizer=optax.sgd)
    checkpoints = Checkpoints(tmp_path)
    results = checkpoints.follow(learner.fit_iter(2, lr=1e-2), learner)
    next(results)
    assert checkpoints.epochs == ()
    assert list(tmp_path.glob("epoch_000001*"))
    next(results)
    assert checkpoints.epochs == (1,)
    results.close()
    assert 2 in checkpoints.epochs


def test_an_optimizer_with_a_schedule_of_its_own_goes_on_in_it(data, tmp_path):
    """The step count of a ready optax schedule is part of the checkpoint."""

    def make():
        rate = optax.cosine_decay_schedule(1e-2, 4 * data.steps_per_epoch)
        return Learner(GRU(hidden_size=4), data, optimizer=optax.adamw(rate))

    def fit(learner, folder, stop):
        for result in Checkpoints(folder).follow(learner.fit_iter(4), learner):
            if result.epoch == stop:
                break

    whole, first, second = make(), make(), make()
    list(whole.fit_iter(4))
    fit(first, tmp_path / "a", 1)
    list(second.resume(tmp_path / "a"))
    assert_same(whole, second)


def test_numbers_that_are_no_arrays_before_the_first_step_are_resumed(data, tmp_path):
    """An optimizer whose state begins with plain numbers, and a model that counts."""

    def counting(learning_rate):
        def update(updates, state, params=None):
            updates = jax.tree.map(lambda g: -learning_rate * g / (1.0 + state["n"]), updates)
            return updates, {"n": state["n"] + 1, "scale": state["scale"] * 0.5}

        return optax.GradientTransformation(lambda _: {"n": 0, "scale": 1.0}, update)

    class Counting(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones((1, 1)))
            self.calls = nnx.Variable(0)

        def __call__(self, u):
            self.calls[...] = self.calls[...] + 1
            return u @ self.gain[...]

    def make():
        return Learner(Counting(), data, optimizer=counting)

    whole, first, second = make(), make(), make()
    list(whole.fit_iter(3, lr=1e-2))
    interrupted(first, tmp_path, 3, 1)
    list(second.resume(tmp_path))
    assert_same(whole, second)
    assert int(second.model.calls[...]) == 3 * data.steps_per_epoch


def test_a_model_with_random_streams_and_running_statistics_goes_on_in_them(data, tmp_path):
    """Flax's own dropout and batch norm keep their state in the model."""

    class Noisy(nnx.Module):
        def __init__(self, rngs):
            self.dropout = nnx.Dropout(0.3, rngs=rngs)
            self.norm = nnx.BatchNorm(1, rngs=rngs)
            self.out = nnx.Linear(1, 1, rngs=rngs)

        def __call__(self, u):
            return self.out(self.dropout(self.norm(u)))

    def make():
        return Learner(Noisy(nnx.Rngs(0)), data)

    whole, first, second = make(), make(), make()
    list(whole.fit_iter(4, lr=1e-2))
    interrupted(first, tmp_path / "ck", 4, 2)
    list(second.resume(tmp_path / "ck"))
    assert_same(whole, second)
    streams = [
        [jax.random.key_data(key) for key in jax.tree.leaves(nnx.state(x.model, nnx.RngKey))]
        for x in (whole, second)
    ]
    np.testing.assert_array_equal(*streams)


def test_the_last_and_the_best_epochs_are_kept(data, tmp_path):
    """Two of the last and one of the best, by a metric of which more is better."""
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_best=1, monitor="rmse", mode="max")
    list(checkpoints.follow(learner.fit_iter(6, lr=1e-2), learner))
    worst = int(np.argmax([result.metrics["rmse"] for result in learner.history])) + 1
    assert set(checkpoints.epochs) == {5, 6, worst}
    assert worst < 5
    assert {path.name for path in tmp_path.iterdir()} == {
        "fit", *(f"epoch_{epoch:06d}" for epoch in checkpoints.epochs)
    }  # fmt: skip
    again = GRULearner(data, hidden_size=4, metrics=[rmse])
    again.resume(tmp_path, epoch=worst)
    assert again.evaluate().metrics["rmse"] == max(r.metrics["rmse"] for r in learner.history)


def test_an_earlier_epoch_can_be_gone_on_from(data, tmp_path):
    """`epoch=2` forgets the epochs after it, and gives their numbers again."""
    whole, first, second = (GRULearner(data, hidden_size=4) for _ in range(3))
    list(whole.fit_iter(4, lr=1e-2))
    interrupted(first, tmp_path, 4, 3, keep_last=3)
    checkpoints = Checkpoints(tmp_path, keep_last=4)
    results = checkpoints.follow(second.resume(tmp_path, epoch=1), second)
    next(results)
    assert stored_epochs(tmp_path) in {(1,), (1, 2)}
    list(results)
    assert_same(whole, second)
    assert checkpoints.epochs == (1, 2, 3, 4)


def test_a_finished_fit_has_nothing_left(data, tmp_path):
    """Resuming it yields no epoch, and the learner has the trained model."""
    first, second = (GRULearner(data, hidden_size=4) for _ in range(2))
    list(Checkpoints(tmp_path).follow(first.fit_iter(2, lr=1e-2), first))
    assert list(second.resume(tmp_path)) == []
    assert_same(first, second)


def test_the_model_of_a_resumed_learner_can_be_saved(data, tmp_path):
    """What `load_model` gives predicts as the learner."""
    first, second = (GRULearner(data, hidden_size=4) for _ in range(2))
    interrupted(first, tmp_path / "ck", 2, 1)
    list(second.resume(tmp_path / "ck"))
    second.save(tmp_path / "model")
    u = np.linspace(-0.1, 0.1, 30)
    model = load_model(tmp_path / "model")
    np.testing.assert_array_equal(predict(model, u), second.predict(u))


@pytest.fixture(scope="module")
def three(data, tmp_path_factory):
    """Return a directory with the checkpoints of epochs 2 and 3 of four."""
    folder = tmp_path_factory.mktemp("three")
    interrupted(GRULearner(data, hidden_size=4, metrics=[rmse]), folder, 4, 3, keep_last=2)
    assert stored_epochs(folder)[-2:] == (2, 3)
    return folder


@pytest.fixture
def copied(three, tmp_path):
    shutil.copytree(three, tmp_path / "ck")
    return tmp_path / "ck"


def told(learner, path, **options):
    """Return the text with which resuming is refused; the learner is as before."""
    before = variables(learner)
    with pytest.raises(CheckpointError) as caught:
        learner.resume(path, **options)
    print(f"{caught.value}\n")
    for a, b in zip(before, variables(learner), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (learner.steps, learner.epochs_done, learner.history) == (0, 0, [])
    return str(caught.value)


def test_any_truncated_file_is_found_and_the_epoch_before_still_serves(data, copied):
    """Each file of the last checkpoint in turn is cut in half, or lost."""
    last = copied / "epoch_000003"
    files = [path for path in sorted(last.rglob("*")) if path.is_file() and path.stat().st_size]
    needed = 0
    for file in files:
        content = file.read_bytes()
        for damage in (lambda f, c: f.write_bytes(c[: len(c) // 2]), lambda f, _: f.unlink()):
            damage(file, content)
            learner = GRULearner(data, hidden_size=4, metrics=[rmse])
            try:
                learner.resume(copied)
            except CheckpointError as error:
                needed += 1
                text = str(error)
                assert f"the checkpoint {last} is damaged (" in text
                assert "The one of epoch 2 is whole: resume with epoch=2." in text
            else:
                # A file that only the writer needed: what was read has its checksums.
                assert learner.epochs_done == 3
            file.write_bytes(content)
    print(text)
    assert needed >= 4
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    whole = GRULearner(data, hidden_size=4, metrics=[rmse])
    (last / "state" / "0").unlink()
    told(learner, copied)
    list(learner.resume(copied, epoch=2))
    list(whole.fit_iter(4, lr=1e-2))
    assert_same(whole, learner)


def test_a_changed_byte_is_found(data, copied):
    """A flipped bit in the numbers, or a changed fact, is not read as good."""
    last = copied / "epoch_000003"
    numbers = last / "state" / "0"
    content = bytearray(numbers.read_bytes())
    content[len(content) // 2] ^= 1
    numbers.write_bytes(content)
    assert "is damaged" in told(GRULearner(data, hidden_size=4, metrics=[rmse]), copied)
    shutil.rmtree(last)
    shutil.copytree(copied / "epoch_000002", last)
    facts = last / "_CHECKPOINT_METADATA"
    facts.write_text(facts.read_text().replace('done\\": 2', 'done\\": 3'))
    text = told(GRULearner(data, hidden_size=4, metrics=[rmse]), copied)
    assert "facts do not match their checksum" in text


def test_another_version_of_core_is_told(data, copied):
    """The text says what to install; the files of a newer format are not read."""
    file = copied / "epoch_000003" / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    written = json.loads(metadata["custom_metadata"]["text"]) | {"tsjax-core": "9.1"}
    text = json.dumps(written)
    metadata["custom_metadata"] = {"text": text, "checksum": zlib.crc32(text.encode())}
    file.write_text(json.dumps(metadata))
    text = told(GRULearner(data, hidden_size=4, metrics=[rmse]), copied)
    assert "was written by tsjax-core 9.1" in text
    assert "pip install tsjax-core==9.1" in text


def test_other_libraries_are_a_warning(data, copied):
    """Another jax may round otherwise: the fit goes on, and the user is told."""
    file = copied / "epoch_000003" / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    written = json.loads(metadata["custom_metadata"]["text"])
    written["facts"]["libraries"]["jax"] = "0.1"
    text = json.dumps(written)
    metadata["custom_metadata"] = {"text": text, "checksum": zlib.crc32(text.encode())}
    file.write_text(json.dumps(metadata))
    with pytest.warns(UserWarning, match=r"were written with jax 0\.1 \(here "):
        GRULearner(data, hidden_size=4, metrics=[rmse]).resume(copied)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"hidden_size": 5}, "model: GRU(hidden_size=4"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"n_skip": 3}, "n_skip: 0 there, 3 here"),
        ({"loss": mse}, "loss: {'normalized_mae': 1.0} there, {'mse': 1.0} here"),
        ({"metrics": []}, "metrics: ['rmse'] there, [] here"),
        ({"optimizer": optax.sgd}, "optimizer: default there, sgd here"),
        ({"batch_transform": add_noise(0.1)}, "transform: none there, "),
    ],
)
def test_the_checkpoints_of_another_training_are_told(data, three, change, expected):
    """Another model, seed, loss or optimizer: what differs is named."""
    learner = GRULearner(data, **{"hidden_size": 4, "metrics": [rmse], **change})
    text = told(learner, three)
    assert text.startswith(f"the checkpoints in {three} belong to another training: ")
    assert expected in text
    assert "Build the learner as it was built there" in text


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda data: replace(data, bs=4), "bs: 8 there, 4 here"),
        (lambda data: replace(data, seed=9), "order of the windows: "),
        (
            lambda data: replace(
                data, train=weighted_source(data.train, np.arange(len(data.train)))
            ),
            "order of the windows: ",
        ),
    ],
)
def test_the_checkpoints_of_other_data_are_told(data, three, change, expected):
    """Other batches, another order, other weights."""
    text = told(GRULearner(change(data), hidden_size=4, metrics=[rmse]), three)
    assert expected in text


def test_a_place_without_checkpoints_is_told(data, tmp_path, three):
    """An empty directory, one that is not there, and an epoch that was not kept."""
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    for path in (tmp_path, tmp_path / "nowhere"):
        assert "holds no checkpoint to resume from" in told(learner, path)
    text = told(learner, three, epoch=17)
    assert "holds no checkpoint of epoch 17; it has " in text


def test_the_checkpoints_of_another_fit_are_left_alone(data, copied, tmp_path):
    """A new fit does not write among them, nor among other files; nothing is lost."""
    learner = GRULearner(data, hidden_size=4, metrics=[rmse])
    before = sorted(path.name for path in copied.rglob("*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for path, what in (
        (copied, "the checkpoints of another fit"),
        (tmp_path / "mine", "other files"),
    ):
        with pytest.raises(CheckpointError, match=what) as caught:
            next(Checkpoints(path).follow(learner.fit_iter(1), learner))
        print(caught.value)
    assert sorted(path.name for path in copied.rglob("*")) == before
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert learner.history == []


def test_a_directory_left_by_a_killed_process_is_cleaned(data, tmp_path):
    """What Orbax had not finished, and an epoch half-deleted, are gone after the next epoch."""
    first, second = (GRULearner(data, hidden_size=4) for _ in range(2))
    interrupted(first, tmp_path, 3, 1)
    (tmp_path / "fit.new").write_text("")
    for name in ("epoch_000002.orbax-checkpoint-tmp", "dropped_000000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
    list(Checkpoints(tmp_path, keep_last=1, keep_best=0).follow(second.resume(tmp_path), second))
    assert {path.name for path in tmp_path.iterdir()} <= {"fit", "fit.new", "epoch_000003"}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"keep_last": 0}, "keep_last = 0; give a whole number of epochs, at least 1."),
        ({"keep_best": -1}, "keep_best = -1; give a whole number of epochs, at least 0."),
        ({"mode": "most"}, "mode = 'most'; give one of 'min', 'max'."),
    ],
)
def test_wrong_options_are_told(tmp_path, options, expected):
    """Each names the option, what was got, and what to give."""
    with pytest.raises(ConfigError) as caught:
        Checkpoints(tmp_path, **options)
    print(caught.value)
    assert str(caught.value) == expected


def test_a_learner_without_a_fit_is_told(data, tmp_path):
    """There is nothing to write of it."""
    learner = GRULearner(data, hidden_size=4)
    with pytest.raises(ConfigError, match="got a learner without a fit") as caught:
        next(Checkpoints(tmp_path).follow([EpochResult(0, 1.0, 1.0)], learner))
    print(caught.value)


def test_a_run_by_name_with_a_plugin_model_resumes(data, tmp_path):
    """The convolutions of tsjax-tcn, whose weight norm has parameters of its own."""
    pytest.importorskip("tsjax_tcn")

    def make():
        return make_learner(data, "tcn/tcn", hidden_size=4, num_layers=2, seed=1)

    whole, first, second = make(), make(), make()
    list(whole.fit_iter(3, lr=1e-2))
    interrupted(first, tmp_path, 3, 1)
    list(second.resume(tmp_path))
    assert_same(whole, second)
