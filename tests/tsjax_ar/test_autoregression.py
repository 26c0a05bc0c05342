"""Autoregression against loops over single samples, ARX models, and its own contract."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tsjax_ar import AR
from tsjax_ar.inner import delay, fill_gaps
from tsjax_core import GRU, LSTM, RNN, estimate_state, masked_loss, normalized_mse, predict
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.arx_coefficients import ARXCoefficients

# Convolutions are models inside, where they are installed.
TCN = pytest.importorskip("tsjax_tcn").TCN

MODELS = [
    RNN(hidden_size=3, kernel="plain"),
    LSTM(hidden_size=2, num_layers=2, kernel="plain"),
    TCN(num_layers=2, hidden_size=3),
]
EVERY_MODEL = [MODELS[0], *(pytest.param(spec, marks=pytest.mark.slow) for spec in MODELS[1:])]


def call(model, *inputs, method="__call__", steps=None, **options):
    """Call a model in a program that models of equal structure share."""
    graphdef, variables = nnx.split(model)
    return _call(graphdef, variables, inputs, options, method, steps)


@partial(jax.jit, static_argnames=("graphdef", "method", "steps"))
def _call(graphdef, variables, inputs, options, method, steps):
    fixed = {} if steps is None else {"steps": steps}
    return getattr(nnx.merge(graphdef, variables), method)(*inputs, **options, **fixed)


def ar_of(signals, model, **options):
    spec = AR(model=model, **{"init_window": 5, **options})
    return spec.build(signals, rngs=nnx.Rngs(0))


def check(signals, got, expected, tolerance=1e-5):
    error = np.abs(np.asarray(got) - np.asarray(expected)) / signals.stats["y"].std
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("inner", EVERY_MODEL, ids=lambda spec: type(spec).__name__)
def test_the_free_run_is_a_loop_over_single_samples(signals, batch, inner):
    """In the window the measured outputs are fed back, each one sample late; then its own."""
    model = ar_of(signals, inner)
    u, y = batch["u"], batch["y"]
    graphdef, variables = nnx.split(model.inner)
    advance = jax.jit(lambda x, s: nnx.merge(graphdef, variables).advance(x, s))
    state, fed, outputs = model.inner.initial_state(3), model.y_scale.mean[...] + 0 * y[:, 0], []
    for t in range(20):
        out, state = advance(jnp.concatenate([u[:, t], fed], -1)[:, None], state)
        outputs.append(out)
        fed = y[:, t] if t < 5 else out[:, 0]
    expected = np.concatenate(outputs, 1)
    check(signals, call(model, u, y), expected)
    check(signals, predict(model, u, np.where(np.arange(20)[:, None] < 5, y, np.nan)), expected)


@pytest.mark.parametrize("inner", EVERY_MODEL, ids=lambda spec: type(spec).__name__)
def test_teacher_forced_on_its_own_outputs_is_the_free_run(signals, batch, inner):
    """Training by teacher forcing and one-step prediction, both given what the model simulates."""
    model = ar_of(signals, inner, training="teacher_forcing")
    u, y = batch["u"], batch["y"]
    free = call(model, u, y)
    own = jnp.where(jnp.arange(20)[:, None] < 5, y, free)
    check(signals, call(model, u, own, progress=0.5), free)
    check(signals, call(model, u, own, method="predict_ahead"), free)


def test_measured_outputs_after_the_window_change_nothing(signals, batch):
    """Not one bit in simulation; each of them in the window does."""
    model = ar_of(signals, MODELS[0])
    u, y = batch["u"], batch["y"]
    expected = call(model, u, y)
    np.testing.assert_array_equal(call(model, u, y.at[:, 5:].add(100.0)), expected)
    for t in range(5):
        changed = call(model, u, y.at[:, t].add(1.0))
        np.testing.assert_array_equal(changed[:, : t + 1], expected[:, : t + 1])
        assert np.all(np.abs(changed[:, t + 1] - expected[:, t + 1]).max(-1) > 1e-4)


@pytest.mark.parametrize("training", ["teacher_forcing", "scheduled", "free_run"])
def test_no_path_leads_from_a_measured_output_to_its_own_prediction(signals, batch, training):
    """By the Jacobian in training mode: only earlier outputs act, in all three ways to train."""
    model = ar_of(signals, MODELS[0], training=training)
    graphdef, variables = nnx.split(model)

    @jax.jit
    @jax.jacrev
    def jacobian(y):
        options = {"key": jax.random.key(1), "progress": 0.25}
        return nnx.merge(graphdef, variables)(batch["u"][:1], y[None], **options)[0]

    paths = np.abs(jacobian(batch["y"][0])).max((1, 3))
    assert not np.triu(paths).any()
    assert np.all(np.diag(paths, -1)[:5] > 0.0)
    later = np.diag(paths, -1)[5:] > 0.0
    share = {"teacher_forcing": (1.0, 1.0), "free_run": (0.0, 0.0), "scheduled": (0.2, 0.8)}
    assert share[training][0] <= later.mean() <= share[training][1]


@pytest.mark.parametrize("n_u,n_y", [(1, 1), (2, 3)])
def test_around_a_linear_model_it_is_an_arx_model(linear, n_u, n_y):
    """The free run of core's ARX model of first order, from the same outputs, to 1e-5."""
    from tsjax_core.testing.samples import sample_batch, sample_signals

    signals = sample_signals(n_u, n_y)
    model = ar_of(signals, linear, init_window=1)
    stats, w = signals.stats, np.asarray(model.inner.w[...], float)
    u_std, y_std, y_mean = stats["u"].std, stats["y"].std, stats["y"].mean
    b = w[:n_u] / u_std[:, None] * y_std
    a = w[n_u:] / y_std[:, None] * y_std
    c = y_mean - stats["u"].mean @ b - y_mean @ a
    arx = ARXCoefficients(a[None], b[None], c)
    rest = np.linalg.solve(np.eye(n_y) - a.T, c)
    u = np.asarray(sample_batch(signals, time=30)["u"][0])
    y = np.tile(rest, (30, 1))
    # From the rest of the ARX model on; the window gives it to the model here.
    first = rest @ a + u[1:2] @ b + c
    simulated = predict(model, u, y)
    check(signals, simulated[1:2], first)
    check(signals, simulated[1:], arx.simulate(u[1:]))


