"""What every wrapped loss keeps: its name, what it declares, its terms, and what is missing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsjax_core import (
    compose_losses,
    cut_loss,
    hardest,
    ignore_nan,
    mae,
    masked_loss,
    mse,
    normalized_huber,
    normalized_mse,
    random_length,
    rmse,
    skip_n,
    time_weighted,
    weighted_loss,
)
from tsjax_core.errors import SignatureError
from tsjax_core.losses.compose import named_terms
from tsjax_core.signatures import is_loss_term, name_of, wants_of
from tsjax_core.training.compatibility import check_metrics
from tsjax_core.training.evaluation import compute_scores

WRAPPERS = {
    "skip_n": lambda loss: skip_n(loss, 4),
    "cut_loss": lambda loss: cut_loss(loss, left=1, right=2),
    "masked_loss": lambda loss: masked_loss(loss, [False, True]),
    "weighted_loss": lambda loss: weighted_loss(loss, lambda batch: batch["u"][..., 0] ** 2),
    "time_weighted": time_weighted,
    "random_length": lambda loss: random_length(loss, shortest=10),
    "hardest": lambda loss: hardest(loss, 0.6),
    "ignore_nan": ignore_nan,
}
OWN = {"weighted_loss": {"batch"}, "random_length": {"key"}}
EACH = pytest.mark.parametrize("name", WRAPPERS)
KEY = jax.random.key(5)


def relative_angle(pred, target, y_mean, y_std):
    """A user's loss of both channels together, which knows nothing of NaN."""
    xp = np if isinstance(pred, np.ndarray) else jnp
    dot = xp.sum(pred * target, -1)
    size = xp.sqrt(xp.sum(pred**2, -1) * xp.sum(target**2, -1))
    return xp.mean(xp.arccos(0.999 * dot / size))


def physics(pred, target, y_mean, y_std, *, batch, aux):
    """Declares what only the engine has."""
    return jnp.mean((pred - batch["u"][..., :2][:, -pred.shape[1] :]) ** 2) * aux["gain"]


def given(loss, example):
    u = np.linspace(0.5, 1.5, example.pred.size, dtype=np.float32).reshape(example.pred.shape)
    offered = {"key": KEY, "batch": {"u": u, "y": example.target}, "aux": {"gain": 2.0}}
    return {name: offered[name] for name in wants_of(loss)}


def value(loss, example, pred=None):
    """Return the value on the device."""
    pred, target, *stats = example if pred is None else (pred, *example[1:])
    return loss(jnp.asarray(pred), jnp.asarray(target), *stats, **given(loss, example))


@EACH
def test_a_wrapped_loss_keeps_its_name_and_what_it_declares(name):
    """And declares what the wrapper needs besides; it is a loss term for whoever looks at it."""
    for loss, wants in ((mse, set()), (normalized_huber(0.5), set()), (physics, {"batch", "aux"})):
        wrapped = WRAPPERS[name](loss)
        assert name_of(wrapped) == name_of(loss)
        assert is_loss_term(wrapped)
        (term,) = named_terms(wrapped)
        assert term.wants == wants | OWN.get(name, set())
    assert name_of(normalized_huber()) == "normalized_huber"


@EACH
def test_a_composed_loss_is_wrapped_term_by_term(name):
    """Every term keeps its name and its weight."""
    wrapped = WRAPPERS[name](compose_losses(first=(mse, 2.0), second=(mae, 0.5)))
    assert [(term.name, term.weight) for term in wrapped.terms] == [("first", 2.0), ("second", 0.5)]
    assert all(term.wants == OWN.get(name, set()) for term in wrapped.terms)


def test_the_terms_of_a_wrapped_sum_are_the_wrapped_terms(whole):
    """The value is the weighted sum of theirs."""
    for wrapper in (WRAPPERS["skip_n"], time_weighted):
        wrapped = wrapper(compose_losses(first=(mse, 2.0), second=(mae, 0.5)))
        expected = 2.0 * wrapper(mse)(*whole) + 0.5 * wrapper(mae)(*whole)
        np.testing.assert_allclose(wrapped(*whole), expected, rtol=1e-12)


@EACH
def test_what_is_not_measured_does_not_reach_a_wrapped_loss(name, gappy):
    """Its gradient is 0 even where the prediction is NaN, for every pattern with one program.

    The value is finite, and that of the same arrays in host memory.
    """
    wrapped = WRAPPERS[name](ignore_nan(relative_angle))
    compiled = jax.jit(
        jax.value_and_grad(lambda p, t: value(wrapped, gappy._replace(pred=p, target=t)))
    )
    for period in (0, 2, 40):
        pred, target = gappy.pred.copy(), gappy.target.copy()
        if period:
            target[:, 1::period] = np.nan
        assert np.isnan(target[2, 7]).all()
        on_host = wrapped(pred, target, *gappy[2:], **given(wrapped, gappy))
        pred[2, 7] = np.nan
        found, gradient = map(np.asarray, compiled(pred, target))
        np.testing.assert_allclose(found, on_host, rtol=2e-5)
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient != 0.0)
        assert np.all(gradient[np.isnan(target)] == 0.0)
    assert compiled._cache_size() == 1


