"""PIRNN against its own parts, and which encoder acts when."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Bounded, FrozenMapping, Simulator, estimate_state, predict, predict_stateful
from tsjax_core.errors import ConfigError
from tsjax_pinn import PIRNN, Auxiliary, consistency

MORE = FrozenMapping({"velocity": Auxiliary(0.5, 2.0, "m/s")})
SPEC = PIRNN(hidden_size=3, init_window=6, encoder_size=4, p_state_encoder=0.4, auxiliary=MORE)


@pytest.fixture(scope="module")
def model(signals):
    """Return a built model."""
    return SPEC.build(signals, rngs=nnx.Rngs(0))


@partial(nnx.jit, static_argnames="method")
def run(model, *inputs, method="__call__", **options):
    return getattr(model, method)(*inputs, **options)


def close(signals, got, expected):
    error = np.abs(np.asarray(got) - np.asarray(expected)) / signals.stats["y"].std
    assert error.max() < 1e-5, error.max()


def test_it_simulates_from_the_encoded_window(model, signals, batch):
    """In evaluation by the sequence encoder alone; later measured outputs are not looked at."""
    u, y = batch["u"], batch["y"]
    output, aux = run(model, u, y, method="call_with_aux")
    expected, more = run(model, u[:, 6:], aux["encoded_sequence"], method="simulate_from")
    close(signals, output[:, 6:], expected)
    np.testing.assert_allclose(aux["auxiliary"][:, 6:], more["auxiliary"], atol=1e-5)
    assert aux["auxiliary"].shape == (3, 20, 1)
    assert not aux["from_state"].any()
    other = y.at[:, 6:].add(100.0)
    np.testing.assert_array_equal(run(model, u, other), output)
    hidden = np.where(np.arange(20)[:, None] < 6, y, np.nan)
    close(signals, predict(model, u, hidden), output)
    assert np.abs(run(model, u, y.at[:, 0].add(1.0)) - output)[:, 6:].max() > 1e-6


def test_in_training_each_sequence_draws_its_encoder(model, signals, batch):
    """With the stated probability, the same for the same key; from one sample of outputs alone."""
    u, y = batch["u"], batch["y"]
    drawn = []
    for seed in range(40):
        options = {"key": jax.random.key(seed), "progress": 0.5, "method": "call_with_aux"}
        output, aux = run(model, u, y, **options)
        drawn.append(np.asarray(aux["from_state"]))
        if seed < 2:
            np.testing.assert_array_equal(run(model, u, y, **options)[0], output)
        for kind, by in ((1, "encoded_state"), (0, "encoded_sequence")):
            rows = drawn[-1] == kind
            if seed < 2 and rows.any():
                expected, _ = run(model, u[:, 6:], aux[by], method="simulate_from")
                close(signals, output[rows, 6:], expected[rows])
    assert np.mean(drawn) == pytest.approx(0.4, abs=0.12)
    assert any(0 < row.sum() < 3 for row in drawn)
    encoded = run(model, y[:, 5], method="encode_state")
    np.testing.assert_allclose(encoded, aux["encoded_state"], atol=1e-6)


def test_chunks_of_rows_at_different_samples_go_on_alone(model, signals, batch):
    """Before, within and after the window."""
    u, y = batch["u"], batch["y"]
    whole = run(model, u, y)
    close(signals, predict_stateful(model, u[0], chunk=7, further=(y[0],))[0], whole[0])
    rows = []
    for row, start in enumerate((0, 4, 9)):
        one = model.initial_state(1)
        if start:
            cut = slice(row, row + 1), slice(0, start)
            one = run(model, u[cut], one, y[cut], method="advance")[1]
        rows.append(one)
    state = jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)
    chunk = [jnp.stack([x[row, s : s + 5] for row, s in enumerate((0, 4, 9))]) for x in (u, y)]
    output, _ = run(model, chunk[0], state, chunk[1], method="advance")
    for row, start in enumerate((0, 4, 9)):
        close(signals, output[row], whole[row, start : start + 5])


def test_a_known_state_or_other_window_begins_a_simulation(model, signals, batch):
    """By the policy `encoder`, and from a state by the state encoder."""
    u, y = np.asarray(batch["u"][0]), np.asarray(batch["y"][0])
    state = estimate_state(model, u[:9], y[:9], initial_state="encoder", further=(y[:9],))
    later, _ = predict_stateful(model, u[9:], state)
    whole = predict(model, u, y, initial_state="encoder", init_samples=9, y=y)
    close(signals, later, whole[9:])
    start = model.encode_state(batch["y"][:1, 0])
    simulator = Simulator(model)
    simulator.reset(model.begin_from(start))
    expected, _ = run(model, batch["u"][:1], start, method="simulate_from")
    close(signals, simulator.step(u[0]), expected[0, 0])


def test_auxiliary_outputs_have_no_supervised_gradient(model, batch):
    """Their part of the head stays as it is, whatever the loss of the measured outputs."""

    def loss(model):
        return jnp.mean(jnp.square(model(batch["u"], batch["y"]) - batch["y"]))

    gradient = nnx.jit(nnx.grad(loss))(model)
    kernel, bias = (np.asarray(gradient["head"]["out"][k][...]) for k in ("kernel", "bias"))
    np.testing.assert_array_equal(kernel[:, 3:], 0.0)
    np.testing.assert_array_equal(bias[3:], 0.0)
    assert np.abs(kernel[:, :3]).min() > 0.0


def test_consistency_draws_both_encoders_to_each_other(model, batch):
    """0 where they agree, and without sequences that began from the state encoder."""
    _, aux = run(model, batch["u"], batch["y"], method="call_with_aux")
    value = partial(consistency, None, None, None, None)
    a, b = (np.asarray(aux[name]) for name in ("encoded_sequence", "encoded_state"))
    assert value(aux=aux) == pytest.approx(np.mean((a - b) ** 2), rel=1e-5)
    assert value(aux={**aux, "encoded_state": aux["encoded_sequence"]}) == 0.0
    some = {**aux, "from_state": jnp.array([1.0, 0.0, 1.0])}
    assert value(aux=some) == pytest.approx(np.mean((a - b)[1] ** 2), rel=1e-5)
    assert value(aux={**aux, "from_state": jnp.ones(3)}) == 0.0
    for name in ("encoded_sequence", "encoded_state"):
        slope = jax.grad(lambda x, name=name: value(aux={**aux, name: x}))(aux[name])
        assert np.abs(slope).min() > 0.0
    with pytest.raises(ConfigError) as caught:
        value(aux={"hidden": a})
    print(caught.value)
    assert "gives no intermediate value 'encoded_sequence'" in str(caught.value)


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda: PIRNN(init_window=0), "init_window = 0"),
        (lambda: PIRNN(cell="mamba"), "cell = 'mamba'"),
        (lambda: PIRNN(p_state_encoder=1.5), "p_state_encoder = 1.5; give a probability"),
        (lambda: Auxiliary(std=0.0), "Auxiliary got std = 0.0"),
        (lambda: Auxiliary(mean=float("nan")), "Auxiliary got mean = nan"),
        (lambda: Auxiliary(unit="metre"), "'metre' is no unit that is known"),
        (
            lambda: PIRNN(parameters=FrozenMapping({"k": Bounded(1.0, 0.0, 2.0, "N/mm3x")})),
            "the parameter 'k' got unit = 'N/mm3x', and 'x' is no unit",
        ),
        (lambda: Bounded(float("nan"), 0.0, 1.0), "start = nan"),
    ],
)
def test_options_out_of_range_are_refused(make, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert part in str(caught.value)


def test_an_auxiliary_output_that_is_measured_is_refused(signals):
    """It would have two meanings."""
    spec = PIRNN(auxiliary=FrozenMapping({"y_1": Auxiliary()}))
    with pytest.raises(ConfigError) as caught:
        spec.build(signals, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "auxiliary output 'y_1', which the data measure" in str(caught.value)
