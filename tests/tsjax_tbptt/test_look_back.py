"""How far the gradient reaches, against sensitivities computed by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from tsjax_core import GRU, Learner, constant, create_grain_dls, mse
from tsjax_tbptt import stateful
from tsjax_tbptt.look_back import cuts_of

A, B = 0.8, 0.5


def sensitivities(u, cut, a=A, b=B, x=0.0):
    """Outputs of x_t = a x_(t-1) + b u_t, and their derivatives for a and b from `cut` on."""
    y, da, db = np.zeros(len(u)), np.zeros(len(u)), np.zeros(len(u))
    x_a = x_b = 0.0
    for t, u_t in enumerate(u):
        if t == cut:
            x_a = x_b = 0.0
        x_a, x_b = x + a * x_a, u_t + a * x_b
        x = a * x + b * u_t
        y[t], da[t], db[t] = x, x_a, x_b
    return y, da, db


def run(third_party, look_back, u, position, parts):
    """Outputs, and the derivatives of their sum for a and b, of each part."""
    model = stateful(third_party.Lag(), look_back=look_back).build(
        third_party.signals, rngs=nnx.Rngs(0)
    )
    model.begin_training(len(u))
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def step(rest, u, position):
        def total(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            y = model(u, batch={"position": position})
            return y.sum(), (y, nnx.split(model, nnx.Param, ...)[2])

        (_, (y, after)), slopes = jax.value_and_grad(total, has_aux=True)(params)
        return after, y[..., 0], slopes["inner"]

    found = []
    for part in parts:
        now = jnp.asarray(u[:, part, None], jnp.float32), jnp.asarray(position[:, part])
        rest, y, slopes = step(rest, *now)
        found.append((np.asarray(y), float(slopes["a"][...]), float(slopes["b"][...])))
    return found


def check(found, rows):
    """Compare with a list of (y, da, db) of each row."""
    y, a, b = found
    np.testing.assert_allclose(y, [row[0] for row in rows], atol=1e-5)
    assert a == pytest.approx(sum(row[1].sum() for row in rows), rel=1e-4, abs=1e-4)
    assert b == pytest.approx(sum(row[2].sum() for row in rows), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    "length,look_back", [(7, 0), (4, 4), (4, 8), (4, 7), (4, 2), (5, 1), (3, 10), (1, 3), (6, 40)]
)
def test_the_gradient_reaches_back_as_far_as_is_asked_for(third_party, length, look_back):
    """Outputs go on; derivatives begin `look_back` samples before a chunk, or at its sequence.

    The first row is one sequence, and others begin anew at the second and the third chunk.
    """
    n = 6 * length
    u = np.random.default_rng(0).standard_normal((3, n))
    position = np.tile(np.arange(n, dtype=np.int32), (3, 1))
    begins = (0, length, 2 * length)
    for row, begin in enumerate(begins):
        position[row, begin:] -= begin
    parts = [slice(start, start + length) for start in range(0, n, length)]
    for part, found in zip(parts, run(third_party, look_back, u, position, parts), strict=True):
        rows = []
        for row, begin in enumerate(begins):
            first = begin if part.start >= begin else 0
            cut = max(part.start - look_back - first, 0)
            whole = sensitivities(u[row, first : part.stop], cut)
            rows.append([x[part.start - first :] for x in whole])
        check(found, rows)


def test_chunks_of_other_lengths_go_on_too(third_party):
    """Outputs are the whole's; the gradient never reaches farther than is asked for."""
    u = np.random.default_rng(1).standard_normal((2, 40))
    position = np.tile(np.arange(40, dtype=np.int32), (2, 1))
    ends = np.cumsum([3, 8, 8, 2, 8, 11])
    parts = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    for part, found in zip(parts, run(third_party, 8, u, position, parts), strict=True):
        expected = [sensitivities(row[: part.stop], 0)[0][part] for row in u]
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        slopes = [
            sum(sensitivities(row[: part.stop], cut)[1][part].sum() for row in u)
            for cut in range(max(part.start - 8, 0), part.start + 1)
        ]
        assert min(abs(found[1] - slope) for slope in slopes) < 1e-3


def test_two_steps_of_training_are_those_computed_by_hand(third_party):
    """The learner, its loss and plain gradient descent, over two chunks, in float64."""
    u = np.random.default_rng(2).standard_normal(20)
    y = sensitivities(u, 0, a=0.5, b=1.0)[0]
    record = {"u": u, "y": y}
    splits = {"train": record, "valid": record, "test": record}
    data = create_grain_dls(["u"], ["y"], splits, win_sz=10, bs=1, source="tbptt/chunks")
    learner = Learner(stateful(third_party.Lag()), data, mse, optimizer=optax.sgd)
    (result,) = learner.fit_iter(1, lr=0.05, schedule=constant())
    a, b, x, losses = A, B, 0.0, []
    for part in (slice(0, 10), slice(10, 20)):
        got, da, db = sensitivities(u[part], 0, a, b, x)
        error, x = got - y[part], got[-1]
        losses.append(np.mean(error**2))
        a, b = a - 0.05 * np.mean(2 * error * da), b - 0.05 * np.mean(2 * error * db)
    inner = learner.model.inner
    np.testing.assert_allclose([inner.a[...], inner.b[...]], [a, b], rtol=1e-5)
    np.testing.assert_allclose(result.step_losses, losses, rtol=1e-5)


def test_looking_back_over_everything_is_the_whole_gradient(third_party):
    """Of the outputs of the last chunk of a GRU, to 1e-5 of its size."""
    signals = third_party.signals
    inner = GRU(hidden_size=3).build(signals, rngs=nnx.Rngs(0))
    model = stateful(GRU(hidden_size=3), look_back=12).build(signals, rngs=nnx.Rngs(0))
    model.begin_training(2)
    u = jax.random.normal(jax.random.key(0), (2, 18, 1))
    position = jnp.tile(jnp.arange(18), (2, 1))

    @nnx.jit
    def step(model, u, position):
        def total(model):
            return jnp.square(model(u, batch={"position": position})).sum()

        return nnx.grad(total)(model)

    for part in (slice(0, 6), slice(6, 12), slice(12, 18)):
        slopes = step(model, u[:, part], position[:, part])
    expected = nnx.grad(lambda m: jnp.square(m(u)[:, 12:]).sum())(inner)
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(expected), strict=True)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max() + 1e-6)


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_past_is_cut_where_chunks_began(look_back, length):
    """No piece is longer than a chunk, and a chunk's length after the start is a cut."""
    cuts = cuts_of(look_back, length)
    assert cuts[0] == 0
    assert cuts[-1] == look_back
    assert np.diff(cuts).max() <= length
    assert length >= look_back or length in cuts
