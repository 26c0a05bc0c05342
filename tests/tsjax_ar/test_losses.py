"""The losses of FranSys against their formulas in NumPy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_ar import (
    AR,
    FranSys,
    consistency,
    diagnosis_loss,
    fransys_losses,
    one_step_loss,
    one_step_sync,
    state_sync,
    temporal_activation,
    transition_smoothness,
)
from tsjax_core import LSTM, RNN, NormStats, normalized_mae, normalized_mse
from tsjax_core.errors import ConfigError
from tsjax_core.losses.compose import named_terms

N = 6
SPEC = FranSys(
    diagnosis=RNN(hidden_size=3, kernel="plain"),
    prognosis=LSTM(hidden_size=2, num_layers=2, kernel="plain"),
    init_window=N,
    encoder_size=3,
)


@pytest.fixture(scope="module")
def model(signals):
    return SPEC.build(signals, rngs=nnx.Rngs(0))


@nnx.jit
def values_of(model, u, y):
    return model.call_with_aux(u, y, progress=0.5)


@pytest.fixture(scope="module")
def aux(model, batch):
    return values_of(model, batch["u"], batch["y"])[1]


@pytest.fixture(scope="module")
def value(signals, batch):
    """Return a function that computes a loss of intermediate values."""
    stats = signals.stats["y"]

    @partial(jax.jit, static_argnums=0)
    def compute(loss, aux, given):
        y = given["y"]
        return loss(y, y, stats.mean, stats.std, aux=aux, batch=given)

    def value(loss, aux, given=batch):
        return float(compute(loss, aux, given))

    return value


def formula(sync, d, p):
    """Return the distance of states (batch, time, layer, unit) as it is defined."""
    if sync in ("cos", "cos_pow"):
        cosine = (d * p).sum(-1) / np.linalg.norm(d, axis=-1) / np.linalg.norm(p, axis=-1)
        return np.mean(1 - cosine if sync == "cos" else (1 - cosine) ** 2)
    norm = np.linalg.norm(d) if sync in ("mse", "mae") else np.sqrt((d**2).sum((0, 2)))[:, None]
    error = (p - d) / norm
    return np.mean(error**2 if sync in ("mse", "mspe") else np.abs(error))


@pytest.mark.parametrize("sync", ["mse", "mae", "mspe", "mape", "cos", "cos_pow"])
def test_state_sync_is_its_formula(aux, value, sync):
    """On all layers, h and c, of the samples after the window."""
    d, p = (np.asarray(aux[name], float)[:, N:] for name in ("diagnosis", "prognosis"))
    assert value(state_sync(sync), aux) == pytest.approx(formula(sync, d, p), rel=1e-4)
    equal = {**aux, "prognosis": aux["diagnosis"]}
    assert value(state_sync(sync), equal) == pytest.approx(0.0, abs=1e-6)


def test_the_cell_of_an_lstm_is_synchronised_too(aux, value):
    """Other values of c alone change the loss."""
    moved = aux["prognosis"].at[:, N:, 1::2].add(0.1)
    assert value(state_sync(), {**aux, "prognosis": moved}) != value(state_sync(), aux)


def test_one_step_terms_are_their_formulas(aux, value, batch, signals):
    """From the end of the window, or from the sample that is given."""
    std = signals.stats["y"].std
    for skip in (None, 3):
        first = N if skip is None else skip
        d, h = (np.asarray(aux[name], float)[:, first:] for name in ("diagnosis", "one_step"))
        expected = np.mean(((d - h) / (np.linalg.norm(h) + np.linalg.norm(d))) ** 2)
        assert value(one_step_sync(skip), aux) == pytest.approx(expected, rel=1e-4)
        error = np.asarray(aux["one_step_output"] - batch["y"])[:, first:] / std
        assert value(one_step_loss("mae", skip), aux) == pytest.approx(
            np.abs(error).mean(), rel=1e-4
        )
        assert value(one_step_loss("mse", skip), aux) == pytest.approx((error**2).mean(), rel=1e-4)
    assert value(one_step_sync(), {**aux, "one_step": aux["diagnosis"]}) == 0.0
    assert value(one_step_loss(), {**aux, "one_step_output": batch["y"]}) == 0.0


def test_the_diagnosis_loss_is_that_of_its_outputs_after_the_window(aux, value, batch, signals):
    """The shared head on the estimated states, against the measured outputs."""
    error = np.asarray(aux["diagnosis_output"] - batch["y"])[:, N:] / signals.stats["y"].std
    assert value(diagnosis_loss(), aux) == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert value(diagnosis_loss("mse"), aux) == pytest.approx((error**2).mean(), rel=1e-4)
    assert value(diagnosis_loss(), {**aux, "diagnosis_output": batch["y"]}) == 0.0


def test_temporal_activation_is_that_of_one_path_through_both_networks(aux, value):
    """Estimated states, then simulated ones, the step between them included."""
    path = np.concatenate([aux["diagnosis"][:, :N], aux["prognosis"][:, N:]], 1)
    expected = np.mean(np.diff(path, axis=1) ** 2)
    assert value(temporal_activation(), aux) == pytest.approx(expected, rel=1e-4)


EVERY = {
    "state_sync": state_sync(),
    "diagnosis_loss": diagnosis_loss(),
    "one_step_sync": one_step_sync(),
    "one_step_loss": one_step_loss(),
    "temporal_activation": temporal_activation(),
    "transition_smoothness": transition_smoothness(),
    "consistency": consistency(),
}


def test_all_of_them_vanish_for_a_diagnosis_that_copies_a_true_prognosis(value, batch):
    """Where both networks have the same states and their outputs are those measured."""
    states = jax.random.normal(jax.random.key(0), (3, 20, 2, 2))
    after = jnp.broadcast_to(jnp.arange(20)[:, None] >= N, (3, 20, 1))
    aux = {
        "diagnosis": states,
        "prognosis": states,
        "one_step": states,
        "known": jnp.ones((3, 20, 1), bool),
        "simulated": after,
        "diagnosis_output": batch["y"],
        "one_step_output": batch["y"],
        "states": states,
    }
    for name in ("state_sync", "diagnosis_loss", "one_step_sync", "one_step_loss"):
        assert value(EVERY[name], aux) == 0.0


@pytest.mark.parametrize("name", EVERY)
def test_samples_that_fill_up_a_batch_do_not_count(aux, batch, value, name):
    """Other values where position is negative change nothing; without position they would."""
    position = jnp.tile(jnp.arange(20, dtype=jnp.int32), (3, 1))
    filled = {**batch, "position": position.at[1, 4:].set(-1)}
    changed = {
        key: x.at[1, 4:].multiply(1.5) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for key, x in aux.items()
    }
    assert value(EVERY[name], changed, filled) == value(EVERY[name], aux, filled)
    assert value(EVERY[name], changed) != value(EVERY[name], aux)


def test_losses_of_a_sequence_without_its_end_are_those_of_its_samples(aux, batch, value):
    """A batch that was cut at its end, as by cut_loss, cuts the values too."""
    cut = {key: x[:, :15] for key, x in batch.items()}
    shorter = {key: x[:, :15] if x.ndim > 1 else x for key, x in aux.items()}
    for name in ("state_sync", "one_step_loss", "transition_smoothness"):
        assert value(EVERY[name], aux, cut) == value(EVERY[name], shorter, cut)


def test_without_states_after_the_window_there_is_nothing_to_compare(model, batch, value):
    """In evaluation: 0, and no NaN."""
    _, aux = nnx.jit(lambda m, u, y: m.call_with_aux(u, y))(model, batch["u"], batch["y"])
    for name in ("state_sync", "diagnosis_loss", "one_step_sync"):
        assert value(EVERY[name], aux) == 0.0


def test_the_composition_has_the_weights_that_are_given(aux, batch, value, signals):
    """Alone the state synchronisation, by default; all terms by name, linear in their weights."""
    terms = {t.name: t.weight for t in named_terms(fransys_losses())}
    assert terms == {"normalized_mae": 1.0, "state_sync": 1e7}
    weights = {
        "p_state_sync": 2.0,
        "p_diagnosis_loss": 3.0,
        "p_one_step_sync": 4.0,
        "p_one_step_loss": 5.0,
        "p_temporal_activation": 6.0,
    }
    loss = fransys_losses(loss=normalized_mse, sync_type="cos", **weights)
    named = {t.name: t.weight for t in named_terms(loss)}
    assert list(named.values()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    parts = [state_sync("cos"), *(EVERY[name] for name in list(named)[2:])]
    expected = sum(w * value(part, aux) for w, part in zip(weights.values(), parts, strict=True))
    assert value(loss, aux) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError) as caught:
        fransys_losses(p_state_sync=-1.0)
    print(caught.value)
    assert "fransys_losses got p_state_sync = -1.0" in str(caught.value)


@pytest.mark.parametrize("name", ["state_sync", "one_step_sync", "consistency"])
def test_the_gradient_goes_into_both_networks(model, batch, signals, name):
    """Neither side of a synchronisation is held still."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    stats = signals.stats["y"]

    @jax.jit
    @jax.grad
    def gradient(params):
        built = nnx.merge(graphdef, params, rest)
        pred, aux = built.call_with_aux(batch["u"], batch["y"], progress=0.5)
        return 1e4 * EVERY[name](pred, batch["y"], stats.mean, stats.std, aux=aux, batch=batch)

    found = gradient(params)
    other = "encoder" if name == "consistency" else "prognosis"
    for network in ("diagnosis", other):
        sizes = [float(jnp.abs(g).max()) for g in jax.tree.leaves(found[network])]
        assert max(sizes) > 1e-6, network


