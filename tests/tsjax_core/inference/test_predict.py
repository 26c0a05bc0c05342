"""`predict` and `predict_stateful` on arrays of one, two and three axes, short and long."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tsjax_core import GRU, LSTM, RNN, NormStats, Signals, predict, predict_stateful
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.inference import chunks


def signals(n_u: int, n_y: int) -> Signals:
    return Signals(
        [f"u{i}" for i in range(n_u)],
        [f"y{i}" for i in range(n_y)],
        {
            "u": NormStats(np.zeros(n_u), np.ones(n_u)),
            "y": NormStats(np.zeros(n_y), np.ones(n_y)),
            "u_scalar": NormStats([0.0], [1.0]),
            "y_scalar": NormStats([3.0, 2.0], [1.0, 5.0]),
        },
        scalar_inputs=("mass",),
        scalar_outputs=("wear", "age"),
    )


def model(n_u: int, n_y: int, **options) -> nnx.Module:
    return GRU(hidden_size=3, **options).build(signals(n_u, n_y), rngs=nnx.Rngs(0))


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_equal_to_rounding(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    error = np.abs(got - expected).max() / expected.std()
    print(f"differs by {error:.2g} std")
    assert error < 1e-5


def test_outputs_have_the_axes_of_the_inputs():
    """(time,), (time, n_u) and (batch, time, n_u) give the same numbers."""
    one = model(1, 1)
    u = np.random.default_rng(0).standard_normal(30)
    y = predict(one, u)
    assert y.shape == (30,)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(predict(one, u[:, None])[:, 0], y)
    np.testing.assert_array_equal(predict(one, u[None, :, None])[0, :, 0], y)
    np.testing.assert_array_equal(predict(one, list(u)), y)
    wide = model(2, 3)
    assert predict(wide, np.zeros((9, 2))).shape == (9, 3)
    assert predict(wide, np.zeros((4, 9, 2))).shape == (4, 9, 3)


def test_repeated_calls_are_independent():
    """No state leaks from one call into the next."""
    one = model(1, 1)
    u = np.random.default_rng(1).standard_normal(30)
    first = predict(one, u)
    predict(one, u * 5.0)
    np.testing.assert_array_equal(predict(one, u), first)


def test_further_inputs_follow_the_first():
    """A model that reads scalars takes them with the same leading axes."""
    scaled = model(1, 2, scalar_inputs=True)
    u = np.random.default_rng(2).standard_normal((2, 8, 1))
    both = predict(scaled, u, np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(predict(scaled, u[1], [2.0]), both[1], rtol=1e-6)
    for wrong in (3.0, np.zeros((3, 1)), np.array([[np.nan], [1.0]])):
        with pytest.raises(ModelError) as caught:
            predict(scaled, u, wrong)
        print(caught.value)
        assert "further input" in str(caught.value)


@pytest.mark.parametrize(
    "u,parts",
    [
        (np.zeros((1, 2, 3, 4)), ["(1, 2, 3, 4)", "(batch, time, n_u)"]),
        (np.zeros((0, 2)), ["(0, 2)", "at least one sample"]),
        ("abc", ["no array of numbers"]),
        (np.zeros((5, 3)), ["2 channels", "(1, 5, 3)"]),
        (np.array([[0.0, np.nan], [np.inf, 0.0]]), ["2 samples", "NaN or infinite"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(u, parts):
    """The error says what was got and what is expected."""
    with pytest.raises(ModelError) as caught:
        predict(model(2, 1), u)
    print(caught.value)
    assert all(part in str(caught.value) for part in parts)


def test_one_axis_cannot_hold_several_outputs():
    """The error says how to give the input instead."""
    with pytest.raises(ModelError) as caught:
        predict(model(1, 2), np.zeros(5))
    print(caught.value)
    assert "2 outputs" in str(caught.value)
    assert "(time, n_u)" in str(caught.value)


STACKED = {"num_layers": 2, "normalization": "layernorm"}
LONG = {
    "gru, one channel": (GRU(hidden_size=5), (1, 1), (1, 100_000)),
    "lstm, batch": (LSTM(hidden_size=5, **STACKED), (2, 3), (3, 20_001)),
    "gru, batch": (GRU(hidden_size=4, **STACKED), (3, 1), (5, 7_777)),
    "rnn, scalars": (RNN(hidden_size=4, scalar_inputs=True, **STACKED), (2, 2), (2, 8_193)),
    "one output per sequence": (GRU(hidden_size=4, output="last"), (2, 1), (2, 16_391)),
}


@pytest.mark.parametrize("case", LONG.values(), ids=LONG)
def test_a_long_record_has_the_outputs_of_the_whole(case):
    """Chunk by chunk, with the last one filled up, the outputs are those of one call."""
    spec, (n_u, n_y), shape = case
    built = spec.build(signals(n_u, n_y), rngs=nnx.Rngs(1))
    u = draw(0, *shape, n_u)
    further = [draw(1, shape[0], 1)] if spec.scalar_inputs else []
    assert chunks.is_long([u])
    whole = np.asarray(built(u, *further))
    assert_equal_to_rounding(predict(built, u, *further), whole)


@pytest.mark.parametrize("name", ["lstm, batch", "rnn, scalars", "one output per sequence"])
def test_parts_have_the_outputs_of_the_whole(name):
    """Each part goes on from the state of the part before, whatever lengths they have."""
    spec, (n_u, n_y), (batch_size, _) = LONG[name]
    built = spec.build(signals(n_u, n_y), rngs=nnx.Rngs(1))
    u = draw(0, batch_size, 254, n_u)
    further = [draw(1, batch_size, 1)] if spec.scalar_inputs else []
    begun, state = predict_stateful(built, u[:, :102], chunk=50, further=further)
    y, _ = predict_stateful(built, u[:, 102:], state, chunk=50, further=further)
    whole = np.asarray(built(u, *further))
    assert_equal_to_rounding(y if y.ndim == 2 else np.concatenate([begun, y], 1), whole)


class Follower(nnx.Module):
    """y_t = x_t + the sum of u_t, where x follows the measured output, one sample late."""

    def __init__(self) -> None:
        self.rate = nnx.Param(jnp.float32(0.1))

    def __call__(self, u, y):
        return self.advance(u, self.initial_state(len(u)), y)[0]

    def initial_state(self, batch_size):
        return {"x": jnp.zeros((batch_size, 1))}

    def advance(self, u, state, y):
        def step(x, y):
            return x + self.rate * (y - x), x

        x, before = lax.scan(step, state["x"], jnp.swapaxes(y, 0, 1))
        return jnp.swapaxes(before, 0, 1) + u.sum(-1, keepdims=True), {"x": x}


def test_a_measured_output_is_cut_with_the_input():
    """A further input with an axis of time goes in chunk by chunk, against a loop in NumPy."""
    u, y = draw(2, 2, 9_001, 3), draw(3, 2, 9_001, 1)
    expected, x = np.zeros((2, 9_001, 1)), np.zeros((2, 1))
    for t in range(9_001):
        expected[:, t] = x + u[:, t].sum(-1, keepdims=True)
        x = x + 0.1 * (y[:, t] - x)
    assert_equal_to_rounding(predict(Follower(), u, y), expected)
    one, state = predict_stateful(Follower(), u[0], chunk=1000, further=[y[0]])
    assert_equal_to_rounding(one, expected[0])
    np.testing.assert_allclose(state["x"], x[:1], rtol=1e-4)
    with pytest.raises(ModelError) as caught:
        predict_stateful(Follower(), u[0], state, further=[y[0, :9_000]])
    print(caught.value)
    assert "shape (1, 9000, 1) for u of 9001 samples" in str(caught.value)


class Opening(Follower):
    """Takes the measured output of the first samples alone."""

    def __call__(self, u, y):
        return u.sum(-1, keepdims=True) + y.mean(1, keepdims=True)


def test_a_further_input_of_its_own_length_is_given_whole():
    """It cannot be cut with the input, so that the model is run at once."""
    u, y = draw(4, 1, 20_000, 2), draw(5, 1, 7, 1)
    assert_equal_to_rounding(predict(Opening(), u, y), u.sum(-1, keepdims=True) + y.mean())


class Centred(nnx.Module):
    """Subtracts the mean of the whole record, which no chunk knows."""

    def __call__(self, u):
        return u - u.mean(1, keepdims=True)


def test_a_model_without_state_is_run_whole():
    """Neither cut nor filled up, at any length."""
    for length in (21, 30_001):
        u = draw(6, 2, length, 1)
        assert_equal_to_rounding(predict(Centred(), u), u - u.mean(1, keepdims=True))


def test_records_of_similar_length_share_a_program():
    """One program for lengths that are filled up alike, be they short or long."""
    built = GRU(hidden_size=6).build(signals(1, 1), rngs=nnx.Rngs(0))
    compiled = chunks._apply, chunks._advance
    before = [each._cache_size() for each in compiled]
    for length in (97, 100, 104):
        assert predict(built, draw(length, length)).shape == (length,)
    for length in (49_000, 49_100, 97_900):
        assert predict(built, draw(length, length)).shape == (length,)
    assert [each._cache_size() for each in compiled] == [before[0] + 1, before[1] + 1]


def test_what_fills_the_chunks_is_little():
    """The samples that are computed exceed those of the record by less than an eighth."""
    for time in (16_385, 18_500, 33_333, 100_000, 1_234_567):
        length = chunks._filled_length(time, 1 << 14)
        assert 1 << 13 <= length <= 1 << 14
        assert time <= -(-time // length) * length < 1.125 * time


def test_parts_of_all_lengths_share_few_programs():
    """Parts of many lengths compile once for each power of two, and give the whole."""
    built = LSTM(hidden_size=5).build(signals(2, 3), rngs=nnx.Rngs(0))
    u = draw(7, 600, 2)
    before = chunks._advance._cache_size()
    parts, state, start = [], None, 0
    for length in (1, 2, 63, *range(16, 32), 32):
        y, state = predict_stateful(built, u[start : start + length], state)
        parts.append(y)
        start += length
    assert chunks._advance._cache_size() - before == 6
    assert_equal_to_rounding(np.concatenate(parts), predict(built, u[:start]))


def test_parts_of_the_length_of_a_chunk_need_one_program():
    """`chunk` sets the samples of a call, also where it is no power of two."""
    built = RNN(hidden_size=5).build(signals(1, 1), rngs=nnx.Rngs(0))
    u = draw(8, 900)
    before = chunks._advance._cache_size()
    first, state = predict_stateful(built, u[:300], chunk=np.int64(300))
    second, _ = predict_stateful(built, u[300:], state, chunk=300)
    assert chunks._advance._cache_size() - before == 1
    assert_equal_to_rounding(np.concatenate([first, second]), predict(built, u))


def test_other_parameters_need_no_program():
    """A model of equal structure and other values, such as after training, compiles nothing."""
    first, second = (
        GRU(hidden_size=7).build(signals(2, 1), rngs=nnx.Rngs(seed)) for seed in (0, 1)
    )
    u = draw(9, 50, 2)
    y, state = predict(first, u), predict_stateful(first, u)[1]
    before = chunks._apply._cache_size(), chunks._advance._cache_size()
    other = predict(second, u)
    assert np.abs(other - y).max() > 0.01
    np.testing.assert_array_equal(predict_stateful(second, u, state)[0].shape, y.shape)
    nnx.update(first, nnx.state(second))
    np.testing.assert_array_equal(predict(first, u), other)
    assert before == (chunks._apply._cache_size(), chunks._advance._cache_size())


def test_a_state_can_be_used_again():
    """It is left as it was; that of one sequence has the axes of a batch; NumPy's do as well."""
    built = model(1, 1)
    u = draw(10, 40)
    _, state = predict_stateful(built, u)
    assert [x.shape for x in jax.tree.leaves(state)] == [(1, 3)]
    first, _ = predict_stateful(built, u, state)
    again, _ = predict_stateful(built, u, jax.tree.map(lambda x: np.asarray(x, float), state))
    np.testing.assert_array_equal(first, again)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), state)
    doubled, _ = predict_stateful(built, np.stack([u, u])[..., None], twice)
    assert_equal_to_rounding(doubled[1, :, 0], first)
    assert not np.array_equal(predict(built, u)[:5], first[:5])


