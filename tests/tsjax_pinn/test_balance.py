"""Weights balanced by gradients, against gradients that are computed one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tsjax_core import (
    GRU,
    FrozenMapping,
    compose_losses,
    create_grain_dls,
    get_loss,
    make_learner,
    normalized_mae,
    normalized_mse,
)
from tsjax_core.errors import ConfigError
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_pinn import PIRNN, Auxiliary, balance_gradients, physics_loss

SIGNALS = sample_signals(1, 1)
BATCH = sample_batch(SIGNALS, time=14)
SKIPPED = 4


def slow(u, y, derivatives, parameters):
    """A made-up equation with a residual that is far from 1."""
    return 100.0 * (derivatives.first(y["y_0"]) + y["y_0"] - u["u_0"])


def rate(u, y, derivatives, parameters):
    """An equation of an auxiliary output."""
    return 30.0 * (derivatives.first(y["y_0"]) - y["rate"])


def gradient(model, loss):
    """Return the gradient of a loss for the parameters of a model, as training computes it."""
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    stats = SIGNALS.stats["y"]
    more = {"batch": BATCH, "signals": SIGNALS, "key": jax.random.key(3), "progress": 0.5}

    def value(params):
        model = nnx.merge(graphdef, params, *rest, copy=True)
        aux = {}
        if isinstance(model.spec, PIRNN):
            options = {name: more[name] for name in ("key", "progress")}
            pred, aux = model.call_with_aux(BATCH["u"], BATCH["y"], **options)
        else:
            pred = model(BATCH["u"])
        given = {**more, "model": model, "aux": aux}
        wants = getattr(loss, "wants", ())
        pred, target = pred[:, SKIPPED:], BATCH["y"][:, SKIPPED:]
        return loss(pred, target, stats.mean, stats.std, **{name: given[name] for name in wants})

    return jax.jit(jax.grad(value))(params)


@pytest.mark.parametrize("kind", ["gru", pytest.param("pirnn", marks=pytest.mark.slow)])
def test_both_gradients_are_equally_large(kind):
    """And the balanced one has the direction of the loss alone, with auxiliary outputs too."""
    more = FrozenMapping({"rate": Auxiliary(0.0, 2.0)})
    spec = GRU(hidden_size=3)
    law = physics_loss(slow, auxiliary=False)
    if kind == "pirnn":
        spec = PIRNN(3, init_window=SKIPPED, encoder_size=3, auxiliary=more)
        law = physics_loss(rate)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    alone, reference = gradient(model, law), gradient(model, normalized_mse)
    balanced = gradient(model, balance_gradients(law))
    sizes = [float(optax.tree.norm(each)) for each in (alone, reference, balanced)]
    print(kind, sizes)
    assert sizes[0] > 20 * sizes[1]
    assert sizes[2] == pytest.approx(sizes[1], rel=1e-3)
    scaled = jax.tree.map(lambda x: x * sizes[1] / sizes[0], alone)
    for a, b in zip(jax.tree.leaves(balanced), jax.tree.leaves(scaled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * sizes[1])
    if kind == "gru":
        limited = gradient(model, balance_gradients(law, most=1e-5))
        assert float(optax.tree.norm(limited)) == pytest.approx(1e-5 * sizes[0], rel=1e-3)


def test_a_loss_without_gradient_stays_finite():
    """Such as one of predictions that do not matter."""
    model = GRU(hidden_size=2).build(SIGNALS, rngs=nnx.Rngs(0))

    def nothing(pred, target, y_mean, y_std):
        return 0.0 * jnp.sum(pred)

    balanced = gradient(model, balance_gradients(nothing))
    assert float(optax.tree.norm(balanced)) == 0.0


@pytest.mark.parametrize("most", [0.0, float("inf")])
def test_a_limit_that_is_no_number_is_refused(most):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        balance_gradients(normalized_mae, most=most)
    print(caught.value)
    assert f"balance_gradients of 'normalized_mae' got most = {most}" in str(caught.value)


@pytest.mark.slow
def test_it_stands_in_experiments_and_trains(oscillator, tmp_path, tsjax):
    """By the table of the loss within it, under whose name it is in the history."""
    file = tmp_path / "e.toml"
    file.write_text(
        f"""
[data]
dataset = "{oscillator}"
u = ["force"]
y = ["position"]
win_sz = 23
stp_sz = 11
bs = 3
[model]
name = "core/gru"
hidden_size = 3
[[loss]]
name = "core/normalized_mse"
[[loss]]
name = "pinn/balance_gradients"
weight = 0.1
[loss.loss]
name = "pinn/physics_loss"
residual = "{tmp_path}/law.py:law"
auxiliary = false
[train]
epochs = 1
""",
        encoding="utf-8",
    )
    (tmp_path / "law.py").write_text(
        "def law(u, y, d, p):\n    return d.first(y['position']) - u['force']\n", encoding="utf-8"
    )
    status, _, err = tsjax("train", file, "--out", tmp_path / "run")
    assert status == 0, err
    assert "term_physics_loss" in (tmp_path / "run" / "history.csv").read_text(encoding="utf-8")
    assert get_loss("pinn/balance_gradients") is balance_gradients


@pytest.mark.slow
def test_a_balanced_term_is_trained_beside_the_data(oscillator):
    """The history has it under its own name, and the fit is reproducible."""
    losses = []
    for _ in range(2):
        data = create_grain_dls(["force"], ["position"], oscillator, win_sz=20, stp_sz=20, bs=4)
        law = physics_loss(lambda u, y, d, p: d.first(y["position"]) - u["force"], auxiliary=False)
        loss = compose_losses((normalized_mse, 1.0), (balance_gradients(law), 0.1))
        learner = make_learner(data, "core/gru", hidden_size=3, loss=loss)
        losses.append(learner.fit(2, show_progress=False)[-1].terms)
    assert losses[0] == losses[1]
    assert set(losses[0]) == {"normalized_mse", "physics_loss"}
