"""Models of blocks as the start of a nonlinear state space."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import NormStats, Signals, predict
from tsjax_core.errors import ConfigError, SavedModelError
from tsjax_core.inference.saved_model import save_model
from tsjax_ss import Hammerstein, NeuralSS, Wiener, WienerHammerstein

SIGNALS = Signals(
    ("a", "b"),
    ("p", "q", "r"),
    {"u": NormStats([1.0, -20.0], [2.0, 30.0]), "y": NormStats([3.0, 0.1, -5.0], [0.5, 10, 1])},
)
SPECS = [
    Wiener(order=3, hidden_size=4),
    Hammerstein(order=3, hidden_size=4, features="swish"),
    WienerHammerstein(order=5, orders=(3, 2), channels=2, hidden_size=4, features="softplus"),
]


def save(spec, folder, seed=0):
    """Save a model whose every parameter is off its start; return it too."""
    model = spec.build(SIGNALS, rngs=nnx.Rngs(seed))
    rng = np.random.default_rng(seed)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape), params))
    return model, save_model(model, spec, SIGNALS, folder)


def begin(spec):
    return spec.identify(SIGNALS, [], [], rngs=nnx.Rngs(1))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_it_simulates_what_the_blocks_do(spec, tmp_path):
    """From zero state, with as many units and with more, which act on nothing at first."""
    model, folder = save(spec, tmp_path / "model")
    u = np.random.default_rng(1).standard_normal((80, 2)) * [2.0, 30.0] + [1.0, -20.0]
    expected = predict(model, u)
    for size in (4, 7):
        wanted = NeuralSS(hidden_size=size, features=spec.features, begin=str(folder))
        chosen, begun = begin(wanted)
        assert chosen == replace(wanted, order=spec.order)
        np.testing.assert_allclose(predict(begun, u), expected, rtol=1e-4, atol=1e-4)
        assert begun.to_state.shape == (spec.order, size)


def test_what_does_not_fit_is_refused(tmp_path):
    """Options beside it, other data, other models; the text says what to give."""
    _, folder = save(SPECS[0], tmp_path / "wiener")
    _, powers = save(replace(SPECS[0], features="monomials"), tmp_path / "monomials")
    _, neural = save(NeuralSS(order=2), tmp_path / "neural")
    for spec, part in (
        (NeuralSS(order=4, begin=str(folder)), "order = 4, and the model in begin"),
        (NeuralSS(features="swish", begin=str(folder)), "give features = 'tanh'"),
        (NeuralSS(hidden_size=3, begin=str(folder)), "has 4 units; give so many or more"),
        (NeuralSS(begin=str(powers)), "its nonlinearity is of monomials"),
        (NeuralSS(begin=str(neural)), "NeuralSSModel is no model of blocks"),
    ):
        with pytest.raises(ConfigError, match="give") as caught:
            begin(spec)
        assert part in str(caught.value)
        print(caught.value)
    others = replace(SIGNALS, stats={**SIGNALS.stats, "u": NormStats([0.0, 0.0], [1.0, 1.0])})
    with pytest.raises(ConfigError, match="was trained on other data") as caught:
        NeuralSS(begin=str(folder)).identify(others, [], [], rngs=nnx.Rngs(0))
    print(caught.value)
    with pytest.raises(SavedModelError, match="holds no saved model"):
        begin(NeuralSS(begin=str(tmp_path / "nothing")))
