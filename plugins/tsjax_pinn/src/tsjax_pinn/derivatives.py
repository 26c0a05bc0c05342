"""Derivatives in time of sampled signals, by finite differences.

Recurrent outputs are no functions of a continuous time, so that their derivatives come from
neighbouring samples. For functions of time see `tsjax_pinn.exact`.

Signals are (time,), (batch, time) or (batch, time, n), and the derivatives have the same shape:
at the ends, where a stencil does not fit, stands what the docstring says. The functions whose names
end in `_double` add up a stencil with twice the precision of the signal (Knuth's two-sum), so that
the rounding is that of the signal alone; they need no 64-bit mode of JAX.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from tsjax_core.checks import positive
from tsjax_core.errors import ConfigError
from tsjax_core.types import AnyArray, Array


def diff1_forward(signal: AnyArray, dt: float) -> Array:
    """First derivative (s[k+1] - s[k]) / dt, of order dt; the last value is repeated."""
    return _forward(signal, dt, "diff1_forward", double=False)


def diff1_forward_double(signal: AnyArray, dt: float) -> Array:
    """First derivative as by `diff1_forward`, added up in double precision."""
    return _forward(signal, dt, "diff1_forward_double", double=True)


def diff1_central(signal: AnyArray, dt: float) -> Array:
    """First derivative (s[k+1] - s[k-1]) / (2 dt), of order dt^2; one-sided at the ends."""
    s = _Signal(signal, dt, 3, "diff1_central")
    one_sided = s.stencil({0: -1, 1: 1}) / s.dt
    inside = s.stencil({-1: -1, 1: 1}) / (2 * s.dt)
    return s.join(one_sided[:, :1], inside, one_sided[:, -1:])


def diff1_central4_double(signal: AnyArray, dt: float) -> Array:
    """First derivative (-s[k+2] + 8 s[k+1] - 8 s[k-1] + s[k-2]) / (12 dt), of order dt^4.

    It is added up in double precision. The second sample and the last but one have the difference
    of `diff1_central`, the first and the last one the one-sided difference.
    """
    s = _Signal(signal, dt, 5, "diff1_central4_double")
    one_sided = s.stencil({0: -1, 1: 1}, double=True) / s.dt
    second = s.stencil({-1: -1, 1: 1}, double=True) / (2 * s.dt)
    inside = s.stencil({-2: 1, -1: -8, 1: 8, 2: -1}, double=True) / (12 * s.dt)
    return s.join(one_sided[:, :1], second[:, :1], inside, second[:, -1:], one_sided[:, -1:])


def diff2_forward(signal: AnyArray, dt: float) -> Array:
    """Second derivative; the same values as `diff2_central`, whose stencil it shares."""
    return _second(signal, dt, "diff2_forward", double=False)


def diff2_central(signal: AnyArray, dt: float) -> Array:
    """Second derivative (s[k+1] - 2 s[k] + s[k-1]) / dt^2, of order dt^2.

    The first and the last value are repeated at the ends.
    """
    return _second(signal, dt, "diff2_central", double=False)


def diff2_central_double(signal: AnyArray, dt: float) -> Array:
    """Second derivative as by `diff2_central`, added up in double precision."""
    return _second(signal, dt, "diff2_central_double", double=True)


def diff3_forward(signal: AnyArray, dt: float) -> Array:
    """Third derivative (s[k+3] - 3 s[k+2] + 3 s[k+1] - s[k]) / dt^3, of order dt.

    The last value is repeated three times.
    """
    s = _Signal(signal, dt, 4, "diff3_forward")
    inside = s.stencil({0: -1, 1: 3, 2: -3, 3: 1}) / s.dt**3
    return s.join(inside, *[inside[:, -1:]] * 3)


def diff3_central(signal: AnyArray, dt: float) -> Array:
    """Third derivative (s[k+2] - 2 s[k+1] + 2 s[k-1] - s[k-2]) / (2 dt^3), of order dt^2.

    The first two samples have the forward difference, the last two the backward one, of order dt.
    """
    s = _Signal(signal, dt, 5, "diff3_central")
    one_sided = s.stencil({0: -1, 1: 3, 2: -3, 3: 1}) / s.dt**3
    inside = s.stencil({-2: -1, -1: 2, 1: -2, 2: 1}) / (2 * s.dt**3)
    return s.join(one_sided[:, :2], inside, one_sided[:, -2:])


def _forward(signal: AnyArray, dt: float, owner: str, *, double: bool) -> Array:
    s = _Signal(signal, dt, 2, owner)
    inside = s.stencil({0: -1, 1: 1}, double=double) / s.dt
    return s.join(inside, inside[:, -1:])


def _second(signal: AnyArray, dt: float, owner: str, *, double: bool) -> Array:
    s = _Signal(signal, dt, 3, owner)
    inside = s.stencil({-1: 1, 0: -2, 1: 1}, double=double) / s.dt**2
    return s.join(inside[:, :1], inside, inside[:, -1:])


class _Signal:
    """A signal as (batch, time, ...), and what is done with its stencils."""

    def __init__(self, signal: AnyArray, dt: float, least: int, owner: str) -> None:
        values = jnp.asarray(signal)
        if values.ndim not in (1, 2, 3):
            raise ConfigError(
                f"{owner} got a signal of shape {values.shape}; give (time,), (batch, time) or "
                "(batch, time, n)."
            )
        self.alone = values.ndim == 1
        self.values = values[None] if self.alone else values
        if self.values.shape[1] < least:
            raise ConfigError(
                f"{owner} got a signal of {self.values.shape[1]} samples; its stencil needs "
                f"{least} or more."
            )
        self.dt = positive("dt", dt, of=owner)

    def stencil(self, weights: Mapping[int, int], *, double: bool = False) -> Array:
        """Return the sum of the weighted neighbours, at the samples that have all of them."""
        first = min(*weights, 0)
        n = self.values.shape[1] - (max(*weights, 0) - first)
        parts = [w * self.values[:, k - first : k - first + n] for k, w in weights.items()]
        return _sum_doubly(parts) if double else sum(parts[1:], start=parts[0])

    def join(self, *parts: Array) -> Array:
        """Return the parts one after the other in time, in the shape of the signal."""
        whole = jnp.concatenate(parts, axis=1)
        return whole[0] if self.alone else whole


def _sum_doubly(parts: list[Array]) -> Array:
    """Return the sum with the rounding errors of every addition added at the end."""
    total, lost = parts[0], jnp.zeros_like(parts[0])
    for part in parts[1:]:
        new = total + part
        back = new - total
        lost = lost + ((total - (new - back)) + (part - back))
        total = new
    return total + lost
