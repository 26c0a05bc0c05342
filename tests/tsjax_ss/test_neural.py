"""The nonlinear state space against a loop in NumPy, and its start from the linear model."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Learner, Linear, NormStats, Signals, predict_stateful
from tsjax_core.errors import ConfigError, DataError, ModelError
from tsjax_ss import NeuralSS, NeuralSSLearner
from tsjax_ss.features import compute_monomials, list_monomials

ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "swish": lambda x: x / (1.0 + np.exp(-x)),
}
FEATURES = [*ACTIVATIONS, "monomials", "state_monomials"]


def value(variable) -> np.ndarray:
    return np.asarray(variable[...], np.float64)


def disturbed(spec, signals):
    """A model whose every parameter is off its start, and whose states stay small."""
    model = spec.build(signals, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(3)
    params = nnx.state(model, nnx.Param)
    size = 0.05 if spec.features in ACTIVATIONS else 0.01
    nnx.update(model, jax.tree.map(lambda x: x + size * rng.standard_normal(x.shape), params))
    return model


def powers(v: np.ndarray, degree: int) -> np.ndarray:
    """Every product of 2 to `degree` entries of `v`, written out."""
    found = []
    for size in range(2, degree + 1):
        for each in itertools.product(range(len(v)), repeat=size):
            if list(each) == sorted(each):
                product = 1.0
                for k in each:
                    product *= v[k]
                found.append(product)
    return np.array(found)


def simulate_in_a_loop(model, spec, signals, u: np.ndarray) -> np.ndarray:
    """One sequence, sample by sample, as the equations of the documentation say."""
    stats, x, outputs = signals.stats, np.zeros(spec.order), []
    for now in (u - stats["u"].mean) / stats["u"].std:
        if spec.features == "monomials":
            z = powers(np.concatenate([x, now]), spec.degree)
        elif spec.features == "state_monomials":
            z = powers(x, spec.degree)
        else:
            inside = value(model.hidden_state) @ x + value(model.hidden_input) @ now
            z = ACTIVATIONS[spec.features](inside + value(model.hidden_bias))
        y = value(model.c) @ x + value(model.d) @ now + value(model.to_output) @ z
        outputs.append((y + value(model.y_offset)) * stats["y"].std + stats["y"].mean)
        x = value(model.a) @ x + value(model.b) @ now + value(model.to_state) @ z
        x = x + value(model.x_offset)
    return np.array(outputs)


@pytest.mark.parametrize("features", FEATURES)
def test_outputs_are_those_of_a_loop(signals, inputs, features):
    """Two inputs, three outputs, in whole and chunk by chunk."""
    spec = NeuralSS(order=2, hidden_size=5, features=features)
    model = disturbed(spec, signals)
    expected = np.stack([simulate_in_a_loop(model, spec, signals, u) for u in inputs])
    assert np.isfinite(expected).all()
    u = jnp.asarray(inputs, jnp.float32)
    scale = signals.stats["y"].std
    np.testing.assert_allclose((model(u) - expected) / scale, 0.0, atol=2e-4)
    chunked, _ = predict_stateful(model, inputs[0].astype(np.float32), chunk=7)
    np.testing.assert_allclose((chunked - expected[0]) / scale, 0.0, atol=2e-4)


@pytest.mark.parametrize("variables,degree,count", [(1, 2, 1), (1, 4, 3), (3, 2, 6), (3, 3, 16)])
def test_monomials_are_all_products_of_their_degrees(variables, degree, count):
    """As many as combinations with repetition, with the values of the products."""
    assert len(list_monomials(variables, degree)) == count
    v = np.random.default_rng(0).standard_normal((5, variables))
    expected = np.stack([powers(row, degree) for row in v])
    got = compute_monomials(jnp.asarray(v, jnp.float32), degree)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    direct = [np.prod(v[:, list(each)], axis=1) for each in list_monomials(variables, degree)]
    np.testing.assert_allclose(got, np.stack(direct, axis=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("features", ["tanh", "state_monomials"])
def test_a_learner_begins_as_the_linear_model_of_its_data(wiener, features):
    """Outputs of both are equal, for an order that validation chose."""
    data, _ = wiener
    linear = Learner(Linear(), data)
    learner = NeuralSSLearner(data, hidden_size=5, features=features)
    assert learner.spec.order == linear.spec.order == len(linear.model.poles())
    u = data.test[0]["u"]
    np.testing.assert_allclose(learner.predict(u), linear.predict(u), rtol=1e-6, atol=1e-6)


def test_seeds_differ_in_the_hidden_layer_alone(wiener):
    """The linear part is that of the data, whatever the seed."""
    data, _ = wiener
    one, other = (
        nnx.to_flat_state(nnx.state(NeuralSSLearner(data, order=4, seed=seed).model, nnx.Param))
        for seed in (0, 1)
    )
    differing = {
        path[-1]
        for (path, first), (_, second) in zip(one, other, strict=True)
        if not np.array_equal(first[...], second[...])
    }
    assert differing == {"hidden_state", "hidden_input", "hidden_bias"}


def test_without_direct_the_present_input_acts_on_no_present_output(signals, inputs):
    """Not in the linear part: d is no parameter. The hidden layer still sees the input."""
    model = NeuralSS(order=2, direct=False).build(signals, rngs=nnx.Rngs(0))
    names = {path[-1] for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))}
    assert "d" not in names
    later = inputs.copy()
    later[:, -1] += 7.0
    first, second = (model(jnp.asarray(u, jnp.float32)) for u in (inputs, later))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"order": 0}, ["order = 0", "at least 1"]),
        ({"hidden_size": 0}, ["hidden_size = 0", "at least 1"]),
        ({"degree": 1}, ["degree = 1", "at least 2"]),
        ({"features": "tahn"}, ["features = 'tahn'", "Did you mean 'tanh'?"]),
        ({"order": 4, "horizon": 3}, ["horizon = 3", "order = 4"]),
    ],
)
def test_options_out_of_range_are_refused(options, parts):
    """The error names the option, its value, and what to give."""
    with pytest.raises(ConfigError) as caught:
        NeuralSS(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_what_cannot_be_built_is_refused(signals):
    """Without order or output, with other channels, and from records that are too short."""
    only_u = Signals(("u",), (), {"u": NormStats([0.0], [1.0])})
    short = [(np.zeros((20, 2)), np.zeros((20, 3)))]
    spec, rngs = NeuralSS(order=2), nnx.Rngs(0)
    for kind, make, parts in (
        (
            ModelError,
            lambda: NeuralSS().build(signals, rngs=rngs),
            ["NeuralSS has no order", "Learner"],
        ),
        (ModelError, lambda: spec.build(only_u, rngs=rngs), ["needs 'y'", "NeuralSS"]),
        (
            ModelError,
            lambda: spec.build(signals, rngs=rngs)(np.zeros((1, 5, 1))),
            ["2 channels", "(1, 5, 1)"],
        ),
        (
            DataError,
            lambda: spec.identify(signals, short, short, rngs=rngs),
            ["horizon of 10", "Give a lower order"],
        ),
    ):
        with pytest.raises(kind) as caught:
            make()
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)
