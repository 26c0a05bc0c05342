"""FranSys against loops over its two networks, and its own contract."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_ar import AR, FranSys
from tsjax_ar.observation import observe_states
from tsjax_core import (
    GRU,
    LSTM,
    RNN,
    Simulator,
    estimate_state,
    flatten_state,
    predict,
    predict_stateful,
    unflatten_state,
)
from tsjax_core.errors import ConfigError, ModelError

# Convolutions are models inside, where they are installed.
TCN = pytest.importorskip("tsjax_tcn").TCN

PLAIN = RNN(hidden_size=3, kernel="plain")
SPECS = {
    "rnn": FranSys(diagnosis=PLAIN, prognosis=PLAIN, init_window=6),
    "lstm": FranSys(
        diagnosis=TCN(num_layers=1, hidden_size=3),
        prognosis=LSTM(hidden_size=2, num_layers=2, kernel="plain"),
        init_window=6,
    ),
}


@pytest.fixture(scope="module")
def models(signals):
    """Return a built model of each specification."""
    return {name: spec.build(signals, rngs=nnx.Rngs(0)) for name, spec in SPECS.items()}


@partial(nnx.jit, static_argnames="method")
def run(model, *inputs, method="__call__", **options):
    return getattr(model, method)(*inputs, **options)


def training(model, batch, key=None):
    return run(model, batch["u"], batch["y"], method="call_with_aux", key=key, progress=0.5)


def check(signals, got, expected, tolerance=1e-5):
    error = np.abs(np.asarray(got) - np.asarray(expected)) / signals.stats["y"].std
    assert error.max() < tolerance, error.max()


EVERY_SPEC = ["rnn", pytest.param("lstm", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", EVERY_SPEC)
def test_it_is_the_prognosis_from_the_last_diagnosed_state(models, signals, batch, name):
    """In training and evaluation; in the window, the outputs are those of the estimated states."""
    model, u, y = models[name], batch["u"], batch["y"]
    estimated = run(model.diagnosis, jnp.concatenate([u, y], -1))
    state = unflatten_state(estimated[:, 5], model.prognosis.initial_state(1))
    expected, _ = run(model.prognosis, u[:, 6:], state, method="advance")
    window = observe_states(model.prognosis, estimated[:, :6])
    whole = np.concatenate([window, expected], 1)
    check(signals, run(model, u, y), whole)
    check(signals, training(model, batch)[0], whole)
    check(signals, predict(model, u, np.where(np.arange(20)[:, None] < 6, y, np.nan)), whole)
    # Never zeros, which would pull what follows to them.
    assert np.abs(window).min() > 1e-4


def test_only_the_window_of_measured_outputs_is_used(models, batch):
    """In simulation and in a training without losses of states, later ones change not one bit."""
    model, u, y = models["rnn"], batch["u"], batch["y"]
    other = y.at[:, 6:].add(100.0)
    np.testing.assert_array_equal(run(model, u, other), run(model, u, y))
    for inputs in ((u, y), (u, other)):
        np.testing.assert_array_equal(run(model, *inputs, progress=0.5), run(model, u, y))
    assert np.abs(run(model, u, y.at[:, 5].add(1.0)) - run(model, u, y))[:, 6:].max() > 1e-4


@pytest.mark.parametrize(
    "spec",
    [
        RNN(hidden_size=3, num_layers=2),
        GRU(hidden_size=3, num_layers=2, residual=True, linear_layers=1),
        LSTM(hidden_size=3, num_layers=3, residual=True, normalization="layernorm"),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_outputs_of_states_are_those_of_the_model(signals, batch, spec):
    """All layers, h and c, joined in one array, give the outputs that the model has there."""
    model = spec.build(signals, rngs=nnx.Rngs(1))
    y, aux = run(model, batch["u"], method="call_with_aux")
    check(signals, observe_states(model, aux["states"]), y)


@pytest.mark.parametrize("name", EVERY_SPEC)
def test_the_intermediate_values_are_what_they_say(models, signals, batch, name):
    """Against loops; the states have the parts of the prognosis, of an LSTM h and c."""
    model, u, y = models[name], batch["u"], batch["y"]
    output, aux = training(model, batch)
    parts = {"rnn": (1, 3), "lstm": (4, 2)}[name]
    for value in ("diagnosis", "prognosis", "states", "one_step"):
        assert aux[value].shape == (3, 20, *parts)
    estimated = run(model.diagnosis, jnp.concatenate([u, y], -1))
    flat = {k: np.reshape(v, (3, 20, -1)) for k, v in aux.items() if np.ndim(v) == 4}
    np.testing.assert_allclose(flat["diagnosis"], estimated, atol=1e-5)
    like = model.prognosis.initial_state(1)
    state = unflatten_state(estimated[:, 5], like)
    for t in range(6, 20):
        _, state = run(model.prognosis, u[:, t : t + 1], state, method="advance")
        np.testing.assert_allclose(flat["prognosis"][:, t], flatten_state(state), atol=1e-5)
    np.testing.assert_array_equal(flat["prognosis"][:, :6], 0.0)
    np.testing.assert_array_equal(flat["states"][:, :6], flat["diagnosis"][:, :6])
    np.testing.assert_array_equal(flat["states"][:, 6:], flat["prognosis"][:, 6:])
    for t in range(1, 20):
        before = unflatten_state(estimated[:, t - 1], like)
        out, after = run(model.prognosis, u[:, t : t + 1], before, method="advance")
        np.testing.assert_allclose(flat["one_step"][:, t], flatten_state(after), atol=1e-5)
        check(signals, aux["one_step_output"][:, t], out[:, 0])
    check(signals, aux["output"][:, :6], aux["diagnosis_output"][:, :6])
    np.testing.assert_array_equal(aux["output"], output)
    assert aux["known"].all()
    np.testing.assert_array_equal(aux["simulated"][..., 0], np.tile(np.arange(20) >= 6, (3, 1)))


def test_in_evaluation_states_are_estimated_in_the_window_alone(models, batch):
    """After it nothing is measured; the values say so, and are 0 there."""
    _, aux = run(models["rnn"], batch["u"], batch["y"], method="call_with_aux")
    np.testing.assert_array_equal(aux["known"][0, :, 0], np.arange(20) < 6)
    assert np.all(aux["diagnosis"][:, 6:] == 0.0)
    assert np.all(aux["begin"] == 6)


def test_each_training_sequence_draws_a_window_of_its_own(signals, batch):
    """From the shortest to the longest, and each one is that of a model with this window."""
    spec = FranSys(diagnosis=PLAIN, prognosis=PLAIN, init_window=6, shortest_window=2)
    model = spec.build(signals, rngs=nnx.Rngs(0))
    seen = set()
    for seed in range(12):
        output, aux = training(model, batch, jax.random.key(seed))
        begins = np.asarray(aux["begin"]).tolist()
        seen |= set(begins)
        if seed < 1:
            for row, begin in enumerate(begins):
                fixed = FranSys(diagnosis=PLAIN, prognosis=PLAIN, init_window=begin)
                other = fixed.build(signals, rngs=nnx.Rngs(0))
                expected, values = training(other, batch)
                check(signals, output[row], expected[row])
                for name in ("prognosis", "states", "simulated"):
                    np.testing.assert_allclose(aux[name][row], values[name][row], atol=1e-5)
    assert seen == {2, 3, 4, 5, 6}
    # In evaluation there is no chance.
    np.testing.assert_array_equal(
        run(model, batch["u"], batch["y"], method="call_with_aux")[1]["begin"], [6, 6, 6]
    )


def test_rows_of_one_batch_may_stand_at_different_samples(models, signals, batch):
    """Before, within and after the window: each goes on as it would alone."""
    model, u, y = models["rnn"], batch["u"], batch["y"]
    whole = run(model, u, y)
    rows = []
    for row, start in enumerate((0, 4, 9)):
        alone = model.initial_state(1)
        if start:
            cut = slice(row, row + 1), slice(start)
            _, alone = run(model, u[cut], alone, y[cut], method="advance")
        rows.append(alone)
    state = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
    parts = [jnp.stack([x[row, s : s + 8] for row, s in enumerate((0, 4, 9))]) for x in (u, y)]
    out, after = run(model, parts[0], state, parts[1], method="advance")
    for row, start in enumerate((0, 4, 9)):
        check(signals, out[row], whole[row, start : start + 8])
    np.testing.assert_array_equal(after.samples[:, 0], [8, 12, 17])


def test_a_known_state_of_the_prognosis_is_as_good_as_a_diagnosis(models, signals, batch):
    """Without measured outputs, by `begin_from`, in chunks and step by step."""
    model, u, y = models["rnn"], np.asarray(batch["u"]), np.asarray(batch["y"])
    _, state = run(model, u[:, :6], model.initial_state(3), y[:, :6], method="advance")
    begun = model.begin_from(state.prognosis)
    expected = predict(model, u, y)[:, 6:]
    check(signals, predict_stateful(model, u[:, 6:], begun)[0], expected)
    simulator = Simulator(model)
    simulator.reset(jax.tree.map(lambda x: x[:1], begun))
    check(signals, np.stack([simulator.step(u[0, t]) for t in range(6, 12)]), expected[0, :6])
    check(signals, simulator.begin(u[0, :9], y[0, :9]), predict(model, u, y)[0, :9])
    check(signals, simulator.step(u[0, 9]), predict(model, u, y)[0, 9])


@pytest.mark.parametrize(
    "policy", ["washout", pytest.param("window", marks=pytest.mark.slow), "encoder"]
)
def test_the_policies_for_the_initial_state_serve_it(models, signals, batch, policy):
    """The encoder is its own diagnosis, of as many samples as are given."""
    model, (u, y) = models["rnn"], (np.asarray(batch[key]) for key in ("u", "y"))
    got = predict(model, u, y, initial_state=policy, init_samples=9, y=y)
    whole = predict(model, u, y)
    if policy == "washout":
        np.testing.assert_array_equal(got, whole)
    elif policy == "window":
        costs = [np.square((x - y)[:, :9] / y[:, :9].std(1, keepdims=True)) for x in (got, whole)]
        assert costs[0].mean() < costs[1].mean()
    else:
        longer = FranSys(diagnosis=PLAIN, prognosis=PLAIN, init_window=9)
        other = longer.build(signals, rngs=nnx.Rngs(0))
        check(signals, got[:, 9:], predict(other, u, y)[:, 9:])
        state = estimate_state(
            model, u[:, :9], y[:, :9], initial_state="encoder", further=(y[:, :9],)
        )
        check(signals, predict_stateful(model, u[:, 9:], state)[0], got[:, 9:])


def test_a_state_encoder_begins_from_the_last_output_of_the_window_alone(signals, batch):
    """In its share of the training sequences, and never in evaluation."""
    options = {"diagnosis": PLAIN, "prognosis": PLAIN, "init_window": 6, "encoder_size": 4}
    model = FranSys(**options, encoder_share=1.0).build(signals, rngs=nnx.Rngs(0))
    u, y = batch["u"], batch["y"]
    output, aux = training(model, batch, jax.random.key(0))
    encoded = model.encoder(model.y_scale.normalize(y))
    np.testing.assert_allclose(aux["encoded"].reshape(3, 20, -1), encoded, atol=1e-5)
    state = unflatten_state(encoded[:, 5], model.prognosis.initial_state(1))
    check(signals, output[:, 6:], run(model.prognosis, u[:, 6:], state, method="advance")[0])
    other = training(model, {"u": u, "y": y.at[:, :5].add(1.0)}, jax.random.key(0))[0]
    np.testing.assert_array_equal(other[:, 6:], output[:, 6:])
    without = FranSys(**options).build(signals, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(run(model, u, y), run(without, u, y))
    half = FranSys(**options, encoder_share=0.5).build(signals, rngs=nnx.Rngs(0))
    begun = [
        np.isclose(training(half, batch, jax.random.key(seed))[0], output, atol=1e-5)[:, 6:].all(
            (1, 2)
        )
        for seed in range(8)
    ]
    assert 0.2 < np.mean(begun) < 0.8


def test_gaps_in_the_measured_outputs_do_not_spread(models, batch):
    """The last measurement stands in for what is missing, in training."""
    y = batch["y"].at[:, 3:5].set(jnp.nan).at[0, 15, 1].set(jnp.nan)
    output, aux = training(models["rnn"], {"u": batch["u"], "y": y})
    assert np.isfinite(output).all()
    assert all(np.isfinite(value).all() for value in aux.values())


class Leaky(nnx.Module):
    """x' = 0.5 x + u W, y = x: a model of another plugin that says what its states show."""

    def __init__(self, n_u, n_y):
        self.w = nnx.Param(jnp.ones((n_u, n_y)))

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, self.w.shape[-1]))

    def __call__(self, u):
        return self.advance(u, self.initial_state(len(u)))[0]

    def advance(self, u, state):
        return self.advance_with_aux(u, state)[:2]

    def advance_with_aux(self, u, state):
        def step(x, drive):
            x = 0.5 * x + drive
            return x, x

        state, x = jax.lax.scan(step, state, jnp.swapaxes(u @ self.w[...], 0, 1))
        states = jnp.swapaxes(x, 0, 1)
        return states, state, {"states": states}

    def observe(self, states):
        return states