def test_a_perfect_model_is_exact_in_free_run(linear, signals, batch):
    """Data of the model itself, from any first output, are simulated to rounding."""
    model = ar_of(signals, linear, init_window=1)
    u = batch["u"]
    y = call(model, u, batch["y"])
    y = jnp.concatenate([batch["y"][:, :1], y[:, 1:]], 1)
    check(signals, call(model, u, y)[:, 1:], y[:, 1:], 1e-6)
    check(signals, call(model, u, y, method="predict_ahead", steps=4)[:, 4:], y[:, 4:])


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 25])
@pytest.mark.parametrize("inner", EVERY_MODEL, ids=lambda spec: type(spec).__name__)
def test_prediction_so_many_steps_ahead_is_a_loop(signals, batch, inner, steps):
    """Each output by itself: teacher forced up to `steps` samples before, then a free run."""
    model = ar_of(signals, inner)
    u, y = batch["u"], batch["y"]
    got = np.asarray(call(model, u, y, method="predict_ahead", steps=steps))
    expected = np.zeros_like(got)
    for t in sorted({0, steps - 1, 12, 19}):
        if 0 <= t < 20:
            # With a window of so many samples, the free run is the prediction that many ahead.
            window = max(t - steps + 1, 0)
            state = model.initial_state(3)._replace(samples=jnp.full((3, 1), 5.0 - window))
            expected[:, t] = advance(model, u[:, : t + 1], state, y[:, : t + 1])[0][:, t]
            check(signals, got[:, t], expected[:, t])


@partial(nnx.jit, static_argnames="method")
def advance(model, u, state, y, method="advance"):
    return getattr(model, method)(u, state, y)


