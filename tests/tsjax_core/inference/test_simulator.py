"""`Simulator`, one sample at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxlib import xla_client

from tsjax_core import GRU, LSTM, RNN, NormStats, Signals, Simulator, predict, predict_stateful
from tsjax_core.errors import ModelError
from tsjax_core.inference.simulator import _processor

TWO_BY_THREE = Signals(
    ("a", "b"),
    ("p", "q", "r"),
    {
        "u": NormStats([1.0, -20.0], [2.0, 30.0]),
        "y": NormStats([3.0, 0.1, -5.0], [0.5, 10.0, 1.0]),
        "u_scalar": NormStats([1.5], [0.5]),
        "y_scalar": NormStats([3.0, 2.0], [1.0, 5.0]),
    },
    scalar_inputs=("mass",),
    scalar_outputs=("wear", "age"),
)
ONE = Signals(("u",), ("y",), {"u": NormStats([0.5], [2.0]), "y": NormStats([1.0], [3.0])})

u_of_two = (np.random.default_rng(0).standard_normal((500, 2)) * 10.0).astype(np.float32)
u_of_one = np.random.default_rng(1).standard_normal(500).astype(np.float32)


def build(spec, signals=TWO_BY_THREE, seed=0) -> nnx.Module:
    return spec.build(signals, rngs=nnx.Rngs(seed))


def run(simulator: Simulator, u) -> np.ndarray:
    return np.stack([simulator.step(sample) for sample in u])


CASES = {
    "gru": (GRU(hidden_size=9), []),
    "lstm, stacked": (LSTM(hidden_size=6, num_layers=2, normalization="layernorm"), []),
    "rnn, scalars": (RNN(hidden_size=5, scalar_inputs=True), [[2.5]]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_steps_give_the_outputs_of_the_record(case):
    """500 steps with several channels equal one call of the model for all of them."""
    spec, further = case
    model = build(spec)
    whole = np.asarray(model(u_of_two[None], *np.float32(further)[:, None]))[0]
    y = run(Simulator(model, further=further), u_of_two)
    assert y.shape == (500, 3)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, whole, atol=2e-5 * whole.std())


def test_one_output_per_sequence_is_that_of_the_samples_up_to_the_last():
    """Each step tells what the model says of the record so far."""
    model = build(GRU(hidden_size=4, output="last"))
    y = run(Simulator(model), u_of_two[:30])
    assert y.shape == (30, 2)
    for length in (1, 17, 30):
        np.testing.assert_allclose(y[length - 1], predict(model, u_of_two[:length]), rtol=1e-5)


def test_one_input_can_be_a_number():
    """Numbers, lists and arrays of any precision give the same outputs; large ones are numbers."""
    model = build(GRU(hidden_size=4), ONE)
    whole = predict(model, u_of_one)[:, None]
    forms = [u_of_one.tolist(), u_of_one, u_of_one[:, None], u_of_one[:, None].astype(float)]
    for u in [*forms, u_of_one[:, None].tolist()]:
        np.testing.assert_allclose(run(Simulator(model), u), whole, rtol=1e-4)
    # The squares of these are no numbers in single precision.
    large = np.array([1e30, -1e25, 0.0], np.float32)
    np.testing.assert_allclose(
        run(Simulator(model), large), predict(model, large)[:, None], rtol=1e-5
    )


def test_a_state_goes_on_where_it_was_taken():
    """States pass between simulators and `predict_stateful`, in both directions."""
    model = build(LSTM(hidden_size=6, num_layers=2))
    whole = predict(model, u_of_two)
    _, state = predict_stateful(model, u_of_two[:200])
    simulator = Simulator(model)
    simulator.reset(state)
    y = run(simulator, u_of_two[200:300])
    np.testing.assert_allclose(y, whole[200:300], atol=2e-5 * whole.std())
    taken = simulator.state
    assert jax.tree.structure(taken) == jax.tree.structure(state)
    assert [x.shape for x in jax.tree.leaves(taken)] == [(1, 6)] * 4
    y, _ = predict_stateful(model, u_of_two[300:], taken)
    np.testing.assert_allclose(y, whole[300:], atol=2e-5 * whole.std())
    # What was taken does not change with further steps.
    again = run(simulator, u_of_two[300:310])
    simulator.reset(taken)
    np.testing.assert_array_equal(run(simulator, u_of_two[300:310]), again)


def test_reset_begins_from_rest():
    """The same samples then give the same bits."""
    simulator = Simulator(build(GRU(hidden_size=4)))
    first = run(simulator, u_of_two[:20])
    assert not np.array_equal(run(simulator, u_of_two[:20]), first)
    simulator.reset()
    np.testing.assert_array_equal(run(simulator, u_of_two[:20]), first)


def test_training_does_not_reach_a_simulator():
    """It keeps the parameters that the model had, and a new one takes those it has."""
    model, other = build(GRU(hidden_size=4)), build(GRU(hidden_size=4), seed=1)
    simulator = Simulator(model)
    before = run(simulator, u_of_two[:5])
    simulator.reset()
    nnx.update(model, nnx.state(other))
    np.testing.assert_array_equal(run(simulator, u_of_two[:5]), before)
    assert np.abs(run(Simulator(model), u_of_two[:5]) - before).max() > 0.01


class Counter(nnx.Module):
    """A state of whole and other numbers: y_t = u_t + 10 t, beside the largest u so far."""

    def __call__(self, u):
        return self.advance(u, self.initial_state(len(u)))[0]

    def initial_state(self, batch_size):
        return jnp.zeros(batch_size, jnp.int32), jnp.full((batch_size, 1), -jnp.inf)

    def advance(self, u, state):
        count, largest = state
        times = count[:, None, None] + jnp.arange(u.shape[1])[None, :, None]
        largest = jnp.maximum(largest, u.max((1, 2))[:, None])
        return u + 10 * times, (count + u.shape[1], largest)


def test_a_state_may_have_numbers_of_several_kinds():
    """Each keeps its own."""
    simulator = Simulator(Counter())
    np.testing.assert_array_equal(run(simulator, [1.0, 5.0, 3.0])[:, 0], [1.0, 15.0, 23.0])
    count, largest = simulator.state
    assert (count, count.dtype) == (3, np.int32)
    assert (largest, largest.dtype) == (5.0, np.float32)


class Memoryless(nnx.Module):
    """A model whose state is empty."""

    def __call__(self, u):
        return 2.0 * u

    def initial_state(self, batch_size):
        return ()

    def advance(self, u, state):
        return 2.0 * u, state


def test_a_state_may_be_empty():
    """A model without memory can be stepped too."""
    simulator = Simulator(Memoryless())
    np.testing.assert_array_equal(run(simulator, [1.0, 5.0])[:, 0], [2.0, 10.0])
    assert simulator.state == ()


@pytest.mark.parametrize(
    "u,parts",
    [
        ([1.0, 2.0, 3.0], ["shape (3,)", "(2,)"]),
        (1.0, ["shape (1,)", "(2,)"]),
        ([[1.0, 2.0]], ["shape (1, 2)", "(2,)"]),
        ([], ["shape (0,)"]),
        ([1.0, np.nan], ["[ 1. nan]", "before", "last good sample"]),
        ([-np.inf, 1.0], ["NaN or infinite"]),
        (["a", "b"], ["no array of numbers"]),
    ],
)
def test_a_bad_sample_leaves_the_state(u, parts):
    """The error says what was got, and the next good sample continues the record."""
    model = build(GRU(hidden_size=4))
    whole = predict(model, u_of_two[:10])
    simulator = Simulator(model)
    run(simulator, u_of_two[:9])
    with pytest.raises(ModelError) as caught:
        simulator.step(u)
    print(caught.value)
    assert all(part in str(caught.value) for part in ["Simulator.step", *parts])
    np.testing.assert_allclose(simulator.step(u_of_two[9]), whole[9], rtol=1e-4)


def test_the_first_sample_tells_the_channels():
    """Before it, the model itself refuses a wrong number, and a good sample follows."""
    model = build(GRU(hidden_size=4))
    simulator = Simulator(model)
    for wrong, part in ((np.zeros(3), "built for 2 channels"), (np.zeros((1, 2)), "(n_u,)")):
        with pytest.raises(ModelError) as caught:
            simulator.step(wrong)
        print(caught.value)
        assert part in str(caught.value)
    np.testing.assert_allclose(
        simulator.step(u_of_two[0]), predict(model, u_of_two[:1])[0], rtol=1e-4
    )


def test_what_a_simulator_needs_is_told():
    """A stateful model, all of its inputs, and a state that fits."""
    with pytest.raises(ModelError) as caught:
        Simulator(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
    print(caught.value)
    assert "Simulator got a Linear, which has no initial_state" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        Simulator(build(GRU(hidden_size=4, scalar_inputs=True))).step([0.0, 0.0])
    print(caught.value)
    assert "u_scalar" in str(caught.value)
    for wrong in (2.0, [[1.0], [2.0]], [np.nan]):
        with pytest.raises(ModelError) as caught:
            Simulator(build(GRU(hidden_size=4, scalar_inputs=True)), further=[wrong])
        print(caught.value)
        assert f"further input of shape {np.shape(wrong)}" in str(caught.value)
    simulator = Simulator(build(GRU(hidden_size=4)))
    run(simulator, u_of_two[:3])
    before = simulator.state
    with pytest.raises(ModelError) as caught:
        simulator.reset(((np.zeros((2, 4)),),))
    print(caught.value)
    assert "Simulator.reset got a state" in str(caught.value)
    jax.tree.map(np.testing.assert_array_equal, simulator.state, before)


def test_steps_are_as_correct_without_a_device_of_their_own(monkeypatch):
    """Where jax cannot make one, those that it offers are used."""
    monkeypatch.delattr(xla_client, "make_cpu_client")
    _processor.cache_clear()
    try:
        assert _processor() in jax.devices("cpu")
        model = build(GRU(hidden_size=4))
        y = run(Simulator(model), u_of_two[:50])
    finally:
        _processor.cache_clear()
    np.testing.assert_allclose(y, predict(model, u_of_two[:50]), rtol=1e-4, atol=1e-5)
