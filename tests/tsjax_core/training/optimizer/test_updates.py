"""Updates are skipped as a whole, clipped by their norm, or kept within limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    RNN,
    Learner,
    average_weights,
    clip_gradients,
    clip_weights,
    parameter_groups,
    skip_large,
    skip_nonfinite,
)
from tsjax_core.errors import ConfigError
from tsjax_core.training.optimizer.rate import RateControlled
from tsjax_core.training.optimizer.updates import skipped_steps

PARAMS = {
    "layers": [{"w": jnp.array([[1.0, -0.0, 0.5], [0.0, -2.0, 1e-40]])}, {"w": jnp.ones((2, 2))}],
    "bias": jnp.array([-0.0, 0.25]),
}


def gradients_of(seed: int, norm: float | None = None):
    """Return random gradients for `PARAMS`, of the global norm `norm`."""
    random = np.random.default_rng(seed)
    tree = jax.tree.map(lambda x: random.standard_normal(x.shape), PARAMS)
    size = np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(tree)))
    factor = 1.0 if norm is None else norm / size
    return jax.tree.map(lambda x: jnp.asarray(x * factor, jnp.float32), tree)


def bits(tree) -> list[bytes]:
    """Return what every array of a tree holds, in which -0.0 is not 0.0."""
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


class Run:
    """An optimizer under the control of the learner, at work on `PARAMS`."""

    def __init__(self, optimizer) -> None:
        self.controlled = RateControlled(optimizer)
        self.step = jax.jit(self.controlled.update)
        self.params, self.state = PARAMS, self.controlled.init(PARAMS)

    def update(self, gradients, lr=0.01, loss=1.0):
        """Make one update, and return whether it left everything but counters as it was."""
        before = bits((self.params, self.inner))
        self.params, self.state = self.step(
            gradients, self.state, self.params, jnp.float32(lr), jnp.float32(loss)
        )
        return before == bits((self.params, self.inner))

    @property
    def inner(self):
        """The state of what is within the outermost helper."""
        state = self.state if self.controlled.fixed else self.state.inner_state
        return getattr(state, "inner_state", state)

    @property
    def skipped(self) -> int:
        return int(skipped_steps(self.state))


def with_entry(value: float):
    """Return gradients with a single entry that is `value`."""
    gradients = gradients_of(9)
    gradients["layers"][0]["w"] = gradients["layers"][0]["w"].at[1, 2].set(value)
    return gradients


@pytest.mark.parametrize(
    "optimizer", [optax.adamw, optax.adamw(0.01), optax.chain(optax.clip(0.1), optax.sgd(0.1, 0.9))]
)
def test_updates_that_are_not_finite_are_skipped_as_a_whole(optimizer):
    """A loss or any gradient that is NaN or infinite changes no bit but those of the counter."""
    run = Run(skip_nonfinite(optimizer))
    assert not run.update(gradients_of(0))
    bad = [(gradients_of(1), loss) for loss in (np.nan, np.inf, -np.inf)]
    bad += [(with_entry(value), 1.0) for value in (np.nan, np.inf, -np.inf)]
    for count, (gradients, loss) in enumerate(bad, start=1):
        assert run.update(gradients, loss=loss)
        assert run.skipped == count
    assert not run.update(gradients_of(2))
    assert run.skipped == len(bad)


def test_without_the_skip_the_same_gradients_spoil_the_parameters():
    """The twin of the test above."""
    controlled = RateControlled(optax.adam)
    params, _ = controlled.update(
        with_entry(np.nan), controlled.init(PARAMS), PARAMS, jnp.float32(0.1), jnp.float32(1.0)
    )
    assert any(np.isnan(x).any() for x in jax.tree.leaves(params))


def test_the_default_optimizer_is_adam_that_skips():
    """Its updates are those of Adam with b2 = 0.99, and NaN is skipped."""
    default = Run(None)
    adam = Run(skip_nonfinite(lambda learning_rate: optax.adam(learning_rate, b2=0.99)))
    for seed in range(3):
        default.update(gradients_of(seed))
        adam.update(gradients_of(seed))
    assert bits(default.params) == bits(adam.params)
    assert default.update(gradients_of(3), loss=np.nan)
    assert default.skipped == 1


def test_large_gradients_are_skipped_and_others_are_as_without_the_filter():
    """Above the threshold nothing changes; up to it, every bit is that of the optimizer alone."""
    run, alone = (
        Run(skip_large(optax.adam, 10.0)),
        Run(optax.adam),
    )
    norms = [0.1, 9.99, 10.01, 3.0, 1e4, np.inf, 5.0]
    for seed, norm in enumerate(norms):
        gradients = gradients_of(seed, min(norm, 1e30))
        assert run.update(gradients) == (norm > 10.0)
        if norm <= 10.0:
            alone.update(gradients)
        assert bits(run.params) == bits(alone.params)
    assert run.skipped == sum(norm > 10.0 for norm in norms)
    assert run.update(with_entry(np.nan)), "a norm that is NaN is not within the limit"


def test_a_norm_that_equals_the_limit_is_not_skipped():
    """The limit itself is allowed."""
    run = Run(skip_large(optax.sgd, 5.0))
    gradients = jax.tree.map(jnp.zeros_like, PARAMS)
    gradients["bias"] = jnp.array([3.0, 4.0])
    assert not run.update(gradients)
    assert run.skipped == 0


@pytest.mark.parametrize("seed", range(5))
def test_clipping_keeps_the_direction_and_limits_the_norm(seed):
    """Above the limit the norm becomes it (rtol 1e-5); below it the gradient keeps its bits."""
    clip = clip_gradients(optax.identity(), 2.5)
    large = gradients_of(seed, 10.0 ** (1 + seed))
    clipped, _ = clip.update(large, clip.init(PARAMS), PARAMS)
    flat, before = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (clipped, large)
    )
    np.testing.assert_allclose(np.linalg.norm(flat.astype(np.float64)), 2.5, rtol=1e-5)
    np.testing.assert_allclose(
        flat / 2.5, before / np.linalg.norm(before.astype(np.float64)), rtol=1e-5
    )
    small = gradients_of(seed, 2.4)
    kept, _ = clip.update(small, clip.init(PARAMS), PARAMS)
    assert bits(kept) == bits(small)


def test_the_norm_is_measured_where_the_helper_stands():
    """A skip around a clipping sees the raw norm; within it, the clipped one, which passes."""
    outside = Run(skip_large(clip_gradients(optax.adam, 1.0), 10.0))
    assert outside.update(gradients_of(0, 20.0))
    assert outside.skipped == 1
    within = Run(clip_gradients(skip_large(optax.adam, 10.0), 1.0))
    assert not within.update(gradients_of(0, 20.0))
    assert within.skipped == 0


HELPERS = {
    "skip_nonfinite": skip_nonfinite,
    "skip_large": lambda optimizer: skip_large(optimizer, 10.0),
    "clip_gradients": lambda optimizer: clip_gradients(optimizer, 20.0),
    "average_weights": lambda optimizer: average_weights(optimizer, 0.9),
    "parameter_groups": lambda optimizer: parameter_groups(optimizer, {"bias": 0.5}),
}


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_helpers_nest_in_other_orders_and_share_one_count(order):
    """A NaN loss and a large norm are skipped once each, and the other updates are made."""
    names = list(HELPERS)[order:] + list(HELPERS)[:order]
    # An average within the groups is an error; see test_groups.py.
    names.sort(key=lambda name: name == "average_weights")
    optimizer = optax.sgd
    for name in names:
        optimizer = HELPERS[name](optimizer)
    controlled = RateControlled(optimizer)
    params, state = PARAMS, controlled.init(PARAMS)
    steps = [(5.0, 1.0, False), (5.0, np.nan, True), (15.0, 1.0, True), (5.0, 1.0, False)]
    for seed, (norm, loss, skip) in enumerate(steps):
        before, count = bits(params), int(skipped_steps(state))
        params, state = controlled.update(
            gradients_of(seed, norm), state, params, jnp.float32(0.1), jnp.float32(loss)
        )
        assert (bits(params) == before) == skip
        assert int(skipped_steps(state)) == count + skip


def test_transformations_of_optax_that_need_the_loss_get_it():
    """`reduce_on_plateau` halves the updates after a loss that does not fall."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    controlled = RateControlled(
        lambda learning_rate: optax.chain(optax.sgd(learning_rate), plateau)
    )
    state, gradients, way = controlled.init(PARAMS), gradients_of(0), []
    for loss in (2.0, 1.0, 1.0, 1.0):
        params, state = controlled.update(
            gradients, state, PARAMS, jnp.float32(1.0), jnp.float32(loss)
        )
        way.append(float(PARAMS["bias"][1] - params["bias"][1]) / float(gradients["bias"][1]))
    np.testing.assert_allclose(way, [1.0, 1.0, 0.5, 0.25], rtol=1e-5)


