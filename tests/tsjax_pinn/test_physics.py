"""Physics and collocation losses against values computed by hand."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core import GRU, Bounded, FrozenMapping
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.types import NormStats, Signals
from tsjax_pinn import PIRNN, Auxiliary, Constant, collocation_loss, physics_loss

EQUATIONS = Path(__file__).parent / "equations.py"
STATS = {"u": NormStats([1.0], [2.0]), "y": NormStats([3.0], [0.5])}
SIGNALS = Signals(("flow",), ("level",), STATS, 0.1)
KNOWN = FrozenMapping({"gain": Constant(0.5, "1/s")})


def tank(u, y, derivatives, parameters):
    """Return level' = gain (flow - level)."""
    return derivatives.first(y["level"]) - parameters["gain"] * (u["flow"] - y["level"])


class Plain:
    """A model without physical parameters."""


def value(loss, pred, u, *, model=None, signals=SIGNALS, batch=(), **given):
    offered = {
        "batch": {"u": u, **dict(batch)},
        "model": model or Plain(),
        "signals": signals,
        "aux": {},
        "key": jax.random.key(0),
        "progress": jnp.float32(0.5),
        **given,
    }
    stats = signals.stats["y"]
    chosen = {name: offered[name] for name in loss.wants}
    return float(loss(pred, pred, stats.mean, stats.std, **chosen))


@pytest.fixture(scope="module")
def data():
    """Return flow and level (2, 30, 1)."""
    rng = np.random.default_rng(0)
    return [jnp.asarray(np.cumsum(rng.standard_normal((2, 30, 1)), 1), jnp.float32) for _ in "uy"]


def test_the_value_is_the_mean_square_of_the_residuals(data):
    """In physical units, over the scale, without the samples at the ends."""
    u, y = data
    got = value(physics_loss(tank, constants=KNOWN, scales=FrozenMapping({"residual": 2.0})), y, u)
    slope = np.gradient(np.asarray(y)[..., 0], 0.1, axis=1)
    residual = slope - 0.5 * (np.asarray(u) - np.asarray(y))[..., 0]
    assert got == pytest.approx(np.mean((residual[:, 2:-2] / 2.0) ** 2), rel=1e-4)
    by_name = physics_loss(lambda *a: {"a": tank(*a), "b": 2 * tank(*a)}, constants=KNOWN)
    assert value(by_name, y, u) == pytest.approx(4 * got * 5, rel=1e-4)


def test_a_solution_of_the_equation_costs_nothing():
    """Of level' = gain (flow - level) with a constant flow."""
    t = 0.1 * np.arange(40)
    y = jnp.asarray(1.0 + 2.0 * np.exp(-0.5 * t), jnp.float32)[None, :, None]
    u = jnp.ones_like(y)
    assert value(physics_loss(tank, "central4", KNOWN), y, u) < 1e-9
    assert value(physics_loss(tank, "forward", KNOWN), y, u) > 1e-5


def test_skipped_and_filled_samples_do_not_count(data):
    """The samples of the prediction are the last ones; stencils across a gap do not count."""
    u, y = data
    loss = physics_loss(tank, constants=KNOWN)
    assert value(loss, y[:, 5:], u) == pytest.approx(value(loss, y[:, 5:], u[:, 5:]))
    position = np.tile(np.arange(30), (2, 1))
    position[0, 20:] = -1
    wild = y.at[0, 20:].set(1e6)
    got = value(loss, wild, u, batch={"position": position})
    slope = np.gradient(np.asarray(y)[..., 0], 0.1, axis=1)
    residual = slope - 0.5 * (np.asarray(u) - np.asarray(y))[..., 0]
    counted = np.concatenate([residual[0, 2:18], residual[1, 2:-2]])
    assert got == pytest.approx(np.mean(counted**2), rel=1e-4)