def test_other_units_of_the_data_change_no_loss(model, batch, signals):
    """Also not the terms of one step, whose prognosis normalises the inputs as always."""
    factors = {"u": np.array([4.0, 0.5]), "y": np.array([8.0, 0.25, 2.0])}
    stats = {
        k: NormStats(v.mean * factors[k], v.std * factors[k]) for k, v in signals.stats.items()
    }
    other = SPEC.build(replace(signals, stats=stats), rngs=nnx.Rngs(0))
    scaled = {key: x * factors[key] for key, x in batch.items()}
    pairs = [(model, batch, signals.stats["y"]), (other, scaled, stats["y"])]
    values = []
    for built, numbers, own in pairs:
        given = {key: jnp.asarray(x, jnp.float32) for key, x in numbers.items()}
        _, aux = values_of(built, given["u"], given["y"])
        y = given["y"]
        values.append(
            [float(f(y, y, own.mean, own.std, aux=aux, batch=given)) for f in EVERY.values()]
        )
    np.testing.assert_allclose(*values, rtol=1e-3)


def at_transition(output, begin=N):
    return {"output": jnp.asarray(output), "begin": jnp.full((len(output),), begin)}


def test_transition_smoothness_is_that_of_the_outputs_around_the_end_of_the_window(
    value, signals, batch
):
    """0 for a ramp, more for a jump, nothing from farther away, and its formula between."""
    std = signals.stats["y"].std
    ramp = np.tile(np.arange(20.0)[:, None] * std, (3, 1, 1)).astype(np.float32)
    loss = transition_smoothness(window=3)
    assert value(loss, at_transition(ramp)) == pytest.approx(0.0, abs=1e-9)
    jump = ramp + np.where(np.arange(20)[:, None] >= N, std, 0.0)
    assert value(loss, at_transition(jump)) == pytest.approx(2.0 / 4.0, rel=1e-4)
    far = jump.copy()
    far[:, : N - 3] += 7.0
    far[:, N + 3 :] -= 7.0
    assert value(loss, at_transition(far)) == value(loss, at_transition(jump))
    y = np.asarray(batch["y"]) / std
    expected = np.mean(np.diff(y[:, N - 3 : N + 3], 2, axis=1) ** 2)
    assert value(loss, at_transition(batch["y"])) == pytest.approx(expected, rel=1e-4)
    slow = transition_smoothness(window=3, dt=0.1)
    assert value(slow, at_transition(batch["y"])) == pytest.approx(1e4 * expected, rel=1e-4)
    assert value(loss, at_transition(batch["y"], begin=19)) > 0.0
    assert value(loss, at_transition(batch["y"], begin=40)) == 0.0