def test_an_optimizer_without_skips_has_skipped_nothing():
    """The count is a scalar int32 also there."""
    count = skipped_steps(optax.adam(1e-3).init(PARAMS))
    assert (count.shape, count.dtype, int(count)) == ((), jnp.int32, 0)


@pytest.mark.parametrize("limit", [0.3, 7.7])
def test_weights_stay_within_the_limit(limit):
    """Every parameter that matches, wherever it starts; the others move as without the limit."""
    random = np.random.default_rng(0)
    params = {
        name: jnp.asarray(random.uniform(-10.0, 10.0, 4000), jnp.float32) for name in ("w", "b")
    }
    controlled = RateControlled(clip_weights(optax.sgd, limit, "w"))
    free = RateControlled(optax.sgd)
    state, free_state = controlled.init(params), free.init(params)
    step, free_step = jax.jit(controlled.update), jax.jit(free.update)
    for _ in range(3):
        gradients = {
            name: jnp.asarray(random.standard_cauchy(4000), jnp.float32) for name in params
        }
        rate = jnp.float32(0.5), jnp.float32(1.0)
        expected, free_state = free_step(gradients, free_state, params, *rate)
        params, state = step(gradients, state, params, *rate)
        assert float(jnp.abs(params["w"]).max()) <= np.float32(limit)
        inside = np.abs(expected["w"]) <= limit
        np.testing.assert_array_equal(params["w"][inside], expected["w"][inside])
        # The update is a rounded difference of numbers up to those at the start.
        np.testing.assert_allclose(
            params["w"],
            np.clip(expected["w"], -limit, limit),
            rtol=0.0,
            atol=1.5 * np.spacing(np.float32(10.0)),
        )
        np.testing.assert_array_equal(params["b"], expected["b"])


