"""Groups of parameters have the rates and optimizers that their patterns give them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    Learner,
    clip_gradients,
    load_model,
    parameter_groups,
    skip_nonfinite,
)
from tsjax_core.errors import ConfigError
from tsjax_core.training.optimizer.parameter_names import parameter_names
from tsjax_core.training.optimizer.rate import RateControlled
from tsjax_core.training.optimizer.updates import skipped_steps

RATE = 0.05


@pytest.fixture(scope="module")
def params(data):
    """The parameters of a GRU with two layers, as the learner gives them to the optimizer."""
    model = GRU(hidden_size=3, num_layers=2).build(data.signals, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    # So that no parameter is 0, and one is -0.0.
    state = jax.tree.map(lambda x: x + 0.25, state)
    state["head"]["out"]["bias"].set_value(jnp.array([-0.0]))
    return state


def gradients_of(params, seed: int):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(random.standard_normal(x.shape), x.dtype), params)


def trained(optimizer, params, n: int = 3, seed: int = 0):
    """Return arrays by name after `n` updates, and the optimizer's state."""
    controlled = RateControlled(optimizer)
    state = controlled.init(params)
    step = jax.jit(controlled.update)
    for i in range(n):
        params, state = step(
            gradients_of(params, seed + i), state, params, jnp.float32(RATE), jnp.float32(1.0)
        )
    return by_name(params), state


def by_name(params) -> dict[str, np.ndarray]:
    arrays = [np.asarray(x) for x in jax.tree.leaves(params)]
    return dict(zip(parameter_names(params), arrays, strict=True))


def test_names_are_those_of_the_saved_model(data, params, tmp_path):
    """Dotted paths within the model, also where the tree holds flax variables."""
    names = parameter_names(params)
    assert names == parameter_names(nnx.to_pure_dict(params))
    assert {"head.out.bias", "stack.layers.0.w_in", "stack.layers.1.w_rec"} <= set(names)
    learner = Learner(GRU(hidden_size=3, num_layers=2), data)
    loaded = load_model(learner.save(tmp_path / "m"))
    assert parameter_names(nnx.state(loaded, nnx.Param)) == names


def test_factors_multiply_the_rate(params):
    """With SGD and momentum, the way that a parameter goes is in proportion to its factor."""
    start = by_name(params)
    sgd = lambda learning_rate: optax.sgd(learning_rate, momentum=0.5)  # noqa: E731
    whole, _ = trained(sgd, params)
    factors = {"head.*": 0.25, "stack.layers.0.w_*": 3.0, "stack.layers.0.*": 0.5}
    ended, _ = trained(parameter_groups(sgd, factors), params)
    for name, before in start.items():
        factor = 1.0
        if name.startswith("head."):
            factor = 0.25
        elif name.startswith("stack.layers.0.w_"):
            factor = 3.0
        elif name.startswith("stack.layers.0."):
            factor = 0.5
        expected = before + factor * (whole[name] - before)
        np.testing.assert_allclose(ended[name], expected, rtol=1e-5, atol=1e-6)
        if factor == 1.0:
            np.testing.assert_array_equal(ended[name], whole[name])


@pytest.mark.parametrize("optimizer", [optax.adamw, optax.adamw(RATE, weight_decay=0.1)])
def test_factor_0_keeps_every_bit_under_weight_decay(params, optimizer):
    """Of -0.0 too; the twin is that the same parameters move without the group."""
    start = by_name(params)
    frozen, _ = trained(parameter_groups(optimizer, {"head.*": 0, "*.w_in": 0.0}), params)
    moved, _ = trained(optimizer, params)
    for name, before in start.items():
        kept = name.startswith("head.") or name.endswith(".w_in")
        assert (frozen[name].tobytes() == before.tobytes()) == kept
        assert moved[name].tobytes() != before.tobytes()


