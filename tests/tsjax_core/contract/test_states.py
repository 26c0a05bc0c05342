"""The parts of the contract that belong to states: one array, initial states, windows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import (
    LSTM,
    GRULearner,
    InitialState,
    Learner,
    Simulator,
    create_grain_dls,
    estimate_state,
    flatten_state,
    predict,
    predict_stateful,
    unflatten_state,
)
from tsjax_core.errors import (
    ConfigError,
    ModelError,
)


@pytest.fixture(scope="module")
def data():
    """Two inputs and two outputs, in records of unequal length."""
    rng = np.random.default_rng(0)

    def record(n):
        u, y = rng.standard_normal((2, n, 2))
        return {"u": u, "y": y}

    splits = {"train": [record(120), record(75)], "valid": [record(60)], "test": [record(50)]}
    names = [["u:0", "u:1"], ["y:0", "y:1"]]
    return create_grain_dls(*names, splits, win_sz=20, stp_sz=10, bs=4, dt=0.1)


@pytest.mark.slow
def test_states_are_one_array_and_come_as_aux(data):
    """Of all layers, h and c, after every sample; dropout acts under advance with a key."""
    spec = LSTM(hidden_size=3, num_layers=2, hidden_dropout=0.5, normalization="layernorm")
    model = spec.build(data.signals, rngs=nnx.Rngs(0))
    u = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 2)), jnp.float32)
    y, aux = model.call_with_aux(u)
    assert aux["states"].shape == (2, 9, 12)
    state = model.initial_state(2)
    for t in range(9):
        _, state = model.advance(u[:, t : t + 1], state)
        np.testing.assert_allclose(flatten_state(state), aux["states"][:, t], atol=1e-5)
    again = unflatten_state(flatten_state(state), model.initial_state(1))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    dropped, _ = model.advance(u, model.initial_state(2), key=jax.random.key(0))
    assert not np.allclose(dropped, y)
    with pytest.raises(ModelError, match="floating-point"):
        flatten_state({"count": jnp.zeros((2, 1), int)})
    with pytest.raises(ModelError, match="has 3 numbers"):
        unflatten_state(jnp.zeros((2, 3)), model.initial_state(1))


@pytest.fixture(scope="module")
def known():
    """A lag with known state: the window policy finds it."""
    from tsjax_core.models.scaling import Standardize  # noqa: F401 - as a user would

    class Integrator(nnx.Module):
        def initial_state(self, batch_size):
            return {"x": jnp.zeros((batch_size, 2))}

        def __call__(self, u):
            return self.advance(u, self.initial_state(len(u)))[0]

        def advance(self, u, state):
            def step(x, u):
                x = x @ jnp.array([[0.9, 0.1], [-0.1, 0.9]]) + u
                return x, jnp.tanh(x[:, :1])

            x, y = jax.lax.scan(step, state["x"], jnp.swapaxes(u, 0, 1))
            return jnp.swapaxes(y, 0, 1), {"x": x}

    return Integrator()


def test_the_window_policy_finds_the_state_that_explains_the_measurement(known):
    """In prediction, in streams and for single samples; a few steps from zero suffice."""
    rng = np.random.default_rng(0)
    u = (0.1 * rng.standard_normal((2, 60, 2))).astype(np.float32)
    truth = {"x": np.float32([[0.8, -0.5], [-0.3, 0.9]])}
    y, _ = predict_stateful(known, u, truth)
    found = predict(known, u, initial_state="window", init_samples=10, y=y)
    np.testing.assert_allclose(found, y, atol=1e-3)
    assert np.abs(predict(known, u) - y).max() > 0.1
    after = estimate_state(known, u[:, :20], y[:, :20])
    later, _ = predict_stateful(known, u[:, 20:], after)
    np.testing.assert_allclose(later, y[:, 20:], atol=1e-3)
    simulator = Simulator(known)
    simulator.reset(estimate_state(known, u[0, :20], y[0, :20]))
    steps = [simulator.step(sample) for sample in u[0, 20:]]
    np.testing.assert_allclose(steps, y[0, 20:], atol=1e-3)
    again = predict(known, u, initial_state="window", init_samples=10, y=y)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(
    "options,error,text",
    [
        ({"initial_state": "best"}, ConfigError, "initial_state = 'best'; give one of 'zero'"),
        ({"initial_state": "window"}, ConfigError, "give init_samples, 1 or more"),
        ({"init_samples": 3}, ConfigError, "initial_state = 'zero' uses none"),
        ({"initial_state": "encoder", "init_samples": 5}, ConfigError, "has no estimate_state"),
        ({"initial_state": "window", "init_samples": 5}, ModelError, "give y"),
        (
            {"initial_state": "window", "init_samples": 5, "y": np.full((9, 1), np.nan)},
            ModelError,
            "5 of 5 values there are NaN",
        ),
        (
            {"initial_state": "window", "init_samples": 50, "y": np.zeros((9, 1))},
            ModelError,
            "uses the first 50 samples, and a sequence has 9",
        ),
        ({"initial_state": "window", "init_samples": 5, "y": np.zeros(9)}, ModelError, "same axes"),
    ],
)
def test_an_initial_state_that_cannot_be_found_is_told(known, options, error, text):
    """What is missing, and what would do."""
    with pytest.raises(error) as caught:
        predict(known, np.zeros((9, 2), np.float32), **options)
    print(caught.value)
    assert text in str(caught.value)


def test_a_model_without_state_has_no_policy_for_one(data):
    """It is reported when the learner is built."""

    class Gain(nnx.Module):
        def __call__(self, u):
            return u

    with pytest.raises(ConfigError, match="no initial_state and advance") as caught:
        Learner(Gain(), data, initial_state="window", init_samples=4)
    print(caught.value)
    with pytest.raises(ConfigError, match="which must not count") as caught:
        GRULearner(data, initial_state="window", init_samples=4, n_skip=2)
    print(caught.value)
    assert GRULearner(data, initial_state="washout", init_samples=4).n_skip == 4
    assert str(InitialState("window", 4)) == "window, 4 samples"


def test_an_initial_window_in_streams_and_single_samples(families):
    """The first call has the window's measured outputs; later ones need none."""
    from tsjax_core import NormStats, Signals

    one = NormStats([0.0], [1.0])
    signals = Signals(("u",), ("y",), {"u": one, "y": one}, 0.1)
    model = families.FreeRun(init_window=4).build(signals, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    u, y = rng.standard_normal((2, 12, 1)).astype(np.float32)
    gappy = y.copy()
    gappy[4:] = np.nan
    whole = predict(model, u, y)
    np.testing.assert_array_equal(predict(model, u, gappy), whole)
    first, state = predict_stateful(model, u[:6], further=[gappy[:6]])
    rest, _ = predict_stateful(model, u[6:], state)
    np.testing.assert_allclose(np.concatenate([first, rest]), whole, atol=1e-6)
    simulator = Simulator(model)
    with pytest.raises(ModelError, match=r"take these steps by begin") as caught:
        simulator.step(u[0])
    print(caught.value)
    simulator.begin(u[:5], y[:5])
    np.testing.assert_allclose([simulator.step(s) for s in u[5:]], whole[5:], atol=1e-6)
    for call, text in (
        (lambda: predict(model, u), "give y after u"),
        (lambda: predict(model, u[:3], y[:3]), "give at least so many"),
        (lambda: predict(model, u, np.full((12, 1), np.nan)), "4 values that are NaN"),
        (lambda: predict(model, u, y[:5]), "give as many samples of both"),
    ):
        with pytest.raises(ModelError, match=text) as caught:
            call()
        print(caught.value)