def test_scalars_go_to_the_model_inside(batch):
    """In simulation and in predictions ahead, each sequence with its own."""
    from tsjax_core.testing.samples import sample_batch, sample_signals

    signals = sample_signals(2, 3, n_u_scalar=2)
    model = ar_of(signals, RNN(hidden_size=2, scalar_inputs=True, kernel="plain"))
    given = sample_batch(signals, time=9)
    inputs = [given[key] for key in model.spec.reads]
    assert model.spec.reads == ("u", "y", "u_scalar")
    for method in ("__call__", "predict_ahead"):
        options = {} if method == "__call__" else {"steps": 3}
        whole = call(model, *inputs, method=method, **options)
        alone = call(model, *[x[1:2] for x in inputs], method=method, **options)
        check(signals, alone, whole[1:2])
        other = [*inputs[:2], inputs[2].at[0].add(5.0)]
        moved = np.abs(call(model, *other, method=method, **options) - whole).max((1, 2))
        assert moved[0] > 1e-3
        assert moved[1:].max() == 0.0


def test_a_schedule_goes_from_teacher_forcing_to_the_free_run(signals, batch):
    """Before its begin the first, after its end the second; between them the key decides."""
    options = {"schedule_begin": 0.2, "schedule_end": 0.6}
    model = ar_of(signals, MODELS[0], training="scheduled", **options)
    forced = ar_of(signals, MODELS[0], training="teacher_forcing")
    u, y, key = batch["u"], batch["y"], jax.random.key(3)

    def trained(progress, key=key):
        return call(model, u, y, key=key, progress=progress)

    check(signals, trained(0.1), call(forced, u, y, progress=0.1))
    check(signals, trained(0.9), call(model, u, y))
    np.testing.assert_array_equal(trained(0.4), trained(0.4))
    assert np.abs(trained(0.4) - trained(0.4, jax.random.key(4))).max() > 1e-4
    shares = [float(model.own_share(p)) for p in (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)]
    np.testing.assert_allclose(shares, [0.0, 0.0, 0.25, 0.5, 1.0, 1.0], atol=1e-6)


def test_external_states_are_outputs_that_need_not_count(signals, batch):
    """A state that the loss leaves out is fed back, and acts on the other outputs."""
    model = ar_of(signals, MODELS[0])
    u, y = batch["u"], batch["y"]
    expected = call(model, u, y)
    changed = call(model, u, y.at[:, 4, 0].add(1.0))
    assert np.abs(changed - expected)[:, 6:, 1:].max() > 1e-4
    stats = signals.stats["y"]
    loss = masked_loss(normalized_mse, [False, True, True])
    other = expected.at[..., 0].add(10.0)
    values = [loss(pred, y, stats.mean, stats.std) for pred in (expected, other)]
    np.testing.assert_array_equal(*values)


def test_the_values_of_the_model_inside_are_handed_on(signals, batch):
    """Those with a time axis, of the free run and of teacher forcing, beside its own."""
    model = ar_of(signals, MODELS[0], training="teacher_forcing")
    for options in ({}, {"progress": 0.5}):
        out, aux = call(model, batch["u"], batch["y"], method="call_with_aux", **options)
        check(signals, out, call(model, batch["u"], batch["y"], **options))
        assert aux["hidden"].shape == aux["states"].shape == (3, 20, 3)
        head = model.inner.head(aux["hidden"])
        check(signals, out, model.y_scale.denormalize(head))
        np.testing.assert_array_equal(aux["output"], out)
        np.testing.assert_array_equal(aux["begin"], [5, 5, 5])


def test_dropout_inside_acts_in_training_with_one_mask_for_all_times(signals, batch):
    """The window, which is one call, and the samples after it drop the same connections."""
    inner = RNN(hidden_size=8, weight_dropout=0.5, kernel="plain")
    model = ar_of(signals, inner)
    longer = ar_of(signals, inner, init_window=12)
    u, key = batch["u"], jax.random.key(1)
    y = call(model, u, batch["y"], key=key, progress=0.5)
    assert np.abs(y - call(model, u, batch["y"])).max() > 1e-3
    own = jnp.where(jnp.arange(20)[:, None] < 5, batch["y"], y)
    check(signals, call(longer, u, own, key=key, progress=0.5), y)