def test_wrappers_commute_where_neither_changes_what_the_other_sees(gappy):
    """Time, channels and missing samples are independent; weights multiply."""
    parts = [WRAPPERS[name] for name in ("skip_n", "cut_loss", "masked_loss", "ignore_nan")]
    for first in parts:
        for second in parts:
            for loss in (normalized_mse, relative_angle):
                if first is second or (loss is relative_angle and parts[3] not in (first, second)):
                    continue
                one, other = first(second(loss)), second(first(loss))
                np.testing.assert_allclose(one(*gappy), other(*gappy), rtol=1e-12)
    weighted = WRAPPERS["weighted_loss"]
    for wrapper in (time_weighted, WRAPPERS["masked_loss"], WRAPPERS["ignore_nan"]):
        one, other = weighted(wrapper(normalized_mse)), wrapper(weighted(normalized_mse))
        offered = given(one, gappy)
        np.testing.assert_allclose(one(*gappy, **offered), other(*gappy, **offered), rtol=1e-6)


def test_a_part_inside_of_weights_keeps_their_time(whole):
    """Weights run over the sequence that their wrapper sees, cut inside of it or not."""
    error = (whole.pred - whole.target)[:, 4:] ** 2
    weights = np.geomspace(1.0, 0.1, 30)[4:]
    expected = np.average(error.mean((0, 2)), weights=weights)
    np.testing.assert_allclose(time_weighted(skip_n(mse, 4))(*whole), expected, rtol=1e-6)
    weights = np.geomspace(1.0, 0.1, 26)
    expected = np.average(error.mean((0, 2)), weights=weights)
    np.testing.assert_allclose(skip_n(time_weighted(mse), 4)(*whole), expected, rtol=1e-6)


def test_a_loss_of_batch_sees_the_samples_of_the_prediction(whole):
    """Cut or weighted, prediction and batch are compared at the same samples."""
    u = given(physics, whole)["batch"]["u"]
    expected = 2.0 * np.mean((whole.pred - u)[:, 3:-2] ** 2)
    np.testing.assert_allclose(value(cut_loss(physics, 3, 2), whole), expected, rtol=1e-6)
    error = ((whole.pred - u) ** 2).mean(-1)[:, 3:-2]
    weights = (u[..., 0] ** 2)[:, 3:-2]
    weigh = WRAPPERS["weighted_loss"]
    for nested in (cut_loss(weigh(physics), 3, 2), weigh(cut_loss(physics, 3, 2))):
        expected = 2.0 * np.average(error, weights=weights)
        np.testing.assert_allclose(value(nested, whole), expected, rtol=1e-5)


def test_metrics_of_a_part_leave_it_out_of_every_sequence():
    """The first samples of each file do not count, and channels keep their figures."""
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.standard_normal((2, 1, n, 2))) for n in (20, 9)]
    stats = (np.zeros(2), np.ones(2))
    metrics = [skip_n(rmse, 5), masked_loss(mse, [True, False])]
    scores = compute_scores(metrics, pairs, stats, ["a", "b"])
    errors = np.concatenate([(p - t)[0, 5:] for p, t in pairs])
    np.testing.assert_allclose(scores.metrics["rmse"], np.sqrt(np.mean(errors**2)))
    np.testing.assert_allclose(scores.channels["rmse"]["b"], np.sqrt(np.mean(errors[:, 1] ** 2)))
    every = np.concatenate([(p - t)[0] for p, t in pairs])
    np.testing.assert_allclose(scores.metrics["mse"], np.mean(every[:, 0] ** 2))
    assert set(scores.channels) == {"rmse"}


def test_wrapped_metrics_have_names_of_their_own():
    """They do not overwrite each other, and need no statistics where their metric does not."""
    metrics = [skip_n(rmse, 1), skip_n(mse, 1), ignore_nan(mae)]
    check_metrics(metrics)
    assert [name_of(metric) for metric in metrics] == ["rmse", "mse", "mae"]
    assert float(metrics[0](np.ones((1, 5, 1)), np.zeros((1, 5, 1)))) == 1.0


@EACH
def test_what_is_no_loss_is_refused(name):
    """A number, and a function that declares what tsjax does not give."""

    def unknown(pred, target, y_mean, y_std, *, derivative):
        return 0.0

    for wrong, part in ((3.0, "is none"), (unknown, "'derivative'")):
        with pytest.raises(SignatureError, match=part):
            WRAPPERS[name](wrong)


def test_the_order_of_the_terms_does_not_matter(whole):
    """A sum in another order is the same to rounding."""
    terms = [(mse, 0.3), (mae, 2.0), (rmse, 1.0)]
    one, other = compose_losses(*terms), compose_losses(*terms[::-1])
    np.testing.assert_allclose(one(*whole), other(*whole), rtol=1e-12)
