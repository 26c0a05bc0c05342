"""Recurrent models against the published equations, PyTorch, and their own contract."""

from __future__ import annotations

from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import kstest

from tsjax_core import GRU, LSTM, RNN, NormStats, Signals
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models import layers
from tsjax_core.models.layers import uniform
from tsjax_core.types import Buffer

SPECS = [RNN, GRU, LSTM]

SIGNALS = Signals(
    inputs=("torque", "current"),
    outputs=("speed", "angle", "temperature"),
    stats={
        "u": NormStats([1.0, -20.0], [2.0, 30.0]),
        "y": NormStats([3.0, 0.1, -5.0], [0.5, 10.0, 1.0]),
        "u_scalar": NormStats([1.5], [0.5]),
        "y_scalar": NormStats([7.0], [2.0]),
    },
    scalar_inputs=("mass",),
    scalar_outputs=("wear",),
)


def inputs(seed: int, *shape: int) -> np.ndarray:
    stats = SIGNALS.stats["u"]
    draws = np.random.default_rng(seed).standard_normal((*shape, 2))
    return (draws * stats.std + stats.mean).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def reference(spec, model, u: np.ndarray) -> np.ndarray:
    """One sequence (time, n_u) through the published equations, in NumPy and float64."""

    def value(variable) -> np.ndarray:
        return np.asarray(variable[...], np.float64)

    x = (u - SIGNALS.stats["u"].mean) / SIGNALS.stats["u"].std
    for number, layer in enumerate(model.stack.layers):
        n = spec.hidden_size
        w_in, w_rec, b_in = value(layer.w_in), value(layer.w_rec), value(layer.b_in)
        h, c, states = np.zeros(n), np.zeros(n), []
        for row in x:
            if spec.__class__ is RNN:
                h = np.tanh(row @ w_in + b_in + h @ w_rec)
            elif spec.__class__ is GRU:
                a, b = row @ w_in + b_in, h @ w_rec
                r = sigmoid(a[:n] + b[:n])
                z = sigmoid(a[n : 2 * n] + b[n : 2 * n])
                candidate = np.tanh(a[2 * n :] + r * (b[2 * n :] + value(layer.b_rec_n)))
                h = (1.0 - z) * candidate + z * h
            else:
                i, f, g, o = np.split(row @ w_in + b_in + h @ w_rec, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            states.append(h)
        out = np.array(states)
        if spec.normalization == "layernorm":
            out = (out - out.mean(1, keepdims=True)) / np.sqrt(out.var(1, keepdims=True) + 1e-5)
        x = x + out if spec.residual and number else out
    y = x @ value(model.head.out.kernel) + value(model.head.out.bias)
    return y * SIGNALS.stats["y"].std + SIGNALS.stats["y"].mean


@pytest.mark.parametrize("spec_class", SPECS)
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 1},
        {"num_layers": 2},
        {"num_layers": 3, "residual": True},
        {"num_layers": 2, "normalization": "layernorm"},
        {"num_layers": 2, "normalization": "layernorm", "residual": True},
    ],
    ids=str,
)
def test_outputs_follow_the_published_equations(spec_class, options):
    """Two inputs, three outputs, every way to stack layers: NumPy in float64 to 1e-5."""
    spec = spec_class(hidden_size=7, **options)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(3))
    u = inputs(0, 4, 60)
    expected = np.stack([reference(spec, model, row) for row in u])
    error = (np.asarray(model(u)) - expected) / SIGNALS.stats["y"].std
    assert np.abs(error).max() < 1e-5


@pytest.mark.parametrize("spec_class", SPECS)
def test_outputs_equal_those_of_pytorch_layers(spec_class):
    """PyTorch's own layers with this model's weights give the same outputs to 1e-5."""
    torch = pytest.importorskip("torch")
    spec = spec_class(hidden_size=9)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(5))
    layer = model.stack.layers[0]
    peer = {RNN: torch.nn.RNN, GRU: torch.nn.GRU, LSTM: torch.nn.LSTM}[spec_class](
        2, 9, batch_first=True
    )
    state = {
        "weight_ih_l0": np.asarray(layer.w_in[...]).T,
        "weight_hh_l0": np.asarray(layer.w_rec[...]).T,
        "bias_ih_l0": np.asarray(layer.b_in[...]),
        "bias_hh_l0": np.zeros_like(layer.b_in[...]),
    }
    if spec_class is GRU:
        state["bias_hh_l0"][18:] = np.asarray(layer.b_rec_n[...])
    peer.load_state_dict({k: torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()})
    u = inputs(1, 3, 80)
    normalized = (u - SIGNALS.stats["u"].mean) / SIGNALS.stats["u"].std
    with torch.no_grad():
        expected = peer(torch.tensor(normalized))[0].numpy()
    _, aux = model.call_with_aux(u)
    assert np.abs(np.asarray(aux["hidden"]) - expected).max() < 1e-5


