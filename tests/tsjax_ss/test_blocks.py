"""Block-oriented models: against loops in NumPy, at their start, and on systems of their kind."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Learner, Linear, NormStats, Signals, predict_stateful, rmse
from tsjax_core.errors import ConfigError, DataError, ModelError
from tsjax_ss import (
    Hammerstein,
    HammersteinLearner,
    Wiener,
    WienerHammerstein,
    WienerHammersteinLearner,
    WienerLearner,
)

LEARNERS = {
    "wiener": WienerLearner,
    "hammerstein": HammersteinLearner,
    "wiener_hammerstein": WienerHammersteinLearner,
}
SPECS = [
    Wiener(order=3, hidden_size=4),
    Wiener(order=2, features="monomials", degree=3, direct=False),
    Hammerstein(order=3, hidden_size=4, features="sigmoid"),
    WienerHammerstein(orders=(2, 3), hidden_size=4, channels=2),
    WienerHammerstein(orders=(1, 2), features="monomials", degree=2),
]


def value(variable) -> np.ndarray:
    return np.asarray(variable[...], np.float64)


def map_in_a_loop(static, spec, z: np.ndarray) -> np.ndarray:
    """F of one sample, which is zero at zero."""
    if spec.features == "monomials":
        found = [z[i] * z[k] for i in range(len(z)) for k in range(i, len(z))]
        if spec.degree == 3:
            n = range(len(z))
            found += [z[i] * z[k] * z[m] for i in n for k in n if k >= i for m in n if m >= k]
        return z + value(static.to_output) @ np.array(found)
    activate = {"tanh": np.tanh, "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x))}[spec.features]
    bias = value(static.hidden_bias)
    found = activate(value(static.hidden) @ z + bias) - activate(bias)
    return z + value(static.to_output) @ found


def block_in_a_loop(block, z: np.ndarray) -> np.ndarray:
    x, w = np.zeros(block.order), []
    for now in z:
        w.append(value(block.c) @ x + value(block.d) @ now)
        x = value(block.a) @ x + value(block.b) @ now
    return np.array(w)


def simulate_in_a_loop(model, spec, signals, u: np.ndarray) -> np.ndarray:
    stats = signals.stats

    def bend(z):
        return np.stack([map_in_a_loop(model.map, spec, now) for now in z])

    z = (u - stats["u"].mean) / stats["u"].std
    if isinstance(spec, Wiener):
        y = bend(block_in_a_loop(model.block, z))
    elif isinstance(spec, Hammerstein):
        y = block_in_a_loop(model.block, bend(z))
    else:
        y = block_in_a_loop(model.behind, bend(block_in_a_loop(model.before, z)))
    return (y + value(model.offset)) * stats["y"].std + stats["y"].mean


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_outputs_are_those_of_a_loop(signals, inputs, spec):
    """Two inputs, three outputs, in whole and chunk by chunk."""
    model = spec.build(signals, rngs=nnx.Rngs(0))
    rng, params = np.random.default_rng(3), nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: x + 0.05 * rng.standard_normal(x.shape), params))
    expected = np.stack([simulate_in_a_loop(model, spec, signals, u) for u in inputs])
    scale = signals.stats["y"].std
    whole = model(jnp.asarray(inputs, jnp.float32))
    np.testing.assert_allclose((whole - expected) / scale, 0.0, atol=2e-4)
    chunked, _ = predict_stateful(model, inputs[0].astype(np.float32), chunk=7)
    np.testing.assert_allclose((chunked - expected[0]) / scale, 0.0, atol=2e-4)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_the_zero_state_is_the_equilibrium_of_mean_inputs(signals, spec):
    """Whatever the parameters: the output stays, so that a record at rest has no transient."""
    model = spec.build(signals, rngs=nnx.Rngs(0))
    rng, params = np.random.default_rng(3), nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape), params))
    y = model(jnp.broadcast_to(jnp.asarray(signals.stats["u"].mean), (1, 20, 2)))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_begins_as_the_linear_model_of_its_data(wiener, kind):
    """Two inputs, three outputs: outputs of both are equal."""
    data, _ = wiener
    linear, learner = Learner(Linear(4), data), LEARNERS[kind](data, order=4, hidden_size=5)
    u = data.test[0]["u"]
    np.testing.assert_allclose(learner.predict(u), linear.predict(u), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind,n_u,n_y,factor",
    [
        ("wiener", 1, 1, 20.0),
        ("hammerstein", 1, 1, 20.0),
        ("wiener_hammerstein", 1, 1, 20.0),
        pytest.param("wiener", 2, 3, 20.0, marks=pytest.mark.slow),
        pytest.param("hammerstein", 3, 2, 20.0, marks=pytest.mark.slow),
        pytest.param("wiener_hammerstein", 2, 2, 8.0, marks=pytest.mark.slow),
    ],
)
def test_each_recovers_a_system_of_its_kind(make_data, kind, n_u, n_y, factor):
    """From data without noise, with an error on test that is a small part of the linear one."""
    data, _ = make_data(kind, n_u, n_y)
    linear = Learner(Linear(order=4), data, metrics=[rmse], n_skip=60)
    expected = linear.evaluate("test").metrics["rmse"]
    learner = LEARNERS[kind](data, order=4, metrics=[rmse], n_skip=60)
    assert learner.evaluate("test").metrics["rmse"] == pytest.approx(expected, rel=1e-4)
    learner.polish(iterations=12 if n_u == 1 else 40, show_progress=False)
    found = learner.evaluate("test").metrics["rmse"]
    print(learner.spec, expected, found)
    assert found * factor < expected


@pytest.mark.parametrize("spec_class", [Wiener, Hammerstein, WienerHammerstein])
@pytest.mark.parametrize(
    "options,parts",
    [
        ({"order": 0}, ["order = 0", "at least 1"]),
        ({"hidden_size": 0}, ["hidden_size = 0", "at least 1"]),
        ({"degree": 1}, ["degree = 1", "at least 2"]),
        ({"features": "state_monomials"}, ["features = 'state_monomials'", "'monomials'"]),
    ],
)
def test_options_out_of_range_are_refused(spec_class, options, parts):
    """The error names the option, its value, and what to give."""
    with pytest.raises(ConfigError) as caught:
        spec_class(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"orders": (2,)}, ["orders = (2,)", "two numbers of states"]),
        ({"orders": (2, 0)}, ["orders = 0", "at least 1"]),
        ({"channels": 0}, ["channels = 0", "at least 1"]),
    ],
)
def test_orders_and_channels_out_of_range_are_refused(options, parts):
    """The error says what to give."""
    with pytest.raises(ConfigError) as caught:
        WienerHammerstein(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize("spec_class", [Wiener, Hammerstein, WienerHammerstein])
def test_what_cannot_be_built_is_refused(signals, spec_class):
    """Without order or output, and from records that are too short."""
    only_u = Signals(("u",), (), {"u": NormStats([0.0], [1.0])})
    short = [(np.zeros((20, 2)), np.zeros((20, 3)))]
    name, rngs = spec_class.__name__, nnx.Rngs(0)
    for kind, make, parts in (
        (ModelError, lambda: spec_class().build(signals, rngs=rngs), [f"{name} has no order"]),
        (ModelError, lambda: spec_class().build(only_u, rngs=rngs), ["needs 'y'", name]),
        (
            DataError,
            lambda: spec_class(order=2).identify(signals, short, short, rngs=rngs),
            ["horizon of 10", "Give a lower order"],
        ),
    ):
        with pytest.raises(kind) as caught:
            make()
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)


def test_orders_that_no_division_has_are_refused(signals):
    """With several channels both blocks begin with all poles; the text lists what is possible."""
    rng = np.random.default_rng(0)
    records = [(rng.normal(size=(300, 2)), rng.normal(size=(300, 3)))]
    spec = WienerHammerstein(order=2, orders=(2, 1))
    with pytest.raises(ModelError) as caught:
        spec.identify(signals, records, records, rngs=nnx.Rngs(0))
    print(caught.value)
    for part in ("orders = (2, 1)", "2 inputs and 3 outputs", "orders = (2, 2) with channels = 3"):
        assert part in str(caught.value)
    chosen, model = replace(spec, orders=None, channels=2).identify(
        signals, records, records, rngs=nnx.Rngs(0)
    )
    assert (chosen.orders, chosen.channels) == ((2, 2), 2)
    np.testing.assert_array_equal(model.map.to_output[...], np.zeros((2, 12)))
