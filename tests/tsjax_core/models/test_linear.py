"""Linear models: identified systems against the true ones, SciPy, and their own contract."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from flax import nnx

from tsjax_core import Learner, create_grain_dls, get_model, load_model, predict, rmse
from tsjax_core.errors import ConfigError, DataError, ModelError
from tsjax_core.models.linear import ARX, Linear
from tsjax_core.models.subspace import (
    StateSpaceMatrices,
    estimate_start,
    identify_state_space,
    reflect_poles,
)

POLES = np.array([0.95 * np.exp(0.3j), 0.8 * np.exp(1.2j)])
TRUE_POLES = np.sort_complex(np.concatenate([POLES, POLES.conj()]))


def make_system(direct: bool = True) -> StateSpaceMatrices:
    """Two inputs, three outputs, two modes, and an offset."""
    rng = np.random.default_rng(0)
    a = np.zeros((4, 4))
    for i, pole in enumerate(POLES):
        a[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[pole.real, pole.imag], [-pole.imag, pole.real]]
    d = rng.normal(size=(3, 2)) if direct else np.zeros((3, 2))
    return StateSpaceMatrices(
        a, rng.normal(size=(4, 2)), rng.normal(size=(3, 4)), d, rng.normal(size=3)
    )


def make_records(system, lengths, seed=1, noise=0.0):
    rng = np.random.default_rng(seed)
    records = []
    for n in lengths:
        u = rng.normal(size=(n, 2))
        y = system.simulate(u, rng.normal(size=4))
        records.append((u, y + noise * rng.normal(size=y.shape)))
    return records


def test_a_simulation_in_blocks_is_that_of_the_loop():
    """Whatever the length, from any state."""
    system = make_system()
    rng = np.random.default_rng(2)
    for n in (1, 63, 64, 65, 200):
        u, x0 = rng.normal(size=(n, 2)), rng.normal(size=4)
        x, expected = x0, []
        for now in u:
            expected.append(system.c @ x + system.d @ now + system.offset)
            x = system.a @ x + system.b @ now
        np.testing.assert_allclose(system.simulate(u, x0), expected, atol=1e-10)


@pytest.mark.parametrize("direct", [True, False])
def test_poles_are_recovered_without_noise(direct):
    """To 1e-6, from records of unequal length that begin anywhere and have gaps."""
    system = make_system(direct)
    records = make_records(system, (500, 333, 131))
    records[0][1][100:103, 1] = np.nan
    found = identify_state_space(records, (4,), direct=direct)[4]
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(found.a)), TRUE_POLES, atol=1e-6)
    assert direct or not found.d.any()
    for u, y in records:
        simulated = found.simulate(u, estimate_start(found, u, y))
        measured = np.isfinite(y)
        np.testing.assert_allclose(simulated[measured], y[measured], atol=1e-6)


def test_poles_outside_of_the_circle_are_reflected():
    """1.25 becomes 0.8, a complex pair keeps its angle, and stable poles stay."""
    outside = np.diag([1.25, 0.5])
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(reflect_poles(outside))), [0.5, 0.8])
    turning = 2.0 * np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
    values = np.linalg.eigvals(reflect_poles(turning))
    np.testing.assert_allclose(np.sort(np.angle(values)), [-0.7, 0.7])
    np.testing.assert_allclose(np.abs(values), 0.5)
    stable = np.diag([0.3, -0.9])
    assert reflect_poles(stable) is stable
    assert np.abs(np.linalg.eigvals(reflect_poles(np.eye(1)))) < 1.0


def make_data(noise=0.0, **options):
    system = make_system()
    splits = {"train": (400, 250), "valid": (300,), "test": (200,)}
    scale_u, scale_y = np.array([2.0, 300.0]), np.array([1.0, 1e-3, 50.0])
    dataset = {}
    for seed, (split, lengths) in enumerate(splits.items()):
        dataset[split] = [
            {
                **dict(zip("ab", (u * scale_u + [0.0, 1000.0]).T, strict=True)),
                **dict(zip("pqr", (y * scale_y).T, strict=True)),
            }
            for u, y in make_records(system, lengths, seed + 1, noise)
        ]
    return create_grain_dls(
        ["a", "b"], ["p", "q", "r"], dataset, win_sz=50, stp_sz=50, bs=4, dt=0.1, valid="files",
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def noisy_data():
    return make_data(noise=0.2)


@pytest.mark.parametrize("spec", [Linear(), ARX()], ids=["linear", "arx"])
def test_a_learner_begins_with_the_model_of_its_data(data, spec):
    """The order is chosen on validation, and the test is simulated without further training."""
    learner = Learner(spec, data, metrics=[rmse], initial_state="window", init_samples=30)
    assert learner.spec.order in (2, 4)
    errors = learner.evaluate("test").channels["rmse"]
    std = dict(zip("pqr", data.signals.stats["y"].std, strict=True))
    assert all(errors[name] < 1e-3 * std[name] for name in "pqr")
    poles = learner.model.poles()
    for pole in TRUE_POLES:
        assert np.abs(poles - pole).min() < 1e-4


def test_validation_prefers_few_states(noisy_data):
    """With noise, higher orders gain next to nothing, and the true one is taken."""
    assert Learner(Linear(), noisy_data).spec.order == 4


def test_responses_are_those_of_scipy(data):
    """In raw units: the step response and the frequency response of each input and output."""
    model = Learner(Linear(order=4), data).model
    own = model.matrices()
    discrete = scipy.signal.dlti(own.a, own.b, own.c, own.d, dt=0.1)
    _, steps = scipy.signal.dstep(discrete, n=60)
    for number, step in enumerate(steps):
        np.testing.assert_allclose(model.step_response(60)[:, :, number], step, atol=1e-8)
    frequencies = np.array([0.1, 0.5, 2.0])
    got = model.frequency_response(frequencies)
    for number in range(2):
        single = scipy.signal.dlti(own.a, own.b[:, [number]], own.c[[1]], own.d[[1]][:, [number]])
        _, expected = scipy.signal.dfreqresp(single, w=2 * np.pi * frequencies * 0.1)
        np.testing.assert_allclose(got[:, 1, number], expected, rtol=1e-6)


def test_matrices_hold_in_raw_units(data):
    """Simulated from them, deviations of the inputs from their mean give the model's outputs."""
    learner = Learner(Linear(order=4), data)
    record = next(iter(learner.training_records()))
    u = record.inputs[0]
    deviation = u - data.signals.stats["u"].mean
    error = learner.model.matrices().simulate(deviation) - predict(learner.model, u)
    assert np.abs(error / data.signals.stats["y"].std).max() < 1e-4


