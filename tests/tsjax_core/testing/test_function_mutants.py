"""Each clause on losses, metrics and transforms finds what breaks it, and no other clause does."""

from __future__ import annotations

import functools
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsjax_core import mse, normalized_mse
from tsjax_core.testing import (
    LossConformance,
    MetricConformance,
    TransformConformance,
    clauses_of,
    failures,
)

numbers = count()


@jax.custom_jvp
def zero_with_odd_derivative(x):
    return 0.0 * x


@zero_with_odd_derivative.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return 0.0 * x, jnp.where(x == 0.0, 0.0, jnp.nan) * dx


def asks_for_more(pred, target, y_mean, y_std, *, gamma=1.0):
    return mse(pred, target)


def of_each_channel_on_device(pred, target, y_mean, y_std):
    return jnp.mean(jnp.square(pred - target), (0, 1))


def infinite_if_wrong(pred, target, y_mean, y_std):
    return mse(pred, target) + jnp.where(jnp.any(pred != target), jnp.inf, 0.0)


def odd_derivative_if_constant(pred, target, y_mean, y_std):
    return mse(pred, target) + 0.0 * jnp.mean(jnp.std(pred, 1))


def odd_derivative_if_wrong(pred, target, y_mean, y_std):
    return mse(pred, target) + jnp.mean(zero_with_odd_derivative(pred - target))


def root_mean_square(pred, target, y_mean, y_std):
    return jnp.sqrt(mse(pred, target))


def branches_on_a_value(pred, target, y_mean, y_std):
    return mse(pred, target) * (1.0 if pred.mean() < 1e6 else 2.0)


def first_row_counts_double(pred, target, y_mean, y_std):
    return mse(pred, target) + mse(pred[:1], target[:1])


def best_elsewhere(pred, target, y_mean, y_std):
    return mse(pred, target + 0.01 * y_std)


def lower_nearby(pred, target, y_mean, y_std):
    shrunk = 0.01 * jnp.mean(jnp.square(pred)) - 0.01 * jnp.mean(jnp.square(target))
    return mse(pred, target) + shrunk


def below_the_minimum(pred, target, y_mean, y_std):
    return -mse(pred, target)


def absolute_residuals(pred, target, y_mean, y_std):
    return mse(pred, target)


absolute_residuals.residuals = lambda pred, target, y_mean, y_std: jnp.sqrt(jnp.abs(pred - target))

LOSSES = [
    ("test_residuals_are_those_of_the_loss", absolute_residuals),
    ("test_arguments_are_known", asks_for_more),
    ("test_value_is_a_scalar", of_each_channel_on_device),
    ("test_value_is_finite", infinite_if_wrong),
    ("test_gradient_is_finite", odd_derivative_if_wrong),
    ("test_gradient_is_finite", odd_derivative_if_constant),
    ("test_gradient_is_finite_at_a_perfect_prediction", root_mean_square),
    ("test_compiled_equals_eager", branches_on_a_value),
    ("test_order_of_the_batch_does_not_matter", first_row_counts_double),
    ("test_minimum_is_at_a_perfect_prediction", best_elsewhere),
    ("test_minimum_is_at_a_perfect_prediction", lower_nearby),
    ("test_minimum_is_at_a_perfect_prediction", below_the_minimum),
]


@pytest.mark.parametrize("clause, loss", LOSSES)
def test_exactly_one_clause_finds_the_loss(clause, loss):
    """What is broken is told by the clause on it and by no other."""
    failed = failures(type("Conformance", (LossConformance,), {"loss": loss}))
    print(loss.__name__, *failed.items(), sep="\n  ")
    assert set(failed) == {clause}


def smoothness(pred, target, y_mean, y_std):
    return jnp.mean(jnp.square(jnp.diff(pred / y_std, axis=1)))


def noisy(pred, target, y_mean, y_std, *, key):
    return mse(pred * jax.random.bernoulli(key, 0.9, pred.shape), target)


def penalty(pred, target, y_mean, y_std, *, batch, model, aux, key):
    return model * jnp.mean(aux["hidden"] ** 2) + jnp.mean(batch["u"] ** 2) + 0.0 * mse(pred, pred)


def test_loss_that_is_no_number_where_it_is_perfect_is_found():
    """Also where no minimum is declared."""

    def loss(pred, target, y_mean, y_std):
        return mse(pred, target) + jnp.where(jnp.all(pred == target), jnp.nan, 0.0)

    facts = {"loss": loss, "minimum": None}
    found = failures(type("Conformance", (LossConformance,), facts))
    assert set(found) == {"test_value_is_finite"}
    assert "for a perfect prediction, the value is nan" in found["test_value_is_finite"]


@pytest.mark.parametrize(
    "facts",
    [
        {"loss": normalized_mse},
        {"loss": staticmethod(normalized_mse)},
        {"loss": jax.jit(normalized_mse), "n_outputs": 1},
        {"loss": functools.partial(normalized_mse)},
        {"loss": smoothness, "minimum": None},
        {"loss": noisy, "minimum": None},
        {"loss": penalty, "minimum": None, "model": 2.0, "aux": {"hidden": jnp.ones((3, 5))}},
    ],
)
def test_sound_losses_keep_every_clause(facts):
    """However it is given; a term that does not aim at the target; one that declares arguments."""
    assert failures(type("Conformance", (LossConformance,), facts)) == {}


def asks_for_the_batch(pred, target, y_mean, y_std, *, batch=None):
    return mse(pred, target)


def of_each_channel(pred, target, y_mean, y_std):
    return np.mean(np.square(pred - target), (0, 1))


