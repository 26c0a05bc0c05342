"""Transforms one after the other: order, keys, and how a composition is taken apart."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tsjax_core import (
    add_bias,
    add_noise,
    also_in_evaluation,
    compose_transforms,
    truncate_schedule,
    vary_length,
)
from tsjax_core.errors import ConfigError, SignatureError
from tsjax_core.signatures import wants_of

KEY = jax.random.key(6)
BATCH = {"u": np.zeros((2, 12, 1), np.float32), "y": np.ones((2, 12, 1), np.float32)}


def add_one(batch):
    return {**batch, "u": batch["u"] + 1.0}


def double(batch):
    return {**batch, "u": batch["u"] * 2.0}


class Gain:
    """A transform that is an object."""

    def __call__(self, batch, *, progress):
        return {**batch, "u": batch["u"] * progress}


def given_to(transform):
    """Return what `transform` declares, as the engine gives it."""
    given = {"key": KEY, "progress": np.float32(0.3), "epoch": np.int32(2)}
    return {name: given[name] for name in wants_of(transform)}


def applied(transform, batch=BATCH):
    return transform(batch, **given_to(transform))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_transforms_act_in_their_order():
    """(0 + 1) 2 is 2, and 0 2 + 1 is 1."""
    assert (applied(compose_transforms(add_one, double))["u"] == 2.0).all()
    assert (applied(compose_transforms(double, add_one))["u"] == 1.0).all()


def test_each_part_has_a_key_of_its_own():
    """That of its position: equal transforms draw different numbers."""
    noise = add_noise(1.0)
    by_hand = BATCH
    for position in range(2):
        by_hand = noise(by_hand, key=jax.random.fold_in(KEY, position))
    assert_same(applied(compose_transforms(noise, noise)), by_hand)
    first = noise(BATCH, key=jax.random.fold_in(KEY, 0))["u"]
    assert not np.array_equal(by_hand["u"], 2.0 * first)


def test_each_part_gets_exactly_what_it_declares():
    """And the composition declares what its parts declare together."""
    seen = {}

    def timed(batch, *, epoch, progress):
        seen["timed"] = (int(epoch), float(progress))
        return batch

    def lucky(batch, *, key):
        seen["lucky"] = jax.random.key_data(key).tolist()
        return batch

    def plain(batch):
        seen["plain"] = ()
        return batch

    both = compose_transforms(timed, lucky, plain)
    assert wants_of(both) == {"epoch", "key", "progress"}
    applied(both)
    own = jax.random.key_data(jax.random.fold_in(KEY, 1)).tolist()
    assert seen == {"timed": (2, pytest.approx(0.3)), "lucky": own, "plain": ()}
    assert wants_of(compose_transforms(plain)) == set()
    assert wants_of(compose_transforms(Gain())) == {"progress"}


def test_a_composition_in_another_is_taken_over():
    """With new keys by position, so that how transforms are grouped makes no difference."""
    a, b, c = add_noise(0.1), add_bias(0.2), vary_length(3)
    flat = compose_transforms(a, b, c)
    for nested in (
        compose_transforms(compose_transforms(a, b), c),
        compose_transforms(a, compose_transforms(b, c)),
        compose_transforms(flat),
    ):
        assert nested == flat
        assert_same(applied(nested), applied(flat))
    twice = compose_transforms(compose_transforms(a), compose_transforms(a))
    assert_same(applied(twice), applied(compose_transforms(a, a)))


@pytest.mark.parametrize("seed", range(8))
def test_on_host_and_compiled_one_after_the_other_are_the_whole(seed):
    """With the same draws, for random orders; nothing after `on_host` changes shapes."""
    rng = np.random.default_rng(seed)
    choice = [add_noise(1.0), add_bias(1.0), vary_length(5), truncate_schedule(4), Gain(), add_one]
    whole = compose_transforms(*(choice[i] for i in rng.integers(0, 6, rng.integers(1, 6))))
    halves = [half for half in (whole.on_host, whole.compiled) if half is not None]
    assert sum((half.names for half in halves), ()) == whole.names
    assert whole.changes_shape == (whole.on_host is not None)
    if whole.on_host is not None:
        assert whole.on_host.parts[-1].changes_shape
    assert whole.compiled is None or not whole.compiled.changes_shape
    result = BATCH
    for half in halves:
        result = applied(half, result)
    assert_same(result, applied(whole))


def test_the_parts_that_act_in_evaluation_keep_their_draws():
    """Noise at position 2 has the same key with and without the others."""
    noise = add_noise(1.0)
    whole = compose_transforms(add_bias(1.0), vary_length(5), also_in_evaluation(noise))
    assert whole.in_evaluation.names == ("add_noise",)
    assert_same(applied(whole.in_evaluation), noise(BATCH, key=jax.random.fold_in(KEY, 2)))
    assert compose_transforms(noise, vary_length(5)).in_evaluation is None


def test_a_composition_reads_as_its_parts():
    """In the names of error messages and on the screen."""
    whole = compose_transforms(vary_length(5), add_noise(), Gain())
    assert repr(whole) == whole.__name__ == "compose_transforms(vary_length, add_noise, Gain)"
    assert whole.names == ("vary_length", "add_noise", "Gain")
    assert repr(whole.compiled) == "compose_transforms(add_noise, Gain)"


@pytest.mark.parametrize(
    "make,error,told",
    [
        (compose_transforms, ConfigError, "compose_transforms got no transform; give at least one"),
        (
            lambda: compose_transforms(add_one, "core/noise"),
            SignatureError,
            "a transform is a function, and 'core/noise' is none",
        ),
        (
            lambda: compose_transforms(add_one, lambda batch, *, lr: batch),
            SignatureError,
            "transform '<lambda>' declares the keyword-only argument 'lr', which tsjax does",
        ),
        (
            lambda: applied(compose_transforms(add_one, lambda batch: None)),
            SignatureError,
            "transform '<lambda>' returned NoneType; return a batch with the keys ['u', 'y']",
        ),
        (
            lambda: applied(compose_transforms(lambda batch: {"u": batch["u"]}, add_one)),
            SignatureError,
            "transform '<lambda>' returned ['u']; return a batch with the keys ['u', 'y']",
        ),
    ],
)
def test_what_cannot_be_composed_is_told(make, error, told):
    """With the name of the part."""
    with pytest.raises(error) as caught:
        make()
    print(caught.value)
    assert told in str(caught.value)