class LeakySpec:
    reads = ("u",)

    def build(self, signals, *, rngs):
        return Leaky(len(signals.inputs), len(signals.outputs))


def test_another_model_whose_outputs_follow_from_its_state_is_a_prognosis(signals, batch):
    """With `advance_with_aux` and `observe`, as of a state-space model."""
    model = FranSys(diagnosis=PLAIN, prognosis=LeakySpec(), init_window=4).build(
        signals, rngs=nnx.Rngs(0)
    )
    output = np.asarray(run(model, batch["u"], batch["y"]))
    drive = np.asarray(batch["u"]) @ np.ones((2, 3))
    for t in range(4, 20):
        np.testing.assert_allclose(
            output[:, t], 0.5 * output[:, t - 1] + drive[:, t], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    "options,part",
    [
        ({"prognosis": "lstm"}, "FranSys got prognosis = 'lstm'; give the specification"),
        ({"diagnosis": AR()}, "FranSys got diagnosis = AR, which reads u, y"),
        ({"init_window": 0}, "init_window = 0; give a whole number, at least 1"),
        ({"shortest_window": 0}, "shortest_window = 0; give a whole number, at least 1"),
        ({"shortest_window": 51}, "shortest_window = 51 is longer than init_window = 50"),
        ({"encoder_share": 0.5}, "encoder_share = 0.5, and encoder_size = 0 makes no state"),
        ({"encoder_share": 2.0, "encoder_size": 4}, "give a share from 0 to 1"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        FranSys(**options)
    print(caught.value)
    assert part in str(caught.value)


def test_a_prognosis_whose_outputs_do_not_follow_from_its_state_is_refused(signals):
    """Its estimated states would have no outputs."""
    with pytest.raises(ModelError) as caught:
        FranSys(prognosis=TCN(num_layers=1)).build(signals, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "the model in prognosis, TCNModel, has no outputs that are a function" in str(
        caught.value
    )
    with pytest.raises(ModelError) as caught:
        FranSys(prognosis=GRU(output="last")).build(signals, rngs=nnx.Rngs(0))
    print(caught.value)