@pytest.mark.parametrize(
    "state,parts",
    [
        ((), ["structure PyTreeDef(())", "PyTreeDef(((*,),))", "None to begin"]),
        (((np.zeros((2, 3)),),), ["[(2, 3)]", "[(1, 3)]", "number of sequences"]),
        (((np.zeros((1, 4)),),), ["[(1, 4)]", "[(1, 3)]", "earlier call"]),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state, parts):
    """The error has both structures and shapes, and where a state comes from."""
    with pytest.raises(ModelError) as caught:
        predict_stateful(model(1, 1), np.zeros(5), state)
    print(caught.value)
    assert all(part in str(caught.value) for part in ["predict_stateful", *parts])


@pytest.mark.parametrize("chunk", [0, -3, 2.5, "8"])
def test_a_chunk_is_a_positive_whole_number(chunk):
    """The error has the value and names the argument."""
    with pytest.raises(ConfigError) as caught:
        predict_stateful(model(1, 1), np.zeros(5), chunk=chunk)
    print(caught.value)
    assert f"chunk = {chunk!r}" in str(caught.value)
    assert caught.value.key == "chunk"


def test_a_model_without_state_cannot_carry_it_on():
    """The error names the class and what to do."""
    with pytest.raises(ModelError) as caught:
        predict_stateful(Centred(), np.zeros(5))
    print(caught.value)
    assert "Centred, which has no initial_state" in str(caught.value)
    assert "`predict`" in str(caught.value)


@pytest.mark.parametrize(
    "u,part",
    [
        (np.zeros((77, 3)), "shape (1, 77, 3)"),
        (np.full((77, 2), np.nan), "predict_stateful got u with 154 samples that are NaN"),
        (np.zeros(77), "shape (1, 77, 1)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(u, part):
    """The error tells the shape that was given, and not that of a chunk."""
    with pytest.raises(ModelError) as caught:
        predict_stateful(model(2, 1), u)
    print(caught.value)
    assert part in str(caught.value)