def test_the_weight_rises_with_progress(data):
    """From nothing at the begin of the ramp to all at its end."""
    u, y = data
    full = value(physics_loss(tank, constants=KNOWN), y, u)
    loss = physics_loss(tank, constants=KNOWN, ramp_begin=0.2, ramp_end=0.6)
    for progress, part in ((0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.6, 1.0), (1.0, 1.0)):
        got = value(loss, y, u, progress=jnp.float32(progress))
        assert got == pytest.approx(part * full, rel=1e-4, abs=1e-5)
    sudden = physics_loss(tank, constants=KNOWN, ramp_begin=0.5, ramp_end=0.5)
    assert value(sudden, y, u, progress=jnp.float32(0.4)) == 0.0
    assert value(sudden, y, u) == pytest.approx(full)


@pytest.fixture(scope="module")
def pirnn():
    """Return a model with an unknown gain and an auxiliary output."""
    spec = PIRNN(
        hidden_size=3,
        init_window=4,
        encoder_size=3,
        auxiliary=FrozenMapping({"rate": Auxiliary(0.0, 2.0)}),
        parameters=FrozenMapping({"gain": Bounded(0.5, 0.0, 2.0, "1/s")}),
    )
    return spec.build(SIGNALS, rngs=nnx.Rngs(0))


def test_parameters_and_auxiliary_outputs_are_those_of_the_model(pirnn, data):
    """Both have a gradient by the physics."""
    u, y = data

    def rate(u, y, derivatives, parameters):
        return y["rate"] - parameters["gain"] * (u["flow"] - y["level"])

    loss = physics_loss(rate)

    def cost(model):
        pred, aux = model.call_with_aux(u, y)
        options = {"batch": {"u": u}, "model": model, "signals": SIGNALS, "aux": aux}
        return loss(pred[:, 4:], y[:, 4:], *(jnp.ones(1),) * 2, **options)

    pred, aux = pirnn.call_with_aux(u, y)
    residual = aux["auxiliary"] - 0.5 * (u - pred)
    expected = jnp.mean(jnp.square(residual[:, 6:-2]))
    gradient = nnx.jit(nnx.grad(cost))(pirnn)
    assert float(cost(pirnn)) == pytest.approx(float(expected), rel=1e-4)
    assert np.abs(gradient["physical"]["gain"]["raw"][...]) > 0.0
    assert np.abs(np.asarray(gradient["head"]["out"]["kernel"][...])[:, 1]).min() > 0.0


@pytest.mark.slow
def test_collocation_begins_where_it_is_told(pirnn, data):
    """From encoded outputs, a random state, or rest; equal keys give equal values."""
    u, y = data
    seen = {}
    for initial in ("state_encoder", "random_hidden", "zero"):
        loss = collocation_loss(tank, initial, time=25)
        seen[initial] = value(loss, y, u, model=pirnn)
        assert value(loss, y, u, model=pirnn) == seen[initial]
        assert value(loss, y, u, model=pirnn, key=jax.random.key(1)) != seen[initial]
        # No measured value is looked at.
        assert value(loss, y + 1.0, u + 1.0, model=pirnn) == seen[initial]
    assert len(set(seen.values())) == 3
    held = collocation_loss(tank, time=25, begin_weight=1.0)
    assert value(held, y, u, model=pirnn) > seen["state_encoder"]
    gru = GRU(hidden_size=2).build(SIGNALS, rngs=nnx.Rngs(0))
    plain = collocation_loss(tank, "zero", constants=KNOWN)
    assert np.isfinite(value(plain, y, u, model=gru))
    with pytest.raises(ModelError) as caught:
        value(collocation_loss(tank, constants=KNOWN), y, u, model=gru)
    print(caught.value)
    assert "needs a model with encode_state and simulate_from" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        value(plain, y, u)
    print(caught.value)
    assert "Plain has no initial_state and advance" in str(caught.value)


