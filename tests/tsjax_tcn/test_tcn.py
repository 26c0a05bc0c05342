"""The temporal convolutional network against its equations, PyTorch, and its own contract."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import NormStats, Signals, predict
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.protocols import AuxModel, FiniteMemory, ModelSpec, StatefulModel
from tsjax_core.types import Buffer
from tsjax_tcn import CRNN, TCN
from tsjax_tcn.stack import mish


@nnx.jit
def run(model, *inputs, key=None):
    return model(*inputs, key=key)


@nnx.jit
def features(stack, x, key=None):
    return stack(x, None, key=key)[0]


def disturbed(model):
    """Move what begins at a special value away from it, so that a mistake cannot hide there."""
    rng = np.random.default_rng(9)

    def move(x):
        near = np.asarray(x) * rng.uniform(0.5, 1.5, x.shape)
        return jnp.asarray(near + rng.uniform(-0.1, 0.1, x.shape), x.dtype)

    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(move, state))
    return model


@pytest.mark.parametrize("activation", ["mish", "relu", "gelu", "silu", "tanh", "leaky_relu"])
def test_every_activation_follows_its_equation(case, activation):
    """One block in NumPy and float64 to 1e-5."""
    check_reference(case, TCN(num_layers=1, hidden_size=5, activation=activation))


def test_mish_is_exact_far_from_zero_too():
    """Value and gradient from -100 to 1000, against the definition in float64 and jax.nn.mish."""
    x = np.concatenate([np.linspace(-100.0, 30.0, 1001), [88.0, 100.0, 1000.0]]).astype(np.float32)
    expected = x * np.tanh(np.logaddexp(0.0, x.astype(np.float64)))
    np.testing.assert_allclose(mish(x), expected, rtol=1e-5, atol=1e-30)
    slopes = [jax.vmap(jax.grad(f))(x) for f in (mish, jax.nn.mish)]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 3},
        {"weight_norm": False},
        {"kernel_size": 3, "layers_per_block": 2},
        {"kernel_size": 1},
        {"hidden_size": 2},
        {"hidden_size": 40, "num_layers": 1},
        {"normalization": "layernorm"},
        {"normalization": "layernorm", "weight_norm": False, "layers_per_block": 2},
        {"normalization": "batchnorm", "layers_per_block": 2},
    ],
    ids=str,
)
def test_outputs_follow_the_published_equations(case, options):
    """Two inputs, three outputs, every way to build blocks: NumPy in float64 to 1e-5."""
    check_reference(case, TCN(**{"num_layers": 2, "hidden_size": 7, **options}))


def check_reference(case, spec):
    model = disturbed(spec.build(case.signals, rngs=nnx.Rngs(3)))
    u = case.inputs(0, 2, 30)
    head = model.head.out
    expected = np.stack(
        [
            case.physical(
                case.convolutions(model.stack, spec, case.normalized(row)) @ case.value(head.kernel)
                + case.value(head.bias)
            )
            for row in u
        ]
    )
    error = (predict(model, u) - expected) / case.signals.stats["y"].std
    assert np.abs(error).max() < 1e-5 * max(1.0, np.abs(case.normalized(u)).max())


def test_outputs_equal_those_of_pytorch_layers(case):
    """PyTorch's padded Conv1d under its own weight norm, with this model's weights, to 1e-5."""
    torch = pytest.importorskip("torch")
    spec = TCN(num_layers=3, hidden_size=6, kernel_size=3, layers_per_block=2)
    model = disturbed(spec.build(case.signals, rngs=nnx.Rngs(5)))
    u = case.inputs(1, 3, 40)

    def tensor(variable):
        return torch.tensor(np.array(variable[...]))

    with torch.no_grad():
        x = torch.tensor(np.ascontiguousarray(case.normalized(u).swapaxes(1, 2)))
        for level, block in enumerate(model.stack.blocks):
            h, dilation = x, 2**level
            for conv in block.convs:
                taps, n_in, n_out = conv.kernel.shape
                peer = torch.nn.utils.parametrizations.weight_norm(
                    torch.nn.Conv1d(n_in, n_out, taps, dilation=dilation)
                )
                weight = peer.parametrizations.weight
                weight.original0.copy_(tensor(conv.g)[:, None, None])
                weight.original1.copy_(tensor(conv.kernel).permute(2, 1, 0))
                peer.bias.copy_(tensor(conv.bias))
                h = torch.nn.functional.pad(h, ((taps - 1) * dilation, 0))
                h = torch.nn.functional.mish(peer(h))
            if block.residual is not None:
                peer = torch.nn.Conv1d(x.shape[1], h.shape[1], 1)
                peer.weight.copy_(tensor(block.residual.kernel).T[..., None])
                peer.bias.copy_(tensor(block.residual.bias))
                x = peer(x)
            x = x + h
        expected = x.numpy().swapaxes(1, 2)
    hidden = np.asarray(model.call_with_aux(u)[1]["hidden"])
    assert np.abs(hidden - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "options,expected",
    [
        ({"num_layers": 1}, 2),
        ({"num_layers": 3}, 8),
        ({"num_layers": 2, "kernel_size": 3}, 7),
        ({"num_layers": 2, "layers_per_block": 2}, 7),
        ({"num_layers": 2, "kernel_size": 4, "layers_per_block": 2}, 19),
        ({"num_layers": 3, "kernel_size": 1}, 1),
    ],
    ids=str,
)
def test_an_output_depends_on_its_receptive_field_and_on_nothing_else(case, options, expected):
    """By the Jacobian: not on later inputs, on every input of the field, on none before it."""
    spec = TCN(hidden_size=6, activation="tanh", **options)
    assert spec.receptive_field == expected
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    n = 24
    jacobian = jax.jit(jax.jacobian(lambda u: model(u[None])[0]))(case.inputs(3, n))
    influence = np.abs(np.asarray(jacobian)).max((1, 3))
    age = np.subtract.outer(np.arange(n), np.arange(n))
    within = (age >= 0) & (age < expected)
    assert np.all(influence[~within] == 0.0)
    assert np.all(influence[age == 0] > 0.0)
    assert np.all(influence[age == expected - 1] > 0.0)


SPECS = [
    TCN(num_layers=2, hidden_size=5),
    TCN(num_layers=3, hidden_size=4, kernel_size=3, layers_per_block=2, normalization="layernorm"),
    TCN(num_layers=2, hidden_size=20, normalization="batchnorm"),
    CRNN(num_cnn_layers=3, cnn_hidden_size=4, rnn_hidden_size=5),
    CRNN(num_cnn_layers=2, cell="lstm", cnn_normalization="batchnorm", kernel_size=3),
]


# Few lengths, so that few programs are compiled, in any order.
LENGTHS = [1, 2, 7, 11]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_chunks_of_any_lengths_give_the_outputs_of_the_whole(case, spec):
    """Random cuts and single samples, longer and shorter than what a layer remembers, to 1e-5."""
    model = disturbed(spec.build(case.signals, rngs=nnx.Rngs(0)))
    n, rng = 40, np.random.default_rng(0)
    u = case.inputs(2, 2, n)
    whole = predict(model, u)
    graphdef, variables = nnx.split(model)
    advance = jax.jit(lambda chunk, state: nnx.merge(graphdef, variables).advance(chunk, state))
    scale = case.signals.stats["y"].std
    for lengths in [rng.choice(LENGTHS, n) for _ in range(8)] + [np.ones(n, int)]:
        state, parts, start = model.initial_state(2), [], 0
        for length in lengths:
            if start + length > n:
                break
            y, state = advance(u[:, start : start + length], state)
            parts.append(y)
            start += length
        assert start > n - max(LENGTHS)
        error = (np.concatenate(parts, 1) - whole[:, :start]) / scale
        assert np.abs(error).max() < 1e-5


@pytest.mark.parametrize("spec", [SPECS[2], SPECS[4]], ids=repr)
def test_batch_norm_learns_its_statistics_in_training_alone(case, spec):
    """They move in training mode; a new model is in evaluation mode, where rows are independent."""
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    u = case.inputs(4, 3, 40)

    def statistics():
        return np.concatenate(
            [np.ravel(x) for x in jax.tree.leaves(nnx.state(model, nnx.BatchStat))]
        )

    before, first = statistics(), np.asarray(run(model, u))
    np.testing.assert_array_equal(statistics(), before)
    np.testing.assert_allclose(run(model, u[:1]), first[:1], rtol=1e-5, atol=1e-5)
    model.train()
    trained = np.asarray(run(model, u))
    assert np.abs(statistics() - before).min() > 0.0
    assert np.abs(trained - first).max() > 1e-2
    model.eval()
    after = statistics()
    assert np.abs(np.asarray(run(model, u)) - first).max() > 1e-3
    np.testing.assert_array_equal(statistics(), after)


def test_batch_norm_normalises_over_batch_and_time(case):
    """In training, each channel after it has zero mean and unit variance."""
    spec = TCN(num_layers=1, hidden_size=6, normalization="batchnorm", activation="leaky_relu")
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    model.train()
    u = jnp.asarray(case.inputs(5, 8, 50))
    block = model.stack.blocks[0]
    x = model.u_scale(u)
    h = block.batch_norms[0](block.convs[0](x, None))
    np.testing.assert_allclose(h.mean((0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(h.var((0, 1)), 1.0, atol=1e-3)
    np.testing.assert_allclose(
        model.stack(x, None)[0] - block.residual(x), jax.nn.leaky_relu(h), atol=1e-5
    )


def test_dropout_acts_with_a_key_alone_and_one_mask_serves_all_times(case):
    """A dropped channel is dropped at all times of a sequence, and others in another sequence."""
    spec = TCN(num_layers=1, hidden_size=30, dropout=0.5)
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    plain = replace(spec, dropout=0.0).build(case.signals, rngs=nnx.Rngs(0))
    u = case.inputs(6, 3, 12)
    np.testing.assert_array_equal(run(model, u), run(plain, u))
    np.testing.assert_array_equal(run(plain, u, key=jax.random.key(0)), run(plain, u))
    first, again, other = (run(model, u, key=jax.random.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.asarray(first - other)).max() > 1e-3
    x = model.u_scale(jnp.asarray(u))
    residual = model.stack.blocks[0].residual(x)
    kept = np.asarray(features(model.stack, x) - residual)
    dropped = np.asarray(features(model.stack, x, key=jax.random.key(1)) - residual)
    gone = np.abs(dropped) < 1e-6
    assert np.all(gone.all(1) | ~gone.any(1))
    assert 0.3 < gone.mean() < 0.7
    assert np.any(gone[0, 0] != gone[1, 0])
    np.testing.assert_allclose(dropped[~gone], 2.0 * kept[~gone], rtol=1e-3, atol=1e-5)


def test_dropout_masks_differ_between_layers(case):
    """Each convolution of a network draws its own mask."""
    spec = TCN(num_layers=2, layers_per_block=2, hidden_size=30, dropout=0.5)
    stack = spec.build(case.signals, rngs=nnx.Rngs(0)).stack
    x = jnp.asarray(case.inputs(6, 1, 12))
    block = stack.blocks[1]
    keys = jax.random.split(jax.random.key(0), 4)
    _, inputs = block(jnp.ones((1, 12, 30)), None, keys[:2])
    out, _ = block(jnp.ones((1, 12, 30)), None, keys[:2])
    first = np.asarray(inputs[1][0, 0] == 0.0)
    second = np.asarray(jnp.abs(out - 1.0)[0, 0] < 1e-6)
    assert first.any()
    assert second.any()
    assert np.any(first != second)
    different = [np.asarray(features(stack, x, key=jax.random.key(i))) for i in range(2)]
    assert np.abs(different[0] - different[1]).max() > 1e-3


@pytest.mark.parametrize("spec_class", [TCN, CRNN])
def test_scalar_inputs_reach_the_output_and_are_normalised(case, spec_class):
    """A scalar input acts, its unit is scaled by its own statistics, and chunks know it."""
    spec = spec_class(scalar_inputs=True)
    assert spec.reads == ("u", "u_scalar")
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    u = case.inputs(5, 2, 10)
    light, heavy = run(model, u, np.array([[1.0], [1.0]])), run(model, u, np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(light[0], heavy[0], rtol=1e-6)
    assert np.abs(np.asarray(light[1] - heavy[1])).max() > 1e-3
    stats = {**case.signals.stats, "u_scalar": NormStats([1500.0], [500.0])}
    grams = spec.build(replace(case.signals, stats=stats), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(
        run(grams, u, np.array([[1000.0], [2000.0]])), heavy, rtol=1e-5, atol=1e-5
    )
    scalars, state = np.array([[1.0], [2.0]]), model.initial_state(2)
    parts = []
    for chunk in np.split(u, [4], 1):
        y, state = model.advance(chunk, state, scalars)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts, 1), heavy, rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError) as caught:
        run(model, u)
    print(caught.value)
    assert spec_class.__name__ in str(caught.value)
    assert "u_scalar" in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        TCN(num_layers=2, hidden_size=8, kernel_size=3, layers_per_block=2),
        TCN(num_layers=2, hidden_size=30, normalization="batchnorm", layers_per_block=2),
        TCN(num_layers=2, hidden_size=8, normalization="layernorm", weight_norm=False),
        CRNN(rnn_normalization="layernorm", linear_layers=1),
        CRNN(cnn_normalization="batchnorm", cell="lstm"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_reaches_every_parameter(case, spec, training):
    """No parameter is without effect: none before batch norm that it would undo."""
    model = disturbed(spec.build(case.signals, rngs=nnx.Rngs(0)))
    if training:
        model.train()
    graphdef, parameters, rest = nnx.split(model, nnx.Param, ...)
    u = case.inputs(8, 4, 30)

    def loss(parameters):
        y = nnx.merge(graphdef, parameters, rest, copy=True)(u)
        return jnp.mean(((y - y.mean()) / case.signals.stats["y"].std) ** 2)

    gradients = jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(parameters))
    assert len(gradients) == len(jax.tree.leaves(parameters))
    for path, gradient in gradients:
        assert np.isfinite(gradient).all(), path
        assert np.abs(np.asarray(gradient)).max() > 1e-4, path


def test_weight_norm_begins_as_the_plain_kernel(case):
    """G = ||v|| at first, so that the same draws give the same outputs without weight norm."""
    normed, plain = (
        TCN(num_layers=2, hidden_size=8, weight_norm=on).build(case.signals, rngs=nnx.Rngs(0))
        for on in (True, False)
    )
    u = case.inputs(7, 2, 20)
    np.testing.assert_allclose(run(normed, u), run(plain, u), rtol=1e-5, atol=1e-5)
    conv = normed.stack.blocks[1].convs[0]
    np.testing.assert_allclose(
        conv.g[...], np.linalg.norm(np.reshape(conv.kernel[...], (16, 8)), axis=0), rtol=1e-6
    )
    conv.kernel[...] = 3.0 * conv.kernel[...]
    np.testing.assert_allclose(run(normed, u), run(plain, u), rtol=1e-4, atol=1e-4)


def test_parameters_start_within_the_uniform_bound_and_statistics_are_buffers(case):
    """Kernels and biases lie within 1 / sqrt(fan-in) and fill that range."""
    model = TCN(num_layers=2, hidden_size=32, kernel_size=3).build(case.signals, rngs=nnx.Rngs(0))
    for block, n_in in zip(model.stack.blocks, (2, 32), strict=True):
        (conv,) = block.convs
        for variable in (conv.kernel, conv.bias):
            largest = np.abs(np.asarray(variable[...])).max()
            assert 0.8 * (3 * n_in) ** -0.5 < largest <= (3 * n_in) ** -0.5
    assert model.stack.blocks[1].residual is None
    assert len(jax.tree.leaves(nnx.state(model, Buffer))) == 4


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_specs_survive_json_and_repr_and_meet_the_protocols(case, spec):
    """A specification equals what its JSON and its `repr` build again."""
    assert type(spec)(**json.loads(json.dumps(asdict(spec)))) == spec
    assert eval(repr(spec)) == spec
    assert hash(eval(repr(spec))) == hash(spec)
    assert isinstance(spec, ModelSpec)
    assert isinstance(spec, FiniteMemory) is isinstance(spec, TCN)
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    assert isinstance(model, FiniteMemory) is isinstance(spec, FiniteMemory)
    assert isinstance(model, StatefulModel)
    assert isinstance(model, AuxModel)


@pytest.mark.parametrize(
    "options,parts",
    [
        ({"num_layers": 0}, ["num_layers = 0", "at least 1"]),
        ({"hidden_size": 2.5}, ["hidden_size = 2.5", "whole number"]),
        ({"kernel_size": True}, ["kernel_size = True", "whole number"]),
        ({"layers_per_block": 0}, ["layers_per_block = 0", "at least 1"]),
        ({"dropout": 1.0}, ["dropout = 1.0", "probability"]),
        ({"dropout": "a"}, ["dropout = 'a'; give a probability"]),
        ({"activation": "mich"}, ["activation = 'mich'", "'leaky_relu'", "Did you mean 'mish'?"]),
        ({"normalization": "batch"}, ["normalization = 'batch'", "Did you mean 'batchnorm'?"]),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, parts):
    """The error names the option, its value, and what to give."""
    with pytest.raises(ConfigError) as caught:
        TCN(**options)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.key in options


@pytest.mark.parametrize("spec_class", [TCN, CRNN])
def test_signals_that_do_not_fit_are_refused(case, spec_class):
    """No output sequence, no scalars, and another number of channels than the statistics."""
    stats = {"u": NormStats([0.0], [1.0]), "y": NormStats([0.0], [1.0])}
    only_u = Signals(("u",), (), {"u": stats["u"]})
    u_and_y = Signals(("u",), ("y",), stats)
    for make, parts in (
        (lambda: spec_class().build(only_u, rngs=nnx.Rngs(0)), ["needs 'y'", "have u."]),
        (
            lambda: spec_class(scalar_inputs=True).build(u_and_y, rngs=nnx.Rngs(0)),
            ["scalar_inputs = True needs 'u_scalar'", "have u, y."],
        ),
        (
            lambda: spec_class().build(case.signals, rngs=nnx.Rngs(0))(np.zeros((1, 5, 1))),
            ["2 channels", "(1, 5, 1)"],
        ),
    ):
        with pytest.raises(ModelError) as caught:
            make()
        print(caught.value)
        assert all(part in str(caught.value) for part in parts)