def test_transition_smoothness_serves_autoregression_too(signals, batch, value):
    """Where the free run begins."""
    model = AR(model=RNN(hidden_size=2), init_window=N).build(signals, rngs=nnx.Rngs(0))
    output, aux = values_of(model, batch["u"], batch["y"])
    y = np.asarray(output) / signals.stats["y"].std
    expected = np.mean(np.diff(y[:, N - 3 : N + 3], 2, axis=1) ** 2)
    assert value(transition_smoothness(), aux) == pytest.approx(expected, rel=1e-4)


def test_consistency_compares_both_estimates_at_one_sample(aux, value):
    """The last one of the window, or another; 0 where both agree."""
    d, e = (np.asarray(aux[name], float) for name in ("diagnosis", "encoded"))
    for at, place in ((None, N - 1), (2, 2)):
        expected = np.mean((d - e)[:, place] ** 2)
        assert value(consistency(at=at), aux) == pytest.approx(expected, rel=1e-4)
    assert value(consistency(), {**aux, "encoded": aux["diagnosis"]}) == 0.0
    other = consistency("states", "diagnosis", at=N)
    expected = np.mean(np.asarray(aux["states"] - aux["diagnosis"])[:, N] ** 2)
    assert value(other, aux) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda: state_sync("msle"), "state_sync got sync_type = 'msle'; give one of"),
        (lambda: diagnosis_loss("huber"), "diagnosis_loss got error = 'huber'; give one of"),
        (lambda: one_step_sync(0), "one_step_sync got skip = 0; give a whole number of samples"),
        (lambda: one_step_loss("mae", -1), "one_step_loss got skip = -1"),
        (lambda: transition_smoothness(1), "transition_smoothness got window = 1"),
        (lambda: transition_smoothness(dt=0.0), "transition_smoothness got dt = 0.0"),
        (lambda: consistency(at=-1), "consistency got at = -1"),
    ],
)
def test_options_out_of_range_are_refused(make, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert part in str(caught.value)


def test_a_value_that_the_model_does_not_give_is_named(aux, value):
    """With those that it gives."""
    with pytest.raises(ConfigError) as caught:
        value(state_sync(), {"hidden": aux["states"]})
    print(caught.value)
    assert "state_sync: the model gives no intermediate value 'known'" in str(caught.value)
    assert "it gives 'hidden'" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        value(consistency(at=20), aux)
    print(caught.value)
    assert "at = 20, and the sequences have 20 samples" in str(caught.value)


def test_the_loss_of_the_outputs_is_that_of_simulation():
    """By default it is the one of core."""
    assert named_terms(fransys_losses())[0].loss.component is normalized_mae