def not_a_number_if_wrong(pred, target, y_mean, y_std):
    return 0.0 if np.array_equal(pred, target) else np.nan


def works_in_place(pred, target, y_mean, y_std):
    value = np.mean(np.square(pred - target))
    pred -= target
    return value


def mean_over_the_batch_of_roots(pred, target, y_mean, y_std):
    return np.mean(np.sqrt(np.mean(np.square(pred - target), (1, 2))))


def over_several_channels(pred, target, y_mean, y_std):
    return mse(pred, target) / (pred.shape[-1] > 1 or np.nan)


over_several_channels.channelwise = True

METRICS = [
    ("test_arguments_are_known", asks_for_the_batch),
    ("test_value_is_a_scalar", of_each_channel),
    ("test_value_is_finite", not_a_number_if_wrong),
    ("test_inputs_are_not_changed", works_in_place),
    (
        "test_samples_count_alike_however_they_are_batched",
        mean_over_the_batch_of_roots,
    ),
    ("test_perfect_prediction_is_best", best_elsewhere),
    ("test_one_channel_has_a_value_of_its_own", over_several_channels),
]


@pytest.mark.parametrize("clause, metric", METRICS)
def test_exactly_one_clause_finds_the_metric(clause, metric):
    """What is broken is told by the clause on it and by no other."""
    failed = failures(type("Conformance", (MetricConformance,), {"metric": metric, "best": 0.0}))
    print(metric.__name__, *failed.items(), sep="\n  ")
    assert set(failed) == {clause}


def noise(batch, *, key):
    u = batch["u"]
    return {**batch, "u": u + 0.1 * jax.random.normal(key, u.shape, u.dtype)}


def asks_for_the_weather(batch, *, weather=None):
    return batch


def draws_from_elsewhere(batch):
    return {**batch, "u": batch["u"] + next(numbers)}


def closes_over_a_key(batch, *, key):
    return noise(batch, key=jax.random.key(0))


def changes_its_input(batch):
    batch["u"] = batch["u"] + 1.0
    return batch


def loses_the_scalars(batch):
    return {key: value for key, value in batch.items() if key != "u_scalar"}


def lowers_the_precision(batch):
    return {**batch, "u": batch["u"].astype(jnp.float16)}


def cuts_in_secret(batch):
    return {**batch, "u": batch["u"][:, :-1]}


def changes_the_target(batch):
    return {**batch, "y": batch["y"] + 1.0}


def reads_a_value(batch):
    return {**batch, "u": batch["u"] * (1.0 if batch["u"].mean() < 1e6 else 2.0)}


def other_when_compiled(batch):
    return {**batch, "u": batch["u"] + isinstance(batch["u"], jax.core.Tracer)}


def cuts(batch):
    return {k: v[:, :8] if v.ndim == 3 else v for k, v in batch.items()}


cuts.changes_shape = True


def cuts_and_changes_the_target(batch):
    return {**cuts(batch), "y": batch["y"][:, :8] + 1.0}


cuts_and_changes_the_target.changes_shape = True


def cuts_the_inputs_alone(batch):
    return {**batch, "u": batch["u"][:, :8]}


cuts_the_inputs_alone.changes_shape = True


def works_on_the_host_in_place(batch):
    u = batch["u"]
    if isinstance(u, np.ndarray):
        u *= 2.0
    return cuts(batch)


works_on_the_host_in_place.changes_shape = True

TRANSFORMS = [
    ("test_arguments_are_known", asks_for_the_weather),
    ("test_equal_keys_give_equal_results", draws_from_elsewhere),
    ("test_other_keys_give_other_results", closes_over_a_key),
    ("test_input_is_not_changed", changes_its_input),
    ("test_keys_are_kept", loses_the_scalars),
    ("test_dtypes_are_kept", lowers_the_precision),
    ("test_shapes_are_kept", cuts_in_secret),
    ("test_shapes_are_kept", cuts_the_inputs_alone),
    ("test_input_is_not_changed", works_on_the_host_in_place),
    ("test_targets_are_not_changed", changes_the_target),
    ("test_targets_are_not_changed", cuts_and_changes_the_target),
    ("test_compiled_equals_eager", reads_a_value),
    ("test_compiled_equals_eager", other_when_compiled),
]


@pytest.mark.parametrize("clause, transform", TRANSFORMS)
def test_exactly_one_clause_finds_the_transform(clause, transform):
    """What is broken is told by the clause on it and by no other."""
    failed = failures(type("Conformance", (TransformConformance,), {"transform": transform}))
    print(transform.__name__, *failed.items(), sep="\n  ")
    assert set(failed) == {clause}


def scale_all(batch, *, progress, epoch):
    factor = 1.0 + 0.1 * progress + 0.0 * epoch
    return {key: value * factor for key, value in batch.items()}


@pytest.mark.parametrize(
    "facts",
    [{"transform": noise}, {"transform": cuts}, {"transform": scale_all, "changes_targets": True}],
)
def test_sound_transforms_keep_every_clause(facts):
    """Random, shortening, and with all arguments that tsjax gives."""
    assert failures(type("Conformance", (TransformConformance,), facts)) == {}


@pytest.mark.parametrize(
    "contract, table",
    [(LossConformance, LOSSES), (MetricConformance, METRICS), (TransformConformance, TRANSFORMS)],
)
def test_every_clause_has_a_mutant(contract, table):
    """No clause stands that nothing has been seen to break."""
    assert {clause for clause, _ in table} == set(clauses_of(contract))
