"""The average of the weights is the one of its formula, and training does not see it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    RNNLearner,
    average_weights,
    create_grain_dls,
    parameter_groups,
    skip_nonfinite,
)
from tsjax_core.errors import ConfigError
from tsjax_core.training.optimizer.averaging import averaged_params
from tsjax_core.training.optimizer.rate import RateControlled

PARAMS = {"w": jnp.array([1.0, -2.0]), "layers": [{"b": jnp.array([[0.5]])}]}


def trajectory(optimizer, n: int, losses=None):
    """Return the flat parameters after each of `n` updates, and the state after the last."""
    controlled = RateControlled(optimizer)
    params, state = PARAMS, controlled.init(PARAMS)
    step = jax.jit(controlled.update)
    flat = []
    for i in range(n):
        gradients = jax.tree.map(lambda x, i=i: jnp.cos(3.0 * x + i), params)
        loss = 1.0 if losses is None else losses[i]
        params, state = step(gradients, state, params, jnp.float32(0.1), jnp.float32(loss))
        flat.append(flat_of(params))
    return np.array(flat), state


def flat_of(tree) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).astype(np.float64)


@pytest.mark.parametrize("decay", [1e-6, 0.5, 0.999, 0.999999])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_the_average_is_that_of_the_formula(decay, n):
    """The weights after update k of n count in proportion to decay ** (n - k), in all to 1."""
    weights, state = trajectory(average_weights(optax.sgd, decay), n)
    shares = decay ** np.arange(n - 1, -1, -1, dtype=np.float64)
    expected = shares @ weights / shares.sum()
    np.testing.assert_allclose(flat_of(averaged_params(state)), expected, rtol=2e-6)


def test_training_goes_on_with_the_raw_weights():
    """The parameters are to the bit those of the optimizer alone."""
    with_average, state = trajectory(average_weights(optax.adam, 0.9), 10)
    alone, plain = trajectory(optax.adam, 10)
    np.testing.assert_array_equal(with_average, alone)
    assert np.any(flat_of(averaged_params(state)) != alone[-1])
    assert averaged_params(plain) is None


def test_before_the_first_update_the_average_is_the_parameters():
    """So that it can be evaluated at any time."""
    state = average_weights(optax.adam(0.1)).init(PARAMS)
    assert jax.tree.structure(averaged_params(state)) == jax.tree.structure(PARAMS)
    np.testing.assert_array_equal(flat_of(averaged_params(state)), flat_of(PARAMS))


def test_the_average_is_found_at_any_depth_and_in_compiled_code():
    """Whatever stands around it."""
    optimizer = optax.chain(optax.clip(1.0), skip_nonfinite(average_weights(optax.adam(0.1))))
    state = optimizer.init(PARAMS)
    np.testing.assert_array_equal(flat_of(jax.jit(averaged_params)(state)), flat_of(PARAMS))
    assert jax.jit(averaged_params)(optax.adam(0.1).init(PARAMS)) is None


def test_a_skip_around_the_average_leaves_it_alone():
    """Skipped updates count neither in the average nor in its correction."""
    losses = [1.0, np.nan, 1.0, np.inf, 1.0]
    weights, state = trajectory(skip_nonfinite(average_weights(optax.sgd, 0.5)), 5, losses)
    expected = np.array([1.0, 2.0, 4.0]) @ weights[[0, 2, 4]] / 7.0
    np.testing.assert_allclose(flat_of(averaged_params(state)), expected, rtol=2e-6)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, np.nan, "0.9", True])
def test_a_decay_outside_of_0_to_1_is_told(decay):
    """0 would be the weights themselves, and 1 no average at all."""
    with pytest.raises(ConfigError, match="between 0 and 1") as caught:
        average_weights(optax.adam, decay)
    print(caught.value)
    assert caught.value.key == "decay"


def test_an_average_within_groups_is_told():
    """There it would miss the factors."""
    optimizer = parameter_groups(average_weights(optax.adam(0.1)), {"w": 0.5})
    with pytest.raises(ConfigError, match=r"outside: average_weights\(parameter_groups") as caught:
        optimizer.init(PARAMS)
    print(caught.value)


def test_a_learner_ends_with_the_average(oscillator):
    """The model has the average of the weights, which the same fit without it passes through."""
    # One step in each epoch, so that the learner yields after every update.
    data = create_grain_dls(["u"], ["y"], oscillator, win_sz=40, stp_sz=20, bs=30)
    assert data.steps_per_epoch == 1
    averaged = RNNLearner(data, hidden_size=3, optimizer=average_weights(optax.adam, 0.9))
    raw = RNNLearner(data, hidden_size=3, optimizer=optax.adam)
    weights = [flat_of(nnx.state(raw.model, nnx.Param)) for _ in raw.fit_iter(4, lr=1e-2)]
    results = averaged.fit(4, lr=1e-2, show_progress=False)
    shares = 0.9 ** np.arange(len(weights) - 1, -1, -1)
    expected = shares @ np.array(weights) / shares.sum()
    model = flat_of(nnx.state(averaged.model, nnx.Param))
    np.testing.assert_allclose(model, expected, rtol=1e-4, atol=1e-6)
    assert averaged.evaluate("valid").loss == results[-1].valid_loss