def test_a_limit_changes_no_bit_of_what_is_within():
    """Also of -0.0, where an update is skipped within the limit."""
    optimizer = clip_weights(skip_nonfinite(optax.adam(0.1)), 100.0)
    controlled = RateControlled(optimizer)
    params, _ = controlled.update(
        with_entry(np.nan), controlled.init(PARAMS), PARAMS, jnp.float32(0.1), jnp.float32(1.0)
    )
    assert bits(params) == bits(PARAMS)


WRONG = {
    "norm 0": (lambda: skip_large(optax.adam, 0.0), "max_norm", "above 0"),
    "norm nan": (lambda: clip_gradients(optax.adam, np.nan), "max_norm", "above 0"),
    "norm True": (lambda: clip_gradients(optax.adam, True), "max_norm", "above 0"),
    "limit": (lambda: clip_weights(optax.adam, -1.0), "limit", "above 0"),
    "order": (lambda: skip_large(10.0, optax.adam), "max_norm", "adam"),
    "a number": (lambda: skip_nonfinite(1e-3), "optimizer", "0.001 cannot be used; it is of type"),
    "a name": (lambda: clip_gradients("adam", 1.0), "optimizer", "'adam' cannot be used"),
    "arguments": (lambda: skip_nonfinite(optax.chain), "optimizer", "learning_rate alone"),
    "pattern": (lambda: Run(clip_weights(optax.adam, 1.0, "w*")), "pattern", "layers.0.w"),
    "average": (
        lambda: Run(clip_weights(average_weights(optax.adam), 1.0)),
        "optimizer",
        "average_weights(clip_weights(...))",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_told(case):
    """With their key, what was got, and what to do."""
    make, key, text = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert caught.value.key == key
    assert text in str(caught.value)


def test_a_learner_skips_the_batches_that_are_not_finite(data):
    """The history counts them, parameters stay finite, and the other steps train."""

    def spoil(batch, *, progress):
        # Two steps of the first half, whatever the number of steps.
        bad = (progress > 0.1) & (progress < 0.1 + 2.0 / (2 * data.steps_per_epoch))
        return {**batch, "u": jnp.where(bad, jnp.nan, batch["u"])}

    learner = Learner(RNN(hidden_size=4), data, batch_transform=spoil)
    results = list(learner.fit_iter(2, lr=1e-2))
    assert [result.skipped for result in results] == [2, 0]
    assert np.isnan(results[0].step_losses).sum() == 2
    assert results[1].valid_loss < results[0].valid_loss
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(nnx.state(learner.model, nnx.Param)))
