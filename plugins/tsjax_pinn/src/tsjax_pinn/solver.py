"""Solvers of differential equations over one sampling interval, those of Diffrax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import jax
import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.types import Array

Solver: TypeAlias = Literal["euler", "heun", "bosh3", "tsit5", "dopri8", "kvaerno3", "kvaerno5"]

_NAMES: Final = {
    "euler": "Euler",
    "heun": "Heun",
    "bosh3": "Bosh3",
    "tsit5": "Tsit5",
    "dopri8": "Dopri8",
    "kvaerno3": "Kvaerno3",
    "kvaerno5": "Kvaerno5",
}

IMPLICIT: Final = ("kvaerno3", "kvaerno5")
"""Solvers for stiff equations, which choose their own steps."""

_MOST_STEPS: Final = 512
"""Steps of one interval after which a solver that chooses them gives up."""

Field: TypeAlias = Callable[[Array, Array], Array]
"""`field(u, x)`, the derivative (batch, n) of the states `x` (batch, n) under the input `u`."""


@dataclass(frozen=True)
class Method:
    """How states are integrated over one sampling interval.

    Args:
        solver: Method of Diffrax.
        substeps: Equal steps, without a tolerance.
        tolerance: Absolute and relative error by which the solver chooses its own steps.
        linear: Whether the input changes in a straight line, or is held.
    """

    solver: Solver
    substeps: int
    tolerance: float | None
    linear: bool

    def integrate(self, field: Field, x: Array, before: Array, now: Array, dt: float) -> Array:
        """Return the states (batch, n) after `dt` from `x`, the input going from `before` to `now`.

        With a tolerance, they are infinite where the solver gives up.
        """

        def input_at(t: Any, first: Array, last: Array) -> Array:
            return first + (last - first) * (t / dt) if self.linear else first

        if self.tolerance is None:
            return self._integrate_steps(lambda t, x: field(input_at(t, before, now), x), x, dt)

        def one(x: Array, first: Array, last: Array) -> Array:
            def alone(t: Any, x: Array) -> Array:
                return field(input_at(t, first, last)[None], x[None])[0]

            return self._integrate_within(alone, x, dt)

        # Each row has steps of its own, so that no row depends on the others.
        return jax.vmap(one)(x, before, now)

    def _integrate_steps(self, slope: Callable[..., Array], x: Array, dt: float) -> Array:
        diffrax = _import()
        method = getattr(diffrax, _NAMES[self.solver])()
        term = diffrax.ODETerm(lambda t, x, _: slope(t, x))
        times = np.linspace(0.0, dt, self.substeps + 1, dtype=np.float32)

        def step(x: Array, ends: Any) -> tuple[Array, None]:
            # Begun anew in each step, so that the method needs no memory beside the state.
            state = method.init(term, *ends, x, None)
            return method.step(term, *ends, x, None, state, made_jump=False)[0], None

        if self.substeps == 1:
            return step(x, times)[0]
        return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]

    def _integrate_within(self, slope: Callable[..., Array], x: Array, dt: float) -> Array:
        diffrax = _import()
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, _: slope(t, x)),
            getattr(diffrax, _NAMES[self.solver])(),
            t0=0.0,
            t1=dt,
            dt0=dt,
            y0=x,
            stepsize_controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            max_steps=_MOST_STEPS,
            # A step of training is skipped instead, as wherever a loss is not finite.
            throw=False,
        )
        end: Array = found.ys[-1]
        return end


def require_diffrax(owner: str) -> Any:
    """Return the module `diffrax`; ConfigError where it is not installed."""
    try:
        return _import()
    except ImportError as error:
        raise ConfigError(
            f"{owner} integrates by Diffrax, which is not installed ({error}). Install it with "
            'pip install "tsjax-pinn[diffrax]".',
            key="solver",
        ) from error


@cache
def _import() -> Any:
    import diffrax

    return diffrax
