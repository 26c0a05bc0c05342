"""The convolutional recurrent network against its equations and in its parts."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import predict
from tsjax_core.errors import ConfigError
from tsjax_tcn import CRNN


@nnx.jit
def run(model, *inputs, key=None):
    return model(*inputs, key=key)


@nnx.jit
def run_aux(model, *inputs, key=None):
    return model.call_with_aux(*inputs, key=key)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def recurrent_in_loops(case, spec, stack, x: np.ndarray) -> np.ndarray:
    """One sequence of features through the recurrent layers, sample by sample."""
    n, value = spec.rnn_hidden_size, case.value
    for layer in stack.layers:
        w_in, w_rec, b_in = value(layer.w_in), value(layer.w_rec), value(layer.b_in)
        h, c, states = np.zeros(n), np.zeros(n), []
        for row in x:
            a, b = row @ w_in + b_in, h @ w_rec
            if spec.cell == "rnn":
                h = np.tanh(a + b)
            elif spec.cell == "gru":
                r, z = sigmoid(a[:n] + b[:n]), sigmoid(a[n : 2 * n] + b[n : 2 * n])
                candidate = np.tanh(a[2 * n :] + r * (b[2 * n :] + value(layer.b_rec_n)))
                h = (1.0 - z) * candidate + z * h
            else:
                i, f, g, o = np.split(a + b, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            states.append(h)
        x = np.array(states)
        if spec.rnn_normalization == "layernorm":
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"linear_layers": 1, "rnn_normalization": "layernorm", "num_rnn_layers": 1},
        {"cnn_normalization": "layernorm", "activation": "mish", "kernel_size": 3},
    ],
    ids=str,
)
def test_outputs_follow_the_published_equations(case, cell, options):
    """Two inputs, three outputs, all three cells: NumPy in float64 to 1e-5."""
    sizes = {"num_features": 4, "cnn_hidden_size": 6, "rnn_hidden_size": 5, "num_cnn_layers": 3}
    spec = CRNN(cell=cell, **sizes, **options)
    model = spec.build(case.signals, rngs=nnx.Rngs(4))
    u = case.inputs(0, 2, 25)
    expected = []
    for row in u:
        x = case.convolutions(model.convolutions, spec.convolutions, case.normalized(row))
        x = x @ case.value(model.features.kernel) + case.value(model.features.bias)
        x = recurrent_in_loops(case, spec, model.recurrent, x)
        for layer in model.head.hidden:
            x = x @ case.value(layer.kernel) + case.value(layer.bias)
            x = np.where(x > 0.0, x, 0.01 * x)
        expected.append(
            case.physical(x @ case.value(model.head.out.kernel) + case.value(model.head.out.bias))
        )
    error = (predict(model, u) - np.stack(expected)) / case.signals.stats["y"].std
    assert np.abs(error).max() < 1e-5


def test_no_output_depends_on_later_inputs_and_the_memory_does_not_end(case):
    """By the Jacobian; the recurrent layers remember beyond the convolutions."""
    spec = CRNN(num_cnn_layers=2, activation="tanh")
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    jacobian = jax.jit(jax.jacobian(lambda u: model(u[None])[0]))(case.inputs(3, 12))
    influence = np.abs(np.asarray(jacobian)).max((1, 3))
    assert np.all(np.triu(influence, 1) == 0.0)
    assert np.all(influence[np.tril_indices(12)] > 0.0)
    assert spec.convolutions.receptive_field == 4


def test_intermediate_values_are_the_features_and_the_states(case):
    """`call_with_aux` names both; their widths are those of the options."""
    model = CRNN(num_features=3, rnn_hidden_size=7).build(case.signals, rngs=nnx.Rngs(0))
    y, aux = run_aux(model, case.inputs(1, 2, 9))
    assert y.shape == (2, 9, 3)
    assert {name: x.shape for name, x in aux.items()} == {
        "features": (2, 9, 3),
        "hidden": (2, 9, 7),
    }


@pytest.mark.parametrize(
    "option", ["cnn_dropout", "input_dropout", "hidden_dropout", "weight_dropout"]
)
def test_each_dropout_acts_with_a_key_alone_and_in_its_part(case, option):
    """The convolutions' acts on the features; the others leave the features as they are."""
    spec = CRNN(**{option: 0.5})
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    plain = replace(spec, **{option: 0.0}).build(case.signals, rngs=nnx.Rngs(0))
    u, key = case.inputs(2, 4, 8), jax.random.key(1)
    np.testing.assert_array_equal(predict(model, u), predict(plain, u))
    y, aux = run_aux(model, u, key=key)
    y_plain, aux_plain = run_aux(plain, u, key=key)
    assert np.abs(np.asarray(y - y_plain)).max() > 1e-4
    moved = np.abs(np.asarray(aux["features"] - aux_plain["features"])).max()
    assert bool(moved > 1e-4) is (option == "cnn_dropout")
    np.testing.assert_array_equal(run(model, u, key=key), y)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"num_features": 0}, ["num_features = 0", "at least 1"]),
        ({"rnn_hidden_size": "x"}, ["rnn_hidden_size = 'x'", "whole number"]),
        ({"linear_layers": -1}, ["linear_layers = -1", "at least 0"]),
        ({"cnn_dropout": -0.1}, ["cnn_dropout = -0.1", "probability"]),
        ({"cell": "gro"}, ["cell = 'gro'", "Did you mean 'gru'?"]),
        ({"rnn_normalization": "batchnorm"}, ["'batchnorm'", "'none', 'layernorm'"]),
        (
            {"hidden_dropout": 0.5, "num_rnn_layers": 1},
            ["hidden_dropout = 0.5", "num_rnn_layers = 2"],
        ),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, parts):
    """The error names the option, its value, and what to give."""
    with pytest.raises(ConfigError) as caught:
        CRNN(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.key in options