def test_a_clipping_within_sees_the_trained_gradients_together(params):
    """Frozen parameters do not count in its norm, parameters with other factors do."""
    clipped = clip_gradients(optax.sgd, 1.0)
    ended, _ = trained(parameter_groups(clipped, {"head.*": 0.0, "*.w_rec": 0.5}), params, n=1)
    gradients = by_name(gradients_of(params, 0))
    counted = [g for name, g in gradients.items() if not name.startswith("head.")]
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in counted))
    for name, before in by_name(params).items():
        factor = 0.0 if name.startswith("head.") else 0.5 if name.endswith(".w_rec") else 1.0
        expected = before - factor * RATE * gradients[name] / norm
        np.testing.assert_allclose(ended[name], expected, rtol=1e-5, atol=1e-7)


def test_a_group_may_have_an_optimizer_of_its_own(params):
    """At the rate of the fit, or at its own; the rest is trained as without the group."""
    groups = {"head.*": optax.sgd, "stack.layers.0.*": optax.sgd(1e-3)}
    ended, _ = trained(parameter_groups(optax.adam, groups), params, n=1)
    rest, _ = trained(optax.adam, params, n=1)
    gradients = by_name(gradients_of(params, 0))
    for name, before in by_name(params).items():
        if name.startswith("stack.layers.1."):
            np.testing.assert_array_equal(ended[name], rest[name])
        else:
            rate = RATE if name.startswith("head.") else 1e-3
            np.testing.assert_allclose(
                ended[name], before - rate * gradients[name], rtol=1e-5, atol=1e-7
            )


def test_groups_within_groups_and_skips_within_them(params):
    """A group's optimizer may be grouped again, by the names of its own parameters."""
    inner = parameter_groups(skip_nonfinite(optax.sgd), {"*.bias": 0.0})
    optimizer = parameter_groups(skip_nonfinite(optax.adam), {"head.*": inner})
    ended, state = trained(optimizer, params, n=1)
    gradients = by_name(gradients_of(params, 0))
    start = by_name(params)
    assert ended["head.out.bias"].tobytes() == start["head.out.bias"].tobytes()
    np.testing.assert_allclose(
        ended["head.out.kernel"],
        start["head.out.kernel"] - RATE * gradients["head.out.kernel"],
        rtol=1e-6,
    )
    assert int(skipped_steps(state)) == 0


def test_a_learner_trains_the_groups(data):
    """Frozen layers keep their bits over whole epochs, the others do not."""
    learner = Learner(
        GRU(hidden_size=3, num_layers=2),
        data,
        optimizer=skip_nonfinite(parameter_groups(optax.adamw, {"stack.layers.0.*": 0.0})),
    )
    before = by_name(nnx.state(learner.model, nnx.Param))
    learner.fit(1, lr=1e-2, show_progress=False)
    for name, after in by_name(nnx.state(learner.model, nnx.Param)).items():
        same = after.tobytes() == before[name].tobytes()
        assert same == name.startswith("stack.layers.0.")


WRONG = {
    "negative": ({"head.*": -0.1}, optax.adam, "is -0.1; give 0 to freeze"),
    "nan": ({"head.*": np.nan}, optax.adam, "is nan; give 0 to freeze"),
    "neither": ({"head.*": "0.1"}, optax.adam, "has '0.1'; give a factor"),
    "no match": ({"haed.*": 0.1}, optax.adam, "'haed.*' matches no parameter. The parameters are:"),
    "never used": ({"head.*": 0.1, "head.out.*": 0.0}, optax.adam, "patterns before it match all"),
    "two rates": ({"head.*": optax.sgd}, optax.adam(1e-3), "a function of the learning rate, and"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_groups_are_told(params, case):
    """With what was got, and what to do; a pattern without a match lists the names."""
    groups, optimizer, text = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        RateControlled(parameter_groups(optimizer, groups)).init(params)
    print(caught.value)
    assert caught.value.key == "groups"
    assert text in str(caught.value)
    if case == "no match":
        assert all(name in str(caught.value) for name in parameter_names(params))
