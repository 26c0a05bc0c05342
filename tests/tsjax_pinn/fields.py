"""Vector fields of the tests, named in specifications by the place of this file."""

from __future__ import annotations

import jax.numpy as jnp


def tanks(u, x, parameters):
    """Two tanks by Bernoulli's law, of which the level of the second is measured."""
    first = jnp.sqrt(jnp.maximum(x["first"], 1e-3))
    second = jnp.sqrt(jnp.maximum(x["second"], 1e-3))
    return {
        "first": parameters["k4"] * u["pump"] - parameters["k1"] * first,
        "second": parameters["k2"] * first - parameters["k3"] * second,
    }


def oscillator(u, x, parameters):
    """Newton's law of a mass with spring and damper, whose velocity is not measured."""
    force = u["force"] - parameters["damping"] * x["velocity"]
    force = force - parameters["stiffness"] * x["position"]
    return {"position": x["velocity"], "velocity": force / parameters["mass"]}


def lag(u, x, parameters):
    """A first-order lag, in the names of the conformance kit."""
    return {"y_0": parameters["rate"] * (u["u_0"] - x["y_0"])}


def half(u, x, parameters):
    """Leave the velocity to a network."""
    return {"position": x["velocity"]}


def misspelt(u, x, parameters):
    """Return the derivative of what is no state."""
    return {"position": x["velocity"], "velocty": x["position"]}


def not_there(u, x, parameters):
    """Ask for a state that is not there."""
    return {"position": x["speed"], "velocity": x["position"]}


def summed(u, x, parameters):
    """Return one number for all sequences."""
    return {"position": jnp.sum(x["velocity"]), "velocity": x["position"]}


def listed(u, x, parameters):
    """Return no mapping."""
    return x["position"]


def stiff(u, x, parameters):
    """A lag of a millisecond."""
    return {"position": 1000.0 * (u["force"] - x["position"])}


def measured_tanks(u, x, parameters):
    """The tanks of the benchmark in volts, of which a full one spills, in part into the next."""
    rates = tanks({"pump": u["u"]}, {"first": x["first"], "second": x["y"]}, parameters)
    spill, over = (jnp.maximum(x[name] - 10.0, 0.0) for name in ("first", "y"))
    return {
        "first": rates["first"] - parameters["k5"] * spill,
        "y": rates["second"] + parameters["k6"] * spill - parameters["k5"] * over,
    }
