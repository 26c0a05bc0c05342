"""Transforms in training: fresh draws, the same bits on both data paths, evaluation untouched."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tomli_w
from flax import nnx

from tsjax_core import (
    Learner,
    add_bias,
    add_grouped_noise,
    add_noise,
    also_in_evaluation,
    compose_transforms,
    create_grain_dls,
    truncate_schedule,
    vary_length,
    with_probability,
)
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.experiment import load_experiment, parse_experiment


@pytest.fixture(scope="module")
def data(oscillator):
    return create_grain_dls(["u"], ["y"], oscillator, win_sz=40, stp_sz=40, bs=8, seed=3)


class Static(nnx.Module):
    """A gain and an offset, which compile in no time."""

    def __init__(self):
        self.gain, self.offset = nnx.Param(jnp.float32(0.5)), nnx.Param(jnp.float32(0.1))

    def __call__(self, u):
        return self.gain[...] * u + self.offset[...]


def learner_of(data, transform, **options):
    return Learner(Static(), data, optimizer=optax.sgd, batch_transform=transform, **options)


def recording(seen):
    """Return a transform that keeps what it is given on the host."""

    def record(batch):
        seen.append(np.asarray(batch["u"]).copy())
        return batch

    record.changes_shape = True
    return record


def losses_of(learner, n_epochs=3):
    """Return the losses of all steps."""
    return np.concatenate([r.step_losses for r in learner.fit(n_epochs, show_progress=False)])


def test_noise_differs_in_every_step_and_epoch_and_a_seed_gives_it_again(data):
    """Constant inputs show what was added."""
    runs = []
    for seed in (0, 0, 1):
        seen = []
        blank = lambda batch: {**batch, "u": np.zeros_like(batch["u"])}  # noqa: E731
        transform = compose_transforms(blank, add_noise(), recording(seen))
        learner_of(data, transform, seed=seed).fit(2, show_progress=False)
        runs.append(seen)
    first, again, other = runs
    assert len(first) == 2 * data.steps_per_epoch
    assert len({x.tobytes() for x in first + other}) == len(first) + len(other)
    np.testing.assert_array_equal(first, again)


def test_evaluation_is_untouched_by_transforms(data):
    """Figures of every split are those without transform, to the bit, after noise of any size."""
    plain = learner_of(data, None)
    noisy = learner_of(data, compose_transforms(vary_length(10), add_noise(1e6), add_bias(1e6)))
    for split in ("train", "valid", "test"):
        assert plain.evaluate(split) == noisy.evaluate(split)


def test_a_marked_transform_acts_in_evaluation_and_gives_the_same_figures_again(data):
    """As part of a composition and alone; the seed decides the draws."""
    plain = learner_of(data, None).evaluate("valid")
    bias = also_in_evaluation(add_bias(0.5))
    for transform in (bias, compose_transforms(vary_length(10), bias)):
        marked = learner_of(data, transform)
        figures = marked.evaluate("valid")
        assert figures == marked.evaluate("valid")
        assert figures.loss != plain.loss
        assert learner_of(data, transform, seed=1).evaluate("valid").loss != figures.loss


@pytest.mark.parametrize(
    "transform",
    [
        add_noise(0.3, p=0.5),
        compose_transforms(
            truncate_schedule(39, 0.0, 0.7), with_probability(vary_length(39), 0.5), add_noise(0.3)
        ),
    ],
    ids=["noise", "truncation and noise"],
)
def test_both_data_paths_give_the_same_bits(data, transform):
    """Whether the windows are cut on the device or streamed."""
    resident, streamed = (
        losses_of(learner_of(replace(data, resident=resident), transform))
        for resident in (True, False)
    )
    np.testing.assert_array_equal(resident, streamed)
    assert np.isfinite(resident).all()


def test_lengths_are_at_most_8_programs(data):
    """Over 60 steps, and truncation ends with whole windows."""
    seen = []
    learner = learner_of(data, compose_transforms(truncate_schedule(9, 0.0, 0.9), recording(seen)))
    learner.fit(20, show_progress=False)
    lengths = [u.shape[1] for u in seen]
    assert len(lengths) == 20 * data.steps_per_epoch
    assert sorted(lengths) == lengths
    assert len(set(lengths)) == 8
    assert (lengths[0], lengths[-1]) == (9, 40)
    assert learner.engine._make_compiled._cache_size() == 8


def tables(oscillator, *transforms):
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "win_sz": 40, "stp_sz": 40, "bs": 8}
    model = {"name": "core/rnn", "hidden_size": 4}
    return {"data": data, "model": model, "transform": list(transforms), "train": {"epochs": 1}}


def test_an_experiment_composes_its_transforms_in_their_order(oscillator, data):
    """Tables and Python give the same bits; one table alone is that transform."""
    composed = parse_experiment(
        tables(
            oscillator,
            {"name": "core/truncate_schedule", "shortest": 10, "start": 0, "end": 1},
            {
                "name": "core/with_probability",
                "p": 0.5,
                "transform": {"name": "core/noise", "std": [0.3]},
            },
            {"name": "core/bias", "std": 0.1, "evaluation": True},
            {"name": "core/grouped_noise", "std_std": [0.1], "groups": [0]},
        )
    )._transform()
    by_hand = compose_transforms(
        truncate_schedule(10, 0.0, 1.0),
        with_probability(add_noise([0.3]), 0.5),
        also_in_evaluation(add_bias(0.1)),
        add_grouped_noise([0.1], [0]),
    )
    assert repr(composed) == repr(by_hand)
    assert repr(composed.in_evaluation) == "compose_transforms(add_bias)"
    batch = {"u": np.ones((2, 30, 1), np.float32), "y": np.ones((2, 30, 1), np.float32)}
    for number in range(6):
        given = {"key": jax.random.key(number), "progress": np.float32(0.5)}
        np.testing.assert_array_equal(composed(batch, **given)["u"], by_hand(batch, **given)["u"])
    alone = parse_experiment(tables(oscillator, {"name": "core/bias"}))._transform()
    assert alone.__name__ == "add_bias"
    assert parse_experiment(tables(oscillator))._transform() is None


def test_an_experiment_gives_its_transforms_to_the_learner(oscillator):
    """As one transform, with the part that acts in evaluation."""
    bias = {"name": "core/bias", "std": 1e3, "evaluation": True}
    learner = parse_experiment(tables(oscillator, {"name": "core/vary_length"}, bias)).build()
    assert learner.engine.transform.name == "compose_transforms(vary_length, add_bias)"
    changed = learner.engine.transform.in_evaluation({"u": np.zeros((2, 3, 1))}, jax.random.key(0))
    assert (np.abs(changed["u"]) > 1.0).all()


@pytest.mark.parametrize(
    "table,told",
    [
        (
            {"name": "core/noise", "evaluation": 1},
            "[transform] evaluation: expected true or false, got 1",
        ),
        (
            {"name": "core/vary_length", "evaluation": True},
            "[transform] the transform 'vary_length' changes shapes and cannot act in evaluation",
        ),
        ({"name": "core/noise", "std": -1}, "[transform] add_noise got std = -1.0; give finite"),
        ({"name": "core/noise", "std": "x"}, "[transform] std: expected float | list of float"),
        (
            {"name": "core/with_probability", "p": 2, "transform": "core/noise"},
            "[transform] with_probability got p = 2.0; give a probability from 0 to 1",
        ),
    ],
)
def test_what_a_table_gets_wrong_is_told_with_its_file(oscillator, tmp_path, table, told):
    """And the key in it."""
    file = tmp_path / "e.toml"
    file.write_text(tomli_w.dumps(tables(oscillator, table)))
    with pytest.raises(ConfigError) as caught:
        load_experiment(file).build()
    print(caught.value)
    assert str(caught.value).startswith(f"{file}: {told}")
    assert caught.value.key.startswith("transform")


def test_a_number_of_values_that_does_not_fit_is_told_from_within_the_step(data):
    """With the error of the transform, not of a compiler."""
    with pytest.raises(ConfigError) as caught:
        learner_of(data, add_noise([0.1, 0.2])).fit(1, show_progress=False)
    print(caught.value)
    assert "add_noise got 2 values of std (0.1, 0.2), and u has 1 channels" in str(caught.value)


def test_a_batch_shorter_than_n_skip_is_told_with_the_transform(data):
    """Of which composition, and what to do."""
    transform = compose_transforms(truncate_schedule(5), add_noise())
    with pytest.raises(ConfigError) as caught:
        learner_of(data, transform, n_skip=7).fit(1, show_progress=False)
    print(caught.value)
    assert "after the transform 'compose_transforms(truncate_schedule, add_noise)'" in str(
        caught.value
    )
