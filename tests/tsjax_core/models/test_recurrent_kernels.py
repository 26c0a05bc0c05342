"""The fast recurrent layers against the equations run sample by sample."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import GRU, LSTM, RNN, NormStats, Signals
from tsjax_core.models import recurrent_kernels as kernels
from tsjax_core.models import recurrent_scans as scans

N_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CELLS = list(N_GATES)
SIZES = [(1, 1, 1), (2, 3, 5), (17, 4, 8), (60, 1, 3)]
"""Samples, sequences, units."""


def drawn(cell: str, seed: int, samples: int, batch: int, hidden: int):
    """Return the arguments of a layer: gates' inputs, state parts, recurrent weights."""
    rng = np.random.default_rng(seed)
    n = N_GATES[cell]
    x = tuple(rng.standard_normal((samples, batch, hidden)) for _ in range(n))
    state = [rng.standard_normal((batch, hidden)) for _ in range(2 if cell == "lstm" else 1)]
    weights = [rng.uniform(-1.0, 1.0, (hidden, n * hidden))]
    if cell == "gru":
        weights.append(rng.uniform(-1.0, 1.0, hidden))
    return x, tuple(state), tuple(weights)


def run(functions, kind: str, cell: str, x, state, weights):
    """Return all states and the last, (states, parts), from one of the two modules."""
    function = getattr(functions, f"{cell}_{kind}")
    states, last = function(x, state if cell == "lstm" else state[0], *weights)
    return states, last if cell == "lstm" else (last,)


fast = partial(run, kernels, "kernel")
plain = partial(run, scans, "scan")


def assert_close(got, expected, tolerance: float) -> None:
    """Compare all arrays, by the largest value of each."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        assert float(np.abs(np.asarray(a) - np.asarray(b)).max()) <= tolerance * scale


def score(layer, cell: str, x, state, weights):
    """Return a scalar that every state and every part of the last state enters differently."""
    states, last = layer(cell, x, state, weights)
    weighting = jnp.cos(jnp.arange(states.size, dtype=states.dtype)).reshape(states.shape)
    return (weighting * states**2).sum() + sum(
        (k + 1.5) * jnp.sin(p).sum() for k, p in enumerate(last)
    )


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """Give a function that casts arguments to the precision under test, and its tolerance."""
    double = request.param == "float64"
    with jax.enable_x64(double):
        yield (
            lambda tree: jax.tree.map(lambda a: jnp.asarray(a, request.param), tree),
            (1e-10 if double else 1e-5),
        )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_states_and_gradients_are_those_of_the_equations(cell, sizes, precision):
    """From any state, in both precisions, with respect to inputs, state and weights."""
    cast, tolerance = precision
    arguments = cast(drawn(cell, 0, *sizes))
    assert_close(fast(cell, *arguments), plain(cell, *arguments), tolerance)
    gradients = [
        jax.jit(jax.grad(partial(score, layer, cell), argnums=(0, 1, 2)))(*arguments)
        for layer in (fast, plain)
    ]
    assert_close(*gradients, tolerance)


@pytest.mark.parametrize(
    "cell",
    ["rnn", *(pytest.param(cell, marks=pytest.mark.slow) for cell in CELLS if cell != "rnn")],
)
def test_derivatives_exist_in_both_modes_and_to_third_order(cell):
    """Forward mode, Hessian products of both kinds and a third derivative, in float64."""
    with jax.enable_x64(True):
        as_arrays = partial(jax.tree.map, jnp.asarray)
        x, state, weights = as_arrays(drawn(cell, 1, 9, 2, 3))
        direction = as_arrays(drawn(cell, 2, 9, 2, 3))[2]

        def along(layer, t):
            moved = jax.tree.map(lambda w, d: w + t * d, weights, direction)
            return score(layer, cell, x, state, moved)

        for derive in (
            lambda f: jax.jacfwd(jax.grad(f)),
            lambda f: jax.grad(jax.jacfwd(f)),
            lambda f: jax.jacfwd(jax.grad(jax.jacfwd(f))),
        ):
            got, expected = (jax.jit(derive(partial(along, layer)))(0.3) for layer in (fast, plain))
            assert_close(got, expected, 1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_many_layers_at_once_equal_each_alone(cell):
    """`vmap` over weights, values and gradients: what a population of models does."""
    drawn_layers = [drawn(cell, seed, 12, 2, 4) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.asarray(np.stack(a), jnp.float32), *drawn_layers)
    gradient = jax.grad(partial(score, fast, cell), argnums=(0, 1, 2))
    together = jax.jit(jax.vmap(gradient))(*stacked)
    for k, one in enumerate(drawn_layers):
        alone = gradient(*jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), one))
        assert_close(jax.tree.map(lambda a, k=k: a[k], together), alone, 1e-5)


@pytest.mark.parametrize(
    "spec_class",
    [pytest.param(RNN, marks=pytest.mark.slow), GRU, pytest.param(LSTM, marks=pytest.mark.slow)],
)
def test_models_of_both_kernels_agree(spec_class):
    """Two layers with dropout: outputs, gradients of all parameters, and a chunk from a state."""
    stats = {"u": NormStats([1.0, 0.0], [2.0, 1.0]), "y": NormStats([0.0], [3.0])}
    signals = Signals(inputs=("a", "b"), outputs=("c",), stats=stats)
    u = np.random.default_rng(0).standard_normal((3, 25, 2)).astype(np.float32)
    results = []
    for kernel in ("auto", "plain"):
        spec = spec_class(
            hidden_size=6, num_layers=2, residual=True, weight_dropout=0.2, kernel=kernel
        )
        model = spec.build(signals, rngs=nnx.Rngs(4))
        _, state = model.advance(u[:, :10], model.initial_state(3))

        def loss(model, state=state):
            dropped = model(u, key=jax.random.key(0))
            return (dropped**2).mean() + (model.advance(u[:, 10:], state)[0] ** 2).mean()

        gradients = nnx.to_pure_dict(nnx.grad(loss)(model))
        results.append((model(u), model.advance(u[:, 10:], state), gradients))
    assert_close(*results, 1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_keeps_less_than_the_equations_do(cell):
    """The compiled gradient needs less memory than that of the plain scan."""
    x, state, weights = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), drawn(cell, 0, 100, 16, 32)
    )

    def bytes_of(layer) -> int:
        gradient = jax.jit(jax.grad(partial(score, layer, cell), argnums=2))
        return gradient.lower(x, state, weights).compile().memory_analysis().temp_size_in_bytes

    sizes = bytes_of(fast), bytes_of(plain)
    print(f"{cell}: {sizes[0] / 1e6:.2f} MB, plain {sizes[1] / 1e6:.2f} MB")
    assert sizes[0] < sizes[1]


def test_the_last_state_alone_needs_no_cells_of_other_times():
    """Without a gradient the stacked cells of an LSTM are never stored."""
    x, state, weights = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), drawn("lstm", 0, 400, 8, 32)
    )

    def bytes_of(layer) -> int:
        run = jax.jit(lambda *a: layer("lstm", *a))
        return run.lower(x, state, weights).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(fast) < bytes_of(plain) + x[0].nbytes // 2