def test_batch_norm_inside_is_trained_in_the_window_alone(signals, batch):
    """A loop cannot change statistics; the free run of a training uses those that are there."""
    model = ar_of(signals, TCN(num_layers=1, hidden_size=3, normalization="batchnorm"))
    model.train()
    before = jax.tree.leaves(nnx.state(model, nnx.BatchStat))
    y = nnx.jit(lambda model, u, y: model(u, y, progress=0.5))(model, batch["u"], batch["y"])
    after = jax.tree.leaves(nnx.state(model, nnx.BatchStat))
    assert np.isfinite(y).all()
    assert all(np.abs(a - b).max() > 0.0 for a, b in zip(before, after, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_gaps_are_filled_by_the_last_measurement(seed, share):
    """Against a loop, for random gaps from none to all, each channel by itself."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((2, 6, 2)).astype(np.float32)
    y[rng.random(y.shape) < share] = np.nan
    before = np.array([7.0, 8.0], np.float32)
    expected = y.copy()
    for t in range(6):
        last = np.broadcast_to(before, (2, 2)) if t == 0 else expected[:, t - 1]
        expected[:, t] = np.where(np.isnan(y[:, t]), last, y[:, t])
    np.testing.assert_array_equal(fill_gaps(jnp.asarray(y), jnp.asarray(before)), expected)
    delayed = delay(jnp.asarray(expected), jnp.asarray(before))
    np.testing.assert_array_equal(delayed[:, 1:], expected[:, :-1])
    np.testing.assert_array_equal(delayed[:, 0], np.broadcast_to(before, (2, 2)))


@pytest.mark.parametrize(
    "policy", ["washout", pytest.param("window", marks=pytest.mark.slow), "encoder"]
)
def test_the_policies_for_the_initial_state_serve_it(signals, batch, policy):
    """Washout is the call; an encoder goes on from measured samples; window explains them best."""
    model = ar_of(signals, MODELS[0])
    u, y = (np.asarray(batch[key]) for key in ("u", "y"))
    whole = predict(model, u, y)
    got = predict(model, u, y, initial_state=policy, init_samples=8, y=y)
    if policy == "washout":
        np.testing.assert_array_equal(got, whole)
    elif policy == "encoder":
        longer = ar_of(signals, MODELS[0], init_window=8)
        assert np.isnan(got[:, :8]).all()
        check(signals, got[:, 8:], predict(longer, u, y)[:, 8:])
    else:
        std = signals.stats["y"].std
        costs = [np.square((x - y)[:, :8] / y[:, :8].std(1, keepdims=True)) for x in (got, whole)]
        assert costs[0].mean() < costs[1].mean()
        assert np.isfinite(got / std).all()


def test_the_state_after_measured_samples_is_that_of_a_longer_window(signals, batch):
    """However many there are, what follows is the free run from there."""
    model = ar_of(signals, MODELS[0])
    u, y = (np.asarray(batch[key]) for key in ("u", "y"))
    state = estimate_state(
        model, u[:, :11], y[:, :11], initial_state="encoder", further=(y[:, :11],)
    )
    later, _ = advance(model, u[:, 11:], state, y[:, 11:])
    longer = ar_of(signals, MODELS[0], init_window=11)
    check(signals, later, predict(longer, u, y)[:, 11:])


@pytest.mark.parametrize(
    "options,part",
    [
        ({"model": "core/gru"}, "AR got model = 'core/gru'; give the specification of a model"),
        ({"model": GRU}, "give the specification of a model, such as GRU(hidden_size=32)"),
        ({"model": AR()}, "which reads u, y; give a model that reads 'u'"),
        ({"init_window": 0}, "init_window = 0; give a whole number, at least 1"),
        ({"training": "free"}, "Did you mean 'free_run'?"),
        ({"schedule_end": 1.5}, "schedule_end = 1.5; give a share of the fit from 0 to 1"),
        ({"schedule_begin": 0.7}, "schedule_begin = 0.7 comes after schedule_end = 0.5"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        AR(**options)
    print(caught.value)
    assert part in str(caught.value)


def test_a_model_inside_without_a_state_is_refused(linear, signals):
    """It could not go on from sample to sample."""

    class Whole(nnx.Module):
        def __call__(self, u):
            return u

    class Spec(type(linear)):
        def build(self, signals, *, rngs):
            return Whole()

    with pytest.raises(ModelError) as caught:
        AR(model=Spec()).build(signals, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "AR: the model in model, Whole, has no initial_state and advance" in str(caught.value)