def test_it_is_a_model_as_any_other(data, tmp_path):
    """Trained on, saved and loaded with the order that was chosen."""
    learner = Learner(Linear(), data)
    learner.fit(1, lr=1e-4, show_progress=False)
    loaded = load_model(learner.save(tmp_path / "model"))
    u = np.zeros((30, 2))
    np.testing.assert_array_equal(predict(loaded, u), learner.predict(u))


def test_without_identification_it_is_random(data):
    """`identify=False` builds the model that seeds decide, as for a model to be loaded into."""
    first, second = (
        Learner(Linear(order=2), data, identify=False, seed=seed).model for seed in (0, 1)
    )
    assert not np.allclose(first.b[...], second.b[...])
    assert np.abs(first.poles()).max() < 1.0


def test_what_is_refused(data):
    """Orders and horizons that make no sense, no order where nothing chooses it, short records."""
    for make in (lambda: Linear(order=0), lambda: ARX(order=0), lambda: Linear(horizon=0)):
        with pytest.raises(ConfigError) as caught:
            make()
        print(caught.value)
    with pytest.raises(ConfigError, match="give a longer horizon") as caught:
        Linear(order=4, horizon=4)
    print(caught.value)
    for spec in (Linear(), ARX()):
        with pytest.raises(ModelError, match="has no order") as caught:
            spec.build(data.signals, rngs=nnx.Rngs(0))
        print(caught.value)
    short = [(np.ones((30, 2)), np.ones((30, 3)))]
    with pytest.raises(DataError, match="stretches of 48 samples") as caught:
        Linear(order=10).identify(data.signals, short, short, rngs=nnx.Rngs(0))
    print(caught.value)
    model = Linear(order=2).build(data.signals, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="the matrix a has shape") as caught:
        model.set_matrices(make_system())
    print(caught.value)


def test_short_records_choose_among_what_they_allow():
    """Orders whose horizon does not fit are left out."""
    system = make_system()
    records = make_records(system, (200,))
    signals = make_data().signals
    spec, _ = Linear().identify(signals, records, records, rngs=nnx.Rngs(0))
    assert spec.order <= 6


def test_they_are_found_by_name():
    """As every other model."""
    assert get_model("core/linear") is Linear
    assert get_model("core/arx") is ARX
