"""Models with a carry: what goes on, what begins anew, and what is handed on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_core import GRU, LSTM, RNN, Carry, Simulator, estimate_state, predict, predict_stateful
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.protocols import (
    AuxModel,
    EstimatedState,
    InitialWindow,
    MeasuringModel,
    StatefulAuxModel,
)
from tsjax_core.signatures import declare
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.types import Signals
from tsjax_tbptt import StatefulRNN, stateful

SIGNALS = sample_signals(n_u=2, n_y=2)
N = 24


@nnx.jit
def train(model, inputs, position):
    return model(*inputs, batch={"position": position})


def begun(spec, rows, signals=SIGNALS):
    model = spec.build(signals, rngs=nnx.Rngs(0))
    model.begin_training(rows)
    model.train()
    return model


def run_parts(model, inputs, position, lengths):
    ends = np.cumsum(lengths)
    parts = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    outs = [train(model, [x[:, p] for x in inputs], position[:, p]) for p in parts]
    return np.concatenate(outs, 1)


def specs_of(third_party):
    specs = [GRU(hidden_size=2), LSTM(hidden_size=2), RNN(hidden_size=2), third_party.Prior()]
    try:
        from tsjax_tcn import CRNN, TCN
    except ImportError:
        return specs
    return [*specs, TCN(num_layers=2, hidden_size=2), CRNN(num_cnn_layers=1, rnn_hidden_size=2)]


@pytest.mark.parametrize(
    "number,look_back",
    [
        (0, 5),
        pytest.param(1, 0, marks=pytest.mark.slow),
        pytest.param(2, 0, marks=pytest.mark.slow),
        (3, 5),
        pytest.param(4, 5, marks=pytest.mark.slow),
        (5, 0),
    ],
    ids=str,
)
def test_chunks_of_any_lengths_give_the_outputs_of_the_whole(third_party, number, look_back):
    """In training, of every stateful model, with a row that begins anew on the way, to 1e-5."""
    specs = specs_of(third_party)
    if number >= len(specs):
        pytest.skip("tsjax-tcn is not installed")
    spec = stateful(specs[number], look_back=look_back)
    batch = sample_batch(SIGNALS, batch=2, time=N)
    inputs = [np.asarray(batch[key]) for key in spec.reads]
    position = np.tile(np.arange(N, dtype=np.int32), (2, 1))
    position[1, 12:] -= 12
    model = begun(spec, 2)
    evaluated = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    whole = np.array(evaluated(*inputs))
    whole[1, 12:] = evaluated(*(x[1:, 12:] for x in inputs))[0]
    std = SIGNALS.stats["y"].std
    # Few lengths, so that few programs are compiled.
    for lengths in ([4] * 6, [8, 4, 8, 4]):
        got = run_parts(model, inputs, position, lengths)
        assert np.abs((got - whole) / std).max() < 1e-5


LENGTHS = st.lists(st.sampled_from([1, 3, 4]), min_size=1, max_size=8)


@settings(max_examples=15, deadline=None)
@given(LENGTHS, st.integers(0, 3))
def test_any_chunking_and_any_place_to_begin_anew(lengths, begin):
    """Random cuts of a GRU that looks back, whose rows begin anew at some of them, to 1e-5."""
    spec = stateful(GRU(hidden_size=2), look_back=4)
    n = sum(lengths)
    u = np.asarray(sample_batch(SIGNALS, batch=2, time=32)["u"])
    position = np.tile(np.arange(n, dtype=np.int32), (2, 1))
    start = int(sum(lengths[: min(begin, len(lengths) - 1)]))
    position[1, start:] -= start
    got = run_parts(begun(spec, 2), [u], position, lengths)
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    whole = predict(model, u).copy()
    whole[1, start:] = predict(model, np.roll(u, -start, axis=1))[1, : 32 - start]
    assert np.abs((got - whole[:, :n]) / SIGNALS.stats["y"].std).max() < 1e-5


def test_rows_that_do_not_go_on_have_no_memory_of_the_batch_before():
    """A gap, a step back, a blank row and a new sequence begin from the initial state."""
    spec = stateful(GRU(hidden_size=3))
    model = begun(spec, 5)
    u = sample_batch(SIGNALS, batch=5, time=8)["u"]
    train(model, [u[:, :4]], np.tile(np.arange(4, dtype=np.int32), (5, 1)))
    firsts = np.array([4, 6, 2, -1, 0], np.int32)
    position = np.where(firsts[:, None] < 0, -1, firsts[:, None] + np.arange(4, dtype=np.int32))
    got = train(model, [u[:, 4:]], position)
    evaluated = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    fresh, whole = predict(evaluated, u[:, 4:]), predict(evaluated, u)[:, 4:]
    np.testing.assert_allclose(got[0], whole[0], atol=1e-5)
    np.testing.assert_allclose(got[1:], fresh[1:], atol=1e-5)


def test_a_sequence_that_ends_within_a_chunk_leaves_nothing_behind():
    """Whatever filled the chunk up, the row begins anew, even at a position above 0."""
    spec = stateful(LSTM(hidden_size=3))
    model = begun(spec, 1)
    u = sample_batch(SIGNALS, batch=1, time=8)["u"]
    train(model, [u[:, :4]], np.array([[0, 1, 2, -1]], np.int32))
    got = train(model, [u[:, 4:]], np.array([[3, 4, 5, 6]], np.int32))
    evaluated = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(got, predict(evaluated, u[:, 4:]), atol=1e-5)


@pytest.mark.parametrize("look_back", [0, 4])
def test_a_state_that_is_not_finite_ends_with_its_chunk(look_back):
    """NaN in one row spoils the outputs of that row and chunk alone, and no carry."""
    spec = stateful(GRU(hidden_size=3), look_back=look_back)
    model = begun(spec, 2)
    u = np.array(sample_batch(SIGNALS, batch=2, time=12)["u"])
    clean = u.copy()
    u[1, 5] = np.nan
    position = np.tile(np.arange(12, dtype=np.int32), (2, 1))
    got = run_parts(model, [u], position, [4, 4, 4])
    assert np.isnan(got[1, 5:8]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(nnx.state(model, Carry)))
    evaluated = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(got[0], predict(evaluated, clean[0]), atol=1e-5)
    np.testing.assert_allclose(got[1, 8:], predict(evaluated, clean[1, 8:]), atol=1e-5)


def test_batches_without_position_are_ordinary_training():
    """The model inside, with its key and its intermediate values; the carry stays."""
    spec = stateful(GRU(hidden_size=4, input_dropout=0.5))
    model, inner = begun(spec, 3), spec.model.build(SIGNALS, rngs=nnx.Rngs(0))
    u, key = sample_batch(SIGNALS)["u"], jax.random.key(1)
    before = jax.tree.leaves(nnx.state(model, Carry))
    np.testing.assert_array_equal(model(u, batch={"u": u}, key=key), inner(u, key=key))
    y, aux = model.call_with_aux(u, batch={"u": u}, key=key)
    np.testing.assert_array_equal(y, inner(u, key=key))
    assert set(aux) == {"hidden", "states"}
    for a, b in zip(before, jax.tree.leaves(nnx.state(model, Carry)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_acts_in_chunks_with_one_mask_for_a_step():
    """The key reaches the chunk and the past that is computed anew for it."""
    spec = stateful(GRU(hidden_size=4, input_dropout=0.5), look_back=4)
    u = sample_batch(SIGNALS, time=8)["u"]
    position = np.tile(np.arange(8, dtype=np.int32), (3, 1))
    outs = []
    for seed in (0, 0, 1):
        model = begun(spec, 3)
        for part in (slice(0, 4), slice(4, 8)):
            given = {"batch": {"position": position[:, part]}, "key": jax.random.key(seed)}
            y = model(u[:, part], **given)
        outs.append(np.asarray(y))
    np.testing.assert_array_equal(outs[0], outs[1])
    assert np.abs(outs[0] - outs[2]).max() > 1e-3
    inner = spec.model.build(SIGNALS, rngs=nnx.Rngs(0))
    whole = inner(u, key=jax.random.key(0))[:, 4:]
    np.testing.assert_allclose(outs[0], whole, atol=1e-5)


def test_what_the_model_inside_has_is_handed_on(third_party):
    """Each ability, and no other: losses, policies and reports find what is there."""
    lag = stateful(third_party.Lag()).build(third_party.signals, rngs=nnx.Rngs(0))
    assert isinstance(lag, EstimatedState)
    assert isinstance(lag, MeasuringModel)
    assert not isinstance(lag, AuxModel | InitialWindow)
    assert lag.quantities()["pole"][1] == "1"
    assert lag.receptive_field is None
    u = np.linspace(0.0, 1.0, 6)[:, None]
    state = estimate_state(lag, u, 2.0 * u, initial_state="encoder")
    assert state["x"].tolist() == [[2.0]]
    spec = stateful(third_party.Prior())
    prior = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    assert isinstance(prior, InitialWindow)
    assert isinstance(prior, StatefulAuxModel)
    assert not isinstance(prior, EstimatedState | MeasuringModel)
    assert spec.init_window == prior.init_window == 3
    assert spec.reads == ("u", "y")
    assert declare("model", prior, spec.reads).wants == {"batch", "key", "progress"}
    assert declare("model", lag, ("u",)).wants == {"batch"}
    assert type(stateful(third_party.Lag()).build(SIGNALS, rngs=nnx.Rngs(1))) is type(lag)
    batch = sample_batch(SIGNALS, batch=1, time=9)
    u, y = np.asarray(batch["u"][0]), np.array(batch["y"][0])
    y[3:] = np.nan
    expected = predict(third_party.Prior().build(SIGNALS, rngs=nnx.Rngs(0)), u, y)
    np.testing.assert_allclose(predict(prior, u, y), expected, rtol=1e-6)
    first, state = predict_stateful(prior, u[:4], further=[y[:4]])
    second, _ = predict_stateful(prior, u[4:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), expected, rtol=1e-5)
    simulator = Simulator(prior)
    begun = simulator.begin(u[:4], y[:4])
    steps = [simulator.step(sample) for sample in u[4:]]
    np.testing.assert_allclose([*begun, *steps], expected, rtol=1e-5)


def test_a_finite_memory_is_handed_on():
    """Of a TCN, by specification and model."""
    tcn = pytest.importorskip("tsjax_tcn")
    spec = stateful(tcn.TCN(num_layers=3, hidden_size=2))
    model = spec.build(SIGNALS, rngs=nnx.Rngs(0))
    assert spec.receptive_field == model.receptive_field == 8
    model.begin_training(3)
    batch = sample_batch(SIGNALS, time=4)
    assert set(model.call_with_aux(batch["u"])[1]) == {"hidden"}
    position = np.zeros((3, 4), np.int32)
    with pytest.raises(ModelError) as caught:
        model.call_with_aux(batch["u"], batch={"position": position})
    print(caught.value)
    assert "TCNModel has no advance_with_aux" in str(caught.value)


def test_a_model_that_drops_in_whole_sequences_alone_is_told(third_party):
    """Training it in chunks would silently drop nothing."""
    model = stateful(third_party.Dropping()).build(third_party.signals, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError) as caught:
        model.begin_training(2)
    print(caught.value)
    assert "DroppingModel uses key in training" in str(caught.value)
    assert "its advance takes no key" in str(caught.value)
    other = stateful(third_party.Dropping(0.0)).build(third_party.signals, rngs=nnx.Rngs(0))
    other.begin_training(2)


def test_models_that_cannot_carry_are_told(third_party):
    """A stateless one, scalar targets, one output per sequence, and what is no specification."""
    scalar = Signals(("u",), (), dict(third_party.signals.stats), scalar_outputs=("s",))
    last = GRU(hidden_size=2, output="last")
    both = sample_signals(1, 1, n_y_scalar=1)
    cases = [
        (
            lambda: stateful(third_party.Stateless()).build(SIGNALS, rngs=nnx.Rngs(0)),
            "Stateless builds a Static, which has no initial_state and advance",
        ),
        (
            lambda: stateful(third_party.Lag()).build(scalar, rngs=nnx.Rngs(0)),
            "the data have scalar targets alone",
        ),
        (
            lambda: train(begun(stateful(last), 1, both), [jnp.zeros((1, 4, 1))], np.ones((1, 4))),
            "RecurrentModel inside tbptt/rnn returns the shape (1, 1) for a chunk",
        ),
    ]
    for make, text in cases:
        with pytest.raises(ModelError) as caught:
            make()
        print(caught.value)
        assert text in str(caught.value)
    for wrong, text in (
        ({"model": "core/gru"}, "model = 'core/gru'; give the specification of a model"),
        ({"model": GRU}, "give the specification of a model"),
        ({"look_back": -1}, "look_back = -1; give a whole number, at least 0"),
    ):
        with pytest.raises(ConfigError) as caught:
            StatefulRNN(**wrong)
        print(caught.value)
        assert text in str(caught.value)


def test_a_carry_that_does_not_fit_is_told(third_party):
    """Before begin_training, and for another number of rows."""
    model = stateful(third_party.Lag()).build(third_party.signals, rngs=nnx.Rngs(0))
    u, position = jnp.zeros((2, 3, 1)), np.zeros((2, 3), np.int32)
    for rows, text in ((0, "before begin_training(batch_size)"), (3, "a carry of 3 rows")):
        if rows:
            model.begin_training(rows)
        with pytest.raises(ModelError) as caught:
            model(u, batch={"position": position})
        print(caught.value)
        assert text in str(caught.value)
