"""Equations of the tests, named in experiments by the place of this file."""

from __future__ import annotations


def oscillator(u, y, derivatives, parameters):
    """Newton's law of a mass with spring and damper, whose velocity is not measured."""
    x, v = y["position"], y["velocity"]
    return {
        "velocity": derivatives.first(x) - v,
        "force": parameters["mass"] * derivatives.first(v)
        + parameters["damping"] * v
        + parameters["stiffness"] * x
        - u["force"],
    }


def fixed(u, y):
    """Take too few arguments."""
    return y