def test_a_residual_is_named_by_its_place(data):
    """In a module or a file, and a mistake in the place is reported."""
    for place, part in (
        (f"{EQUATIONS}:oscilator", "has no 'oscilator'. Did you mean 'oscillator'?"),
        (f"{EQUATIONS}:fixed", "'fixed' has the signature (u, y), and is called with"),
        ("nowhere.py:tank", "nowhere.py cannot be imported (there is no file nowhere.py)"),
        ("no_such_module:tank", "no_such_module cannot be imported"),
        ("tank", "give 'module:function' or 'file.py:function'"),
        (3, "residual = 3; give a function"),
    ):
        with pytest.raises(ConfigError) as caught:
            physics_loss(place)
        print(caught.value)
        assert part in str(caught.value)
    assert physics_loss(f"{EQUATIONS}:oscillator").equations.residual.__name__ == "oscillator"
    with pytest.raises(ConfigError) as caught:
        value(physics_loss(f"{EQUATIONS}:oscillator"), data[1], data[0])
    print(caught.value)
    assert "asks for the output 'position', and there is none" in str(caught.value)


def test_a_residual_of_another_shape_is_refused(data):
    """As are scales without an equation, short windows and a missing sampling time."""
    u, y = data
    no_dt = Signals(("flow",), ("level",), STATS, None)
    named = {"gain": Bounded(0.5, 0.0, 2.0)}
    model = PIRNN(2, parameters=FrozenMapping(named)).build(SIGNALS, rngs=nnx.Rngs(0))
    scales = FrozenMapping({"mass": 1.0})
    for loss, given, part in (
        (physics_loss(lambda u, y, d, p: y["level"][:, 1:]), {}, "has shape (2, 29)"),
        (physics_loss(lambda u, y, d, p: jnp.zeros(())), {}, "has shape (), and should have"),
        (physics_loss(tank, constants=KNOWN, scales=scales), {}, "a scale for 'mass'"),
        (physics_loss(tank, constants=KNOWN, trim=15), {}, "trim = 15 leaves none"),
        (physics_loss(tank, constants=KNOWN), {"signals": no_dt}, "needs the sampling time"),
        (physics_loss(tank), {}, "asks for the parameter 'gain', and there is none"),
        (physics_loss(tank, constants=KNOWN), {"model": model}, "a parameter of the model too"),
    ):
        with pytest.raises(ConfigError) as caught:
            value(loss, y, u, **given)
        print(caught.value)
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "make,part",
    [
        (lambda: Constant(float("inf"), "kg"), "Constant got value = inf; give a finite number"),
        (lambda: Constant(1.0, "kq"), "'kq' is no unit that is known. Write powers"),
        (lambda: Constant(1.0, "N/(m s"), "which is no product of powers of units"),
        (lambda: Constant(1.0, 3), "unit = 3; give a text"),
        (lambda: physics_loss(tank, "backward"), "difference = 'backward'; give one of"),
        (lambda: physics_loss(tank, trim=-1), "trim = -1"),
        (lambda: physics_loss(tank, scales=FrozenMapping({"a": 0.0})), "scales.a = 0.0"),
        (lambda: physics_loss(tank, ramp_begin=0.5), "the ramp ends where it begins or later"),
        (lambda: physics_loss(tank, ramp_end=2.0), "ramp_end = 2.0"),
        (lambda: collocation_loss(tank, "rest"), "initial = 'rest'; give one of"),
        (lambda: collocation_loss(tank, kinds=("saw",)), "kinds = 'saw'"),
        (lambda: collocation_loss(tank, hidden_std=0.0), "hidden_std = 0.0"),
        (lambda: collocation_loss(tank, begin_weight=-1.0), "begin_weight = -1.0"),
        (lambda: collocation_loss(tank, time=0), "time = 0"),
    ],
)
def test_options_out_of_range_are_refused(make, part):
    """With what was got and what to give."""
    with pytest.raises(ConfigError) as caught:
        make()
    print(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize("unit", ["", "N s/m", "V^0.5/s", "kg*m^2", "1/s", "°C", "µm", "s^-1", "-"])
def test_units_of_physics_are_known(unit):
    """Products of powers, with the prefixes of the SI."""
    assert Constant(1.0, unit).unit == unit


def test_a_model_without_intermediate_values_has_no_auxiliary_outputs():
    """Its loss can leave them out."""
    assert "aux" not in physics_loss(tank, auxiliary=False).wants