@pytest.mark.parametrize("spec_class", SPECS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3, "residual": True, "normalization": "layernorm"}]
)
def test_chunks_give_the_outputs_of_the_whole(spec_class, options):
    """Chunks of any lengths, with the state carried, equal one call."""
    model = spec_class(hidden_size=6, **options).build(SIGNALS, rngs=nnx.Rngs(0))
    u = inputs(2, 2, 50)
    state, parts = model.initial_state(2), []
    for chunk in np.split(u, [1, 20, 21], axis=1):
        y, state = model.advance(chunk, state)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts, 1), model(u), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec_class", SPECS)
def test_no_output_depends_on_later_inputs(spec_class):
    """The Jacobian of the outputs up to t with respect to inputs after t is zero."""
    model = spec_class(hidden_size=4, num_layers=2).build(SIGNALS, rngs=nnx.Rngs(0))
    jacobian = jax.jacobian(lambda u: model(u[None])[0])(jnp.asarray(inputs(3, 12)))
    influence = np.abs(np.asarray(jacobian)).max((1, 3))
    assert np.all(np.triu(influence, 1) == 0.0)
    assert np.all(np.tril(influence)[np.tril_indices(12)] > 0.0)


@pytest.mark.parametrize("spec_class", SPECS)
def test_dropout_acts_with_a_key_alone_and_one_mask_serves_all_times(spec_class):
    """Without a key the output is deterministic; with one, a dropped channel is dropped always."""
    spec = spec_class(
        hidden_size=16, num_layers=2, input_dropout=0.5, hidden_dropout=0.5, weight_dropout=0.5
    )
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    plain = replace(spec, input_dropout=0.0, hidden_dropout=0.0, weight_dropout=0.0).build(
        SIGNALS, rngs=nnx.Rngs(0)
    )
    u = inputs(4, 3, 10)
    np.testing.assert_array_equal(model(u), plain(u))
    first, again, other = (model(u, key=jax.random.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.asarray(first - other)).max() > 1e-3
    half = spec_class(hidden_size=16, input_dropout=0.5).build(SIGNALS, rngs=nnx.Rngs(0))
    gradient = jax.grad(lambda u: half(u, key=jax.random.key(3))[..., 0].sum())(jnp.asarray(u))
    dropped = np.asarray(gradient) == 0.0
    assert np.all(dropped.all(1) | ~dropped.any(1))
    assert dropped.any()
    assert not dropped.all()


@pytest.mark.parametrize(
    "options",
    [{"weight_dropout": 0.5}, {"hidden_dropout": 0.5}, {"input_dropout": 0.5}],
    ids=str,
)
def test_each_kind_of_dropout_acts_where_it_says(options):
    """The exact share of what is dropped: recurrent weights, units between layers, inputs."""
    spec = GRU(hidden_size=8, num_layers=2, **options)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    u = inputs(7, 64, 3)

    def changed(u):
        return np.abs(np.asarray(model(u, key=jax.random.key(0)) - model(u))).max((1, 2)) > 1e-6

    # At rest and at the first sample the recurrent weights meet a zero state in the first layer.
    assert changed(u).mean() > 0.5
    first = (
        GRU(hidden_size=8, **options).build(SIGNALS, rngs=nnx.Rngs(0))
        if ("hidden_dropout" not in options)
        else None
    )
    if "weight_dropout" in options:
        one = first(u[:, :1], key=jax.random.key(0)) - first(u[:, :1])
        assert np.abs(np.asarray(one)).max() == 0.0
    mean_input = np.broadcast_to(SIGNALS.stats["u"].mean, (64, 1, 2)).astype(np.float32)
    if "input_dropout" in options:
        still = first(mean_input, key=jax.random.key(0)) - first(mean_input)
        assert np.abs(np.asarray(still)).max() < 1e-5
    if "hidden_dropout" in options:
        assert changed(mean_input).all()


def test_scalar_inputs_reach_the_output_and_are_normalised():
    """A scalar input acts, and its unit is scaled by its own statistics."""
    spec = GRU(hidden_size=5, scalar_inputs=True)
    assert spec.reads == ("u", "u_scalar")
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    u = inputs(5, 2, 10)
    light, heavy = model(u, np.array([[1.0], [1.0]])), model(u, np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(light[0], heavy[0])
    assert np.abs(np.asarray(light[1] - heavy[1])).min() > 0.0
    stats = {**SIGNALS.stats, "u_scalar": NormStats([1500.0], [500.0])}
    grams = spec.build(replace(SIGNALS, stats=stats), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(grams(u, np.array([[1000.0], [2000.0]])), heavy, rtol=1e-5)
    with pytest.raises(ModelError) as caught:
        model(u)
    print(caught.value)
    assert "u_scalar" in str(caught.value)


def test_output_last_gives_one_value_per_sequence():
    """`output = "last"` maps the state after the last sample to the scalar targets."""
    model = GRU(hidden_size=5, output="last").build(SIGNALS, rngs=nnx.Rngs(0))
    y = model(inputs(6, 4, 30))
    assert y.shape == (4, 1)
    assert np.abs(np.asarray(y) - 7.0).max() < 6.0


@pytest.mark.parametrize("spec_class", SPECS)
def test_statistics_are_buffers_and_parameters_start_within_the_uniform_bound(spec_class):
    """Only kernels and biases are parameters, all within 1 / sqrt(hidden_size)."""
    model = spec_class(hidden_size=25, num_layers=2).build(SIGNALS, rngs=nnx.Rngs(0))
    parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert all(np.abs(p).max() <= 0.2 for p in parameters)
    assert all(np.abs(p).max() > 0.1 for p in parameters)
    assert len(jax.tree.leaves(nnx.state(model, Buffer))) == 4


@pytest.mark.parametrize("shape", [(3,), (), (0, 2), (64, 192), (4096,), (3, 100, 50)])
def test_draws_of_any_shape_are_uniform_and_the_same_within_a_program(shape):
    key = jax.random.key(3)
    drawn = np.asarray(uniform(key, shape, 0.25))
    assert drawn.shape == shape
    assert drawn.dtype == np.float32
    assert (np.abs(drawn) <= 0.25).all()
    np.testing.assert_array_equal(drawn, jax.jit(lambda key: uniform(key, shape, 0.25))(key))
    other = np.asarray(uniform(jax.random.key(4), shape, 0.25))
    assert drawn.size == 0 or (drawn != other).any()
    if drawn.size > 4096:
        # Of as many of the 2^24 numbers there are, few are the same.
        assert np.unique(drawn).size > 0.99 * drawn.size
        assert kstest(drawn.ravel(), "uniform", (-0.25, 0.5)).pvalue > 0.01


def test_one_program_draws_arrays_of_all_shapes():
    key = jax.random.key(0)
    uniform(key, (3,), 1.0)
    before = layers._block._cache_size()
    for shape in [(7,), (64, 192), (3, 5, 2)]:
        uniform(key, shape, 0.1)
    assert layers._block._cache_size() == before


def test_models_built_within_a_program_are_those_built_outside():
    built = GRU(hidden_size=8).build(SIGNALS, rngs=nnx.Rngs(5))
    within = nnx.jit(lambda rngs: GRU(hidden_size=8).build(SIGNALS, rngs=rngs))(nnx.Rngs(5))
    pairs = zip(*(jax.tree.leaves(nnx.state(m, nnx.Param)) for m in (built, within)), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def test_hidden_layers_before_the_output_are_built():
    """`linear_layers` adds layers of the hidden width."""
    model = RNN(hidden_size=5, linear_layers=2).build(SIGNALS, rngs=nnx.Rngs(0))
    assert len(model.head.hidden) == 2
    assert model(inputs(0, 1, 4)).shape == (1, 4, 3)


def test_specs_survive_dict_and_repr():
    """A specification equals what its dictionary and its `repr` build again."""
    for spec_class in SPECS:
        spec = spec_class(hidden_size=3, num_layers=2, hidden_dropout=0.1)
        assert spec_class(**asdict(spec)) == spec
        assert eval(repr(spec)) == spec
        assert hash(eval(repr(spec))) == hash(spec)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"hidden_size": 0}, ["hidden_size = 0", "at least 1"]),
        ({"num_layers": 0}, ["num_layers = 0", "at least 1"]),
        ({"linear_layers": -1}, ["linear_layers = -1", "at least 0"]),
        ({"input_dropout": 1.0}, ["input_dropout = 1.0", "probability"]),
        (
            {"input_dropout": "a"},
            ["input_dropout = 'a'; give a probability", "below 1", "0 for no"],
        ),
        ({"hidden_dropout": None}, ["hidden_dropout = None; give a probability"]),
        ({"weight_dropout": False}, ["weight_dropout = False; give a probability"]),
        ({"hidden_dropout": 0.5}, ["hidden_dropout", "num_layers = 2"]),
        ({"hidden_size": True}, ["hidden_size = True", "whole number"]),
        ({"normalization": "layer"}, ["normalization = 'layer'", "Did you mean 'layernorm'?"]),
        ({"output": "all"}, ["output = 'all'", "'sequence', 'last'"]),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, parts):
    """The error names the option, its value, and what to give."""
    with pytest.raises(ConfigError) as caught:
        GRU(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.key in options


def test_a_wrong_number_of_channels_is_refused():
    """One channel would broadcast against two means; it is an error."""
    model = GRU(hidden_size=3).build(SIGNALS, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError) as caught:
        model(np.zeros((1, 5, 1), np.float32))
    print(caught.value)
    assert "2 channels" in str(caught.value)
    assert "(1, 5, 1)" in str(caught.value)


def test_data_without_the_scalars_that_are_asked_for_are_refused():
    """The error names the batch key and the option."""
    signals = Signals(("u",), ("y",), {k: NormStats([0.0], [1.0]) for k in "uy"})
    for options, key in (({"scalar_inputs": True}, "u_scalar"), ({"output": "last"}, "y_scalar")):
        with pytest.raises(ModelError) as caught:
            GRU(**options).build(signals, rngs=nnx.Rngs(0))
        print(caught.value)
        assert key in str(caught.value)
