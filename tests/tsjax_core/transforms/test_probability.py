"""Any transform, applied to some of the batches."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tsjax_core import (
    add_bias,
    add_noise,
    also_in_evaluation,
    compose_transforms,
    truncate_schedule,
    vary_length,
    with_probability,
)
from tsjax_core.errors import ConfigError, SignatureError
from tsjax_core.signatures import wants_of

BATCH = {"u": jnp.zeros((1, 6, 1)), "y": jnp.ones((1, 6, 1))}
KEYS = jax.random.split(jax.random.key(2), 3000)


def scale(batch):
    """Multiply the targets."""
    return {**batch, "y": 10.0 * batch["y"]}


def test_what_is_drawn_does_not_depend_on_the_decision():
    """The biases of changed batches are normal; from one key for both, all would be negative."""
    apply = with_probability(add_bias(1.0), 0.5)
    added = np.asarray(jax.jit(jax.vmap(lambda key: apply(BATCH, key=key)["u"][0, 0, 0]))(KEYS))
    is_changed = added != 0.0
    assert abs(is_changed.mean() - 0.5) < 5.0 * 0.5 / math.sqrt(len(KEYS))
    assert stats.kstest(added[is_changed], "norm").pvalue > 1e-4


def test_a_transform_without_key_is_applied_at_random_too():
    """It keeps its name, and the result declares the key."""
    apply = with_probability(scale, 0.25)
    assert apply.__name__ == "scale"
    assert wants_of(apply) == {"key"}
    y = np.asarray(jax.jit(jax.vmap(lambda key: apply(BATCH, key=key)["y"]))(KEYS))
    assert set(np.unique(y)) == {1.0, 10.0}
    share = (y[:, 0, 0, 0] == 10.0).mean()
    assert abs(share - 0.25) < 5.0 * math.sqrt(0.25 * 0.75 / len(KEYS))


def test_p_1_is_the_transform_itself_and_p_0_never_changes_a_batch():
    """The ends of the range are certain."""
    assert with_probability(scale, 1) is scale
    never = with_probability(scale, 0.0)
    assert not any((never(BATCH, key=key)["y"] == 10.0).any() for key in KEYS[:20])


def test_nested_probabilities_multiply():
    """Each has a decision of its own."""
    twice = with_probability(with_probability(scale, 0.5), 0.5)
    y = np.asarray(jax.jit(jax.vmap(lambda key: twice(BATCH, key=key)["y"][0, 0, 0]))(KEYS))
    assert abs((y == 10.0).mean() - 0.25) < 5.0 * math.sqrt(0.25 * 0.75 / len(KEYS))


def test_a_transform_that_changes_shapes_is_decided_on_the_host():
    """It says so further; both lengths occur, in NumPy arrays too, and progress reaches it."""
    apply = with_probability(truncate_schedule(2, 0.5, 0.5), 0.5)
    assert apply.changes_shape
    assert wants_of(apply) == {"key", "progress"}
    host = {key: np.asarray(value) for key, value in BATCH.items()}
    seen = [apply(host, key=key, progress=0.1) for key in KEYS[:20]]
    assert {x["u"].shape[1] for x in seen} == {2, 6}
    assert all(isinstance(x["u"], np.ndarray) for x in seen)
    assert apply(host, key=KEYS[0], progress=0.9)["u"].shape[1] == 6


def test_a_composition_is_applied_as_a_whole_or_not_at_all():
    """All its parts share the decision."""

    def shift(batch):
        return {**batch, "u": batch["u"] + 1.0}

    apply = with_probability(compose_transforms(shift, scale), 0.5)
    both = jax.jit(jax.vmap(lambda key: apply(BATCH, key=key)))(KEYS[:200])
    assert ((both["u"] == 1.0) == (both["y"] == 10.0)).all()
    assert 0 < both["u"].sum() < both["u"].size
    assert with_probability(compose_transforms(vary_length(2), scale), 0.5).changes_shape


def test_the_mark_for_evaluation_is_kept():
    """Also that of a composition whose parts all have it."""
    assert with_probability(also_in_evaluation(scale), 0.5).in_evaluation
    assert not with_probability(scale, 0.5).in_evaluation
    marked = also_in_evaluation(compose_transforms(scale, add_noise()))
    assert with_probability(marked, 0.5).in_evaluation


def longer(batch):
    return {key: jnp.concatenate([x, x], axis=1) for key, x in batch.items()}


def more(batch):
    return {**batch, "power": batch["u"] ** 2}


def half(batch):
    return {**batch, "u": batch["u"].astype(jnp.float16)}


@pytest.mark.parametrize(
    "transform,error,told",
    [
        (
            longer,
            ConfigError,
            ["'longer' makes u float32[1, 6, 1] into float32[1, 12, 1]", "makes y"],
        ),
        (more, ConfigError, ["'more' adds 'power'", "changes_shape = True"]),
        (half, ConfigError, ["'half' makes u float32[1, 6, 1] into float16[1, 6, 1]"]),
        (lambda batch: None, SignatureError, ["transform '<lambda>' returned NoneType"]),
        (lambda batch: {"u": batch["u"]}, SignatureError, ["returned ['u']", "['u', 'y']"]),
    ],
)
def test_a_batch_of_another_form_is_told(transform, error, told):
    """One compiled program cannot have two forms of a batch."""
    with pytest.raises(error) as caught:
        with_probability(transform, 0.5)(BATCH, key=KEYS[0])
    print(caught.value)
    assert all(part in str(caught.value) for part in told)


@pytest.mark.parametrize(
    "make,error,told",
    [
        (
            lambda: with_probability(scale, 2),
            ConfigError,
            "with_probability got p = 2; give a prob",
        ),
        (lambda: with_probability("core/noise", 0.5), SignatureError, "a transform is a function"),
        (lambda: with_probability(lambda b, *, lr: b, 1), SignatureError, "'lr', which tsjax does"),
        (
            lambda: with_probability(compose_transforms(scale, also_in_evaluation(scale)), 0.5),
            ConfigError,
            "compose_transforms(scale, scale), of which a part alone acts in evaluation; give each",
        ),
    ],
)
def test_what_cannot_be_applied_at_random_is_refused(make, error, told):
    """Before any data are seen."""
    with pytest.raises(error) as caught:
        make()
    print(caught.value)
    assert told in str(caught.value)
