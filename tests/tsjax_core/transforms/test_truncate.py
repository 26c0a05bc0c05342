"""Shorter sequences: how long they are, and that what is left is what was there."""

from __future__ import annotations

import collections
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsjax_core import GRU, mse, truncate_schedule, vary_length
from tsjax_core.errors import ConfigError
from tsjax_core.testing.samples import sample_batch, sample_signals

GRID = np.linspace(0.0, 1.0, 401)


def batch_of(n, xp=np):
    """Return a batch whose samples count up from 0."""
    counts = xp.arange(2 * n, dtype="float32").reshape(2, n, 1)
    return {"u": counts, "y": -counts, "u_scalar": xp.ones((2, 3), "float32")}


def lengths(transform, n):
    batch = batch_of(n)
    return [transform(batch, progress=np.float32(p))["u"].shape[1] for p in GRID]


def test_the_length_grows_linearly_from_the_shortest_to_the_whole():
    """In 7 equal steps: `shortest` until `start`, all from `end` on."""
    found = dict(zip(GRID.tolist(), lengths(truncate_schedule(50, 0.2, 0.6), 400), strict=True))
    assert all(n == 50 for p, n in found.items() if p <= 0.2)
    assert all(n == 400 for p, n in found.items() if p >= 0.6)
    assert found[0.4] == 50 + 350 * 3 // 7
    assert sorted(set(found.values())) == [50 + 50 * i for i in range(8)]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(st.floats(0.0, 1.0, width=32), st.floats(0.0, 1.0, width=32)).map(sorted),
)
def test_truncation_keeps_its_law_for_any_length(whole, shortest, ramp):
    """From the shortest to the whole, never falling, never empty, at most 8 lengths, on the line.

    A length is below the line by less than one of 7 steps and one sample, and never above it.
    """
    start, end = ramp
    found = lengths(truncate_schedule(shortest, start, end), whole)
    least = min(shortest, whole)
    assert found[0] == (least if end > 0.0 else whole)
    assert found[-1] == whole
    assert all(a <= b for a, b in itertools.pairwise(found))
    assert len(set(found)) <= 8
    for p, n in zip(GRID, found, strict=True):
        now = np.float32(p)
        if now >= end or now <= start:
            assert n == (whole if now >= end else least)
            continue
        line = least + (whole - least) * (now - start) / (end - start)
        assert line - (whole - least) / 7 - 1 - 1e-3 < n <= line + 1e-3


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300))
def test_varied_lengths_are_few_and_evenly_spaced(whole, shortest):
    """At most 8, the shortest and the whole among them, none empty."""
    transform, batch = vary_length(shortest), batch_of(whole)
    found = {transform(batch, key=key)["u"].shape[1] for key in KEYS[:80]}
    least = min(shortest, whole)
    n = min(8, whole - least + 1)
    exact = np.linspace(least, whole, n)
    assert len(found) <= n
    assert all(np.abs(exact - length).min() < 1.0 for length in found)
    assert min(found) >= least
    assert max(found) <= whole


KEYS = jax.random.split(jax.random.key(4), 800)


def test_every_length_is_equally_likely():
    """By the chi-squared test over 800 keys."""
    transform, batch = vary_length(20), batch_of(97)
    counts = collections.Counter(transform(batch, key=key)["u"].shape[1] for key in KEYS)
    assert sorted(counts) == [20, 31, 42, 53, 64, 75, 86, 97]
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("whole", [15, 16])
def test_the_first_samples_of_all_sequences_are_kept_where_they_are(xp, whole):
    """On the host or the device, scalars as they are, and the input batch is not changed."""
    batch = batch_of(whole, xp) | {"position": xp.arange(2 * whole).reshape(2, whole)}
    for changed in (
        truncate_schedule(7)(batch, progress=0.0),
        next(c for k in KEYS if (c := vary_length(7)(batch, key=k))["u"].shape[1] == 7),
    ):
        for key in ("u", "y", "position"):
            assert isinstance(changed[key], type(batch[key]))
            np.testing.assert_array_equal(changed[key], np.asarray(batch[key])[:, :7])
        assert changed["u_scalar"] is batch["u_scalar"]
        assert batch["u"].shape == (2, whole, 1)


@pytest.mark.parametrize("whole", [1, 49, 50])
def test_a_batch_that_is_not_longer_than_the_shortest_stays_whole(whole):
    """At any progress and for any key."""
    assert lengths(truncate_schedule(50), whole) == [whole] * len(GRID)
    assert vary_length(50)(batch_of(whole), key=KEYS[0])["u"].shape[1] == whole


def test_a_causal_model_has_the_loss_of_the_whole_without_what_is_cut():
    """A GRU: targets beyond the end of the shorter batch that are NaN do not count."""
    signals = sample_signals()
    model = GRU(hidden_size=5).build(signals, rngs=nnx.Rngs(0))
    batch = sample_batch(signals, time=30)
    short = truncate_schedule(11)(batch, progress=0.0)
    run = nnx.jit(lambda model, u: model(u))
    pred = run(model, batch["u"])
    y = batch["y"].at[:, 11:].set(jnp.nan)
    assert mse(run(model, short["u"]), short["y"]) == pytest.approx(float(mse(pred, y)))
    assert not np.isclose(mse(pred, batch["y"]), mse(pred, y))


@pytest.mark.parametrize(
    "make,key,told",
    [
        (
            lambda: truncate_schedule(0),
            "shortest",
            "truncate_schedule got shortest = 0; give a whole",
        ),
        (
            lambda: truncate_schedule(9.5),
            "shortest",
            "got shortest = 9.5; give a whole number of sa",
        ),
        (
            lambda: truncate_schedule(True),
            "shortest",
            "got shortest = True; give a whole number of",
        ),
        (lambda: vary_length(-3), "shortest", "vary_length got shortest = -3; give a whole number"),
        (
            lambda: truncate_schedule(start=-0.1),
            "start",
            "got start = -0.1; give a share of the fit",
        ),
        (
            lambda: truncate_schedule(end=1.1),
            "end",
            "got end = 1.1; give a share of the fit, from 0",
        ),
        (lambda: truncate_schedule(end=math.nan), "end", "got end = nan; give a share of the fit"),
        (lambda: truncate_schedule(start="now"), "start", "got start = 'now'; give a share of"),
        (
            lambda: truncate_schedule(5, 0.7, 0.6),
            "start",
            "start = 0.7 and end = 0.6; sequences can",
        ),
    ],
)
def test_wrong_options_are_told_at_once(make, key, told):
    """With the value and its range."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert told in str(caught.value)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "batch,told",
    [
        ({"u": np.zeros((1, 9, 1)), "y": np.zeros((1, 5, 1))}, "batch are: u 9, y 5. Let it act"),
        (
            {"u_scalar": np.zeros((1, 2))},
            "vary_length cuts sequences of one length, and the lengths",
        ),
    ],
)
def test_sequences_of_different_lengths_are_told(batch, told):
    """Cut to one number of samples, they would no longer belong together."""
    with pytest.raises(ConfigError) as caught:
        vary_length(2)(batch, key=KEYS[0])
    print(caught.value)
    assert told in str(caught.value)
