"""PINC and DD-PINN as functions of time, and the loss that trains them without measured signals."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.integrate import solve_ivp

from tsjax_core import (
    GRU,
    FrozenMapping,
    Simulator,
    compose_losses,
    create_grain_dls,
    normalized_mse,
    predict_stateful,
)
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.types import NormStats, Signals
from tsjax_pinn import (
    DDPINN,
    PINC,
    Auxiliary,
    Constant,
    DDPINNLearner,
    PINCLearner,
    surrogate_loss,
    time_derivatives,
)

EQUATIONS = Path(__file__).parent / "equations.py"
STATS = {"u": NormStats([1.0], [2.0]), "y": NormStats([3.0], [0.5])}
SIGNALS = Signals(("force",), ("position",), STATS, 0.05)
MORE = FrozenMapping({"velocity": Auxiliary(0.5, 2.0, "m/s")})
KNOWN = FrozenMapping(
    {
        "mass": Constant(1.0, "kg"),
        "damping": Constant(0.6, "N s/m"),
        "stiffness": Constant(4.0, "N/m"),
    }
)


@pytest.fixture(scope="module")
def models():
    """Return a small PINC and a small DD-PINN."""
    small = {"hidden_size": 4, "auxiliary": MORE}
    specs = {"pinc": PINC(**small), "ddpinn": DDPINN(basis=2, **small)}
    return {name: spec.build(SIGNALS, rngs=nnx.Rngs(0)) for name, spec in specs.items()}


@pytest.fixture(scope="module")
def begin():
    """Return states (5, 2), inputs (5, 1) and times (5, 3) of an interval."""
    rng = np.random.default_rng(0)
    x = rng.normal([3.0, 0.5], [0.5, 2.0], (5, 2)).astype("f4")
    return x, rng.normal(1.0, 2.0, (5, 1)).astype("f4"), rng.uniform(0, 0.05, (5, 3)).astype("f4")


@pytest.mark.parametrize("kind", ["pinc", "ddpinn"])
def test_derivatives_are_those_of_the_trajectory(kind, models, begin):
    """To 1e-6 of their size, in 64-bit numbers: closed formulas, and forward mode."""
    with jax.enable_x64(True):
        model = models[kind]
        x, u, t = (jnp.asarray(value, jnp.float64) for value in begin)
        got = jax.jit(lambda t: model.trajectory(x, u, t, 3))(t)
        exact = time_derivatives(lambda t: model.trajectory(x, u, t)[0], t, 3)
        for order, (value, expected) in enumerate(zip(got, exact, strict=True)):
            assert value.shape == (5, 3, 2)
            np.testing.assert_allclose(
                value, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(), err_msg=str(order)
            )
        h = 1e-5
        step = model.trajectory(x, u, t + h)[0] - model.trajectory(x, u, t - h)[0]
        np.testing.assert_allclose(got[1], step / (2 * h), rtol=1e-5, atol=1e-4)


def test_damped_oscillations_meet_the_initial_state(models, begin):
    """Exactly, whatever the parameters; PINC has to learn it."""
    x, u, _ = begin
    zero = np.zeros((5, 1), "f4")
    np.testing.assert_allclose(models["ddpinn"].trajectory(x, u, zero)[0][:, 0], x, atol=1e-6)
    assert np.abs(models["pinc"].trajectory(x, u, zero)[0][:, 0] - x).max() > 0.01


@pytest.mark.parametrize("kind", ["pinc", "ddpinn"])
def test_the_end_of_an_interval_is_the_begin_of_the_next(kind, models, begin):
    """From states by name or in columns, by chunks and by a simulator, with the input held."""
    model, (x, _, _) = models[kind], begin
    u = np.random.default_rng(1).normal(1.0, 2.0, (5, 6, 1)).astype("f4")
    end = np.full((5, 1), SIGNALS.dt, "f4")
    solve = jax.jit(lambda x, u: model.trajectory(x, u, end)[0][:, 0])
    expected = [jnp.asarray(x)]
    for k in range(5):
        expected.append(solve(expected[-1], u[:, k]))
    states = model.begin_from(x)
    by_name = model.begin_from({"velocity": x[:, 1], "position": x[:, 0]})
    np.testing.assert_array_equal(states.x, by_name.x)
    got, _ = predict_stateful(model, u, states, chunk=4)
    np.testing.assert_allclose(got, np.stack(expected, 1)[..., :1], rtol=1e-5, atol=1e-5)
    simulator = Simulator(model)
    simulator.reset(jax.tree.map(lambda part: part[:1], states))
    steps = [simulator.step(u[0, k]) for k in range(3)]
    np.testing.assert_allclose(steps, got[0, :3], rtol=1e-5, atol=1e-5)


def draw(loss, model, signals=SIGNALS, seed=0):
    """Return the value of a loss that draws its own states and inputs."""
    return float(
        loss(None, None, None, None, model=model, signals=signals, key=jax.random.key(seed))
    )


def seen_by(model, **options):
    """Return what the residual of a loss was given: u, y, derivatives, parameters."""
    seen = []

    def residual(*given):
        seen.append(given)
        return given[1]["position"]

    draw(surrogate_loss(residual, **options), model)
    return seen[0]


def test_states_and_inputs_are_drawn_from_their_ranges():
    """Those that are declared, and else around the mean."""
    model = DDPINN(4, basis=1, auxiliary=MORE).build(SIGNALS, rngs=nnx.Rngs(0))
    last = model.interval.network.out
    # Without amplitudes the states stay where they begin.
    for parameter in (last.kernel, last.bias):
        parameter.set_value(0.0 * parameter[...])
    ranges = FrozenMapping({"velocity": (10.0, 11.0), "force": (-7.0, -6.0)})
    u, y, _, _ = seen_by(model, ranges=ranges, starts=400, times=3)
    assert y["position"].shape == u["force"].shape == (400, 3)
    np.testing.assert_array_equal(u["force"], np.repeat(u["force"][:, :1], 3, 1))
    for values, low in ((u["force"], -7.0), (y["velocity"], 10.0), (y["position"] / 2, 1.0)):
        assert low <= values.min() < low + 0.05
        assert low + 1.0 >= values.max() > low + 0.95


def test_the_loss_is_that_of_the_exact_residual(models):
    """Mean square over drawn points, and the distance from the initial state per interval."""
    model = models["pinc"]
    u, y, derivatives, parameters = seen_by(model, constants=KNOWN)
    x, v = y["position"], y["velocity"]
    first = derivatives.first(x) - v
    second = derivatives.first(v) + 0.6 * v + 4.0 * x - u["force"]
    expected = np.mean(np.square(first)) + np.mean(np.square(second / 5.0))
    by_place = partial(
        surrogate_loss,
        f"{EQUATIONS}:oscillator",
        constants=KNOWN,
        scales=FrozenMapping({"force": 5.0}),
    )
    got = draw(by_place(begin_weight=0.0), model)
    assert got == pytest.approx(expected, rel=1e-4)
    begin = draw(by_place(begin_weight=2.0), model) - got
    assert begin > 0.0
    assert draw(by_place(begin_weight=1.0), model) - got == pytest.approx(begin / 2, rel=1e-3)
    damped = models["ddpinn"]
    assert draw(by_place(), damped) == pytest.approx(draw(by_place(begin_weight=0.0), damped))
    assert draw(by_place(), model) == draw(by_place(), model) != draw(by_place(), model, seed=1)
    assert parameters["mass"] == 1.0


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda: PINC(num_layers=0), "num_layers = 0"),
        (lambda: DDPINN(basis=0), "basis = 0"),
        (lambda: surrogate_loss("nowhere.py:law"), "nowhere.py cannot be imported"),
        (lambda: of_tank(begin_weight=-1.0), "begin_weight = -1.0"),
        (lambda: of_tank(spread=0.0), "spread = 0.0"),
        (lambda: of_tank(starts=0), "starts = 0"),
        (lambda: of_tank(times=0), "times = 0"),
        (lambda: of_tank(ranges=FrozenMapping({"force": (2.0, 1.0)})), "ranges.force = (2.0, 1.0)"),
        (
            lambda: of_tank(ranges=FrozenMapping({"force": (0.0, float("inf"))})),
            "ranges.force = (0.0, inf); give the ends of its range",
        ),
    ],
)
def test_options_out_of_range_are_refused(make, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert part in str(caught.value)


def of_tank(**options):
    return surrogate_loss(lambda u, y, d, p: y["position"], **options)


def test_what_does_not_fit_the_model_is_refused_when_the_loss_is_computed(models):
    """Ranges of unknown names, residuals of another shape, derivatives of no channel."""
    no_dt = Signals(("force",), ("position",), STATS, None)
    model = models["ddpinn"]
    for loss, part in (
        (of_tank(ranges=FrozenMapping({"velocty": (0.0, 1.0)})), "Did you mean 'velocity'?"),
        (surrogate_loss(lambda u, y, d, p: y["position"][:1]), "has shape (1, 8)"),
        (surrogate_loss(lambda u, y, d, p: d.first(2 * y["position"])), "that is no channel of y"),
        (surrogate_loss(lambda u, y, d, p: p["mass"]), "asks for the parameter 'mass'"),
    ):
        with pytest.raises(ConfigError) as caught:
            draw(loss, model)
        print(caught.value)
        assert part in str(caught.value)
    with pytest.raises(ModelError) as caught:
        draw(of_tank(), GRU(hidden_size=2).build(SIGNALS, rngs=nnx.Rngs(0)))
    print(caught.value)
    assert "a function of time within an interval" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        PINC().build(no_dt, rngs=nnx.Rngs(0))
    print(caught.value)
    assert "PINC needs the sampling time" in str(caught.value)
    for given, part in (
        ({"position": np.zeros(1)}, "give position, velocity"),
        (np.zeros((1, 3)), "give (batch, 2), the columns position, velocity"),
    ):
        with pytest.raises(ModelError) as caught:
            model.begin_from(given)
        print(caught.value)
        assert part in str(caught.value)


def pendulum(u, y, derivatives, parameters):
    """A driven pendulum, whose speed is not measured."""
    angle, speed = y["angle"], y["speed"]
    return {
        "speed": derivatives.first(angle) - speed,
        "torque": derivatives.first(speed)
        + parameters["damping"] * speed
        + parameters["gravity"] * jnp.sin(angle)
        - u["torque"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("make,most", [(PINCLearner, 0.05), (DDPINNLearner, 0.02)])
def test_a_surrogate_of_a_pendulum_follows_an_accurate_solution(make, most):
    """Trained on equations alone, over 200 intervals, beside the solution by SciPy.

    The error is below 5 % of the angle's standard deviation for PINC, and 2 % for DD-PINN.
    """
    dt, rng = 0.1, np.random.default_rng(0)
    torque = np.repeat(rng.uniform(-3.0, 3.0, 20), 10)
    x, states = np.array([0.5, 0.0]), []
    for u in torque:
        states.append(x)

        def field(_, x, u=u):
            return [x[1], u - 0.5 * x[1] - 4.0 * np.sin(x[0])]

        x = solve_ivp(field, (0.0, dt), x, rtol=1e-8, atol=1e-10).y[:, -1]
    expected = np.array(states)[:, 0]
    # Of the data, their scale and sampling time alone have a part in the training.
    record = {"torque": torque, "angle": rng.uniform(-1.5, 1.5, 200)}
    data = create_grain_dls(
        ["torque"],
        ["angle"],
        {"train": [record] * 5, "valid": record, "test": record},
        win_sz=20,
        stp_sz=20,
        bs=1,
        dt=dt,
    )
    learner = make(
        data,
        hidden_size=32,
        auxiliary=FrozenMapping({"speed": Auxiliary(0.0, 1.5, "rad/s")}),
        loss=surrogate_loss(
            pendulum,
            FrozenMapping({"angle": (-2.5, 2.5), "speed": (-5.0, 5.0), "torque": (-3.0, 3.0)}),
            FrozenMapping({"damping": Constant(0.5, "1/s"), "gravity": Constant(4.0, "1/s^2")}),
            starts=128,
            times=4,
        ),
    )
    learner.fit(80, lr=4e-3, show_progress=False)
    begin = learner.model.begin_from({"angle": np.array([0.5]), "speed": np.array([0.0])})
    got, _ = predict_stateful(learner.model, torque[:, None], begin)
    error = np.sqrt(np.mean((got[:, 0] - expected) ** 2)) / expected.std()
    print(make.__name__, learner.steps, "steps, error", error, "of the standard deviation")
    assert error < most


@pytest.mark.slow
def test_a_loss_of_equations_stands_beside_one_of_data(oscillator):
    """Both are terms of the history."""
    data = create_grain_dls(["force"], ["position"], oscillator, win_sz=20, stp_sz=20, bs=4)
    law = surrogate_loss(f"{EQUATIONS}:oscillator", constants=KNOWN, starts=8, times=2)
    learner = DDPINNLearner(
        data,
        hidden_size=4,
        auxiliary=MORE,
        loss=compose_losses((normalized_mse, 1.0), (law, 0.1)),
    )
    (result,) = learner.fit(1, show_progress=False)
    assert set(result.terms) == {"normalized_mse", "surrogate_loss"}
    assert np.isfinite(result.valid_loss)
