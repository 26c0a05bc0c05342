"""Strap-down integration of a gyroscope, with a correction by the accelerometer that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import check_choices, check_counts, positive
from tsjax_core.data.checks import listing
from tsjax_core.errors import ConfigError, ModelError
from tsjax_core.models.layers import GRULayer
from tsjax_core.models.recurrent_stack import RecurrentStack, RecurrentState
from tsjax_core.models.scaling import Standardize, require_signals
from tsjax_core.types import AnyArray, Array, Signals
from tsjax_quat.algebra import (
    from_rotation_vector,
    largest_part,
    library_of,
    multiply,
    normalize,
    rotate,
)
from tsjax_quat.channels import VECTOR, Group, find_groups, named_group, quaternion_groups


@dataclass(frozen=True)
class StrapDown:
    """Strap-down integration whose inclination is corrected by the low-passed accelerometer.

    Each sample turns the orientation by the rate of the gyroscope. The specific force, turned into
    the earth's frame and filtered twice by a first-order low-pass, then says where the vertical is,
    and the orientation is tilted towards it. Learned are a bias and a matrix that calibrate the
    gyroscope and the time constant of the filter. With a hidden size, gated recurrent units on the
    inputs learn how bias and time constant change. Before training nothing but the filter acts. The
    heading begins at 0 and drifts. Source of the filter: Laidig and Seel, VQF (2023).

    Args:
        hidden_size: Recurrent units; 0 for a constant bias and a constant time constant, which few
            trials suffice for.
        num_layers: Recurrent layers, one on top of the other.
        gyr: Inputs of the gyroscope in the order x, y, z. Unless given, gyr_x, gyr_y, gyr_z.
        acc: Inputs of the accelerometer in the order x, y, z. Unless given, acc_x, acc_y, acc_z.
            Their unit does not count.
        gyr_unit: Unit of the gyroscope.
        time_constant: Time constant in s at which both filters begin.
    """

    hidden_size: int = 0
    num_layers: int = 1
    gyr: tuple[str, ...] = ()
    acc: tuple[str, ...] = ()
    gyr_unit: Literal["rad/s", "deg/s"] = "rad/s"
    time_constant: float = 2.0
    reads: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_counts(self, hidden_size=0, num_layers=1)
        check_choices(self, "gyr_unit")
        positive("time_constant", self.time_constant)
        for name in ("gyr", "acc"):
            group = getattr(self, name)
            if len(group) not in (0, 3):
                raise ConfigError(
                    f"{name} = {list(group)!r}; give the names of three inputs, in the order x, y, "
                    "z, or none.",
                    key=name,
                )

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> StrapDownModel:
        """Return the model with freshly drawn parameters for the channels in `signals`."""
        return StrapDownModel(self, signals, rngs=rngs)


class Attitude(NamedTuple):
    """The state of the integration, each part (batch, n).

    The orientation, the specific force after each of the two filters in the earth's frame, and the
    number of samples that were seen.
    """

    orientation: Array
    first: Array
    second: Array
    n_seen: Array


StrapDownState = tuple[Attitude, RecurrentState]
"""The state of the integration, and those of the recurrent layers."""


class Changing(nnx.Module):
    """What changes with time: gated recurrent units give three rates and a logarithm of time."""

    def __init__(self, n_in: int, spec: StrapDown, *, rngs: nnx.Rngs) -> None:
        size = spec.hidden_size
        self.stack = RecurrentStack(GRULayer, n_in, size, spec.num_layers, rngs=rngs)
        # Zeros, so that training begins without any correction.
        zeros = nnx.initializers.zeros_init()
        self.head = nnx.Linear(size, 4, use_bias=False, kernel_init=zeros, rngs=rngs)

    def zero_state(self, batch_size: int) -> RecurrentState:
        """Return the state before the first sample."""
        return self.stack.zero_state(batch_size)

    def __call__(self, x: Array, state: RecurrentState) -> tuple[Array, RecurrentState]:
        """Return the corrections (batch, time, 4) for `x` (batch, time, n_in), and the state."""
        features, state = self.stack(x, state)
        return self.head(features), state


class StrapDownModel(nnx.Module):
    """Gyroscope and accelerometer in, the unit quaternion from sensor to earth out.

    Raises:
        ModelError: The sampling time is not known, or the outputs are not one quaternion.
    """

    def __init__(self, spec: StrapDown, signals: Signals, *, rngs: nnx.Rngs) -> None:
        require_signals(signals, ["u", "y"], "StrapDown")
        if signals.dt is None:
            raise ModelError(
                "StrapDown integrates a rate over time, and the sampling time is not known: store "
                "the file attribute 'dt' (s) or 'fs' (Hz), or give dt in the data."
            )
        groups = quaternion_groups(signals.outputs)
        if len(groups) != 1 or len(signals.outputs) != 4:
            raise ModelError(
                f"StrapDown gives one quaternion, and the outputs are {listing(signals.outputs)}; "
                "read the four channels of one quaternion."
            )
        self.spec = spec
        self.dt = float(signals.dt)
        self.order = groups[0]
        self.gyr = _inputs(signals.inputs, spec.gyr, "gyr")
        self.acc = _inputs(signals.inputs, spec.acc, "acc")
        self.u_scale = Standardize(signals.stats["u"])
        self.unit = 1.0 if spec.gyr_unit == "rad/s" else float(np.pi / 180.0)
        self.bias = nnx.Param(jnp.zeros(3))
        self.calibration = nnx.Param(jnp.zeros((3, 3)))
        self.log_time_constant = nnx.Param(jnp.log(jnp.float32(spec.time_constant)))
        changes = spec.hidden_size > 0
        self.changing = Changing(len(signals.inputs), spec, rngs=rngs) if changes else None

    def quantities(self) -> dict[str, tuple[Array, str]]:
        """Return the learned time constant and the bias of each axis."""
        biases = {
            f"bias_{axis}": (BIAS_SCALE * self.bias[...][number], "rad/s")
            for number, axis in enumerate(VECTOR)
        }
        return {"time_constant": (jnp.exp(self.log_time_constant[...]), "s"), **biases}

    def initial_state(self, batch_size: int) -> StrapDownState:
        """Return the state before the first sample, whose force says how it is inclined."""
        zeros = jnp.zeros((batch_size, 3))
        start = jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), (batch_size, 1))
        attitude = Attitude(start, zeros, zeros, jnp.zeros((batch_size, 1)))
        return attitude, () if self.changing is None else self.changing.zero_state(batch_size)

    def __call__(self, u: Array) -> Array:
        """Return the orientation at every sample of `u` (batch, time, n_u), (batch, time, 4)."""
        return self.advance(u, self.initial_state(u.shape[0]))[0]

    def advance(self, u: Array, state: StrapDownState) -> tuple[Array, StrapDownState]:
        """Integrate one chunk from `state`; return its outputs and the state after it."""
        attitude, hidden = state
        rate = self.unit * u[..., jnp.array(self.gyr)]
        rate = rate + rate @ self.calibration[...] - BIAS_SCALE * self.bias[...]
        log_tau = jnp.broadcast_to(self.log_time_constant[...], (*u.shape[:2], 1))
        if self.changing is not None:
            correction, hidden = self.changing(self.u_scale.normalize(u), hidden)
            rate = rate - BIAS_SCALE * correction[..., :3]
            log_tau = log_tau + correction[..., 3:]
        gain = -jnp.expm1(-self.dt * jnp.exp(-log_tau))
        turn = from_rotation_vector(self.dt * rate)
        force = u[..., jnp.array(self.acc)]
        inputs = [jnp.swapaxes(x, 0, 1) for x in (turn, force, gain)]
        attitude, q = jax.lax.scan(_step, attitude, inputs)
        out = jnp.zeros_like(q).at[..., jnp.array(self.order)].set(q)
        return jnp.swapaxes(out, 0, 1), (attitude, hidden)


BIAS_SCALE = 0.01
"""rad/s of one unit of the learned bias, which gyroscopes have at most a few of."""


def _step(state: Attitude, inputs: Sequence[Array]) -> tuple[Attitude, Array]:
    """Turn by one sample, filter the specific force, and tilt the earth's frame towards it."""
    turn, force, gain = inputs
    turned = multiply(state.orientation, turn)
    measured = rotate(turned, force)
    # At first both filters are the mean of all samples so far.
    gain = gain + (1.0 - gain) / (state.n_seen + 1.0)
    first = state.first + gain * (measured - state.first)
    second = state.second + gain * (first - state.second)
    tilt = tilt_to_vertical(second)
    orientation = jnp.asarray(normalize(multiply(tilt, turned)))
    first, second = jnp.asarray(rotate(tilt, first)), jnp.asarray(rotate(tilt, second))
    return Attitude(orientation, first, second, state.n_seen + 1.0), orientation


def tilt_to_vertical(v: AnyArray) -> AnyArray:
    """Return the smallest rotation (..., 4) that takes the direction of `v` (..., 3) to the z axis.

    It is half a turn about the x axis for a `v` straight downwards, and the identity for a 0.
    """
    xp = library_of(v)
    v = xp.asarray(v)
    # The square of a length, not too small for the root to have a derivative.
    largest = largest_part(v)
    nothing = largest == 0.0
    scaled = v / xp.where(nothing, 1.0, largest)
    square = xp.sum(xp.square(scaled), axis=-1, keepdims=True)
    unit = scaled / xp.sqrt(xp.where(nothing, 1.0, square))
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    down = z < -1.0 + 1e-6
    zero = xp.zeros_like(z)
    q = xp.stack(
        [
            xp.where(down, 0.0, 1.0 + z),
            xp.where(down, 1.0, y),
            xp.where(down, 0.0, -x),
            zero,
        ],
        axis=-1,
    )
    return normalize(q)


def integrate_rates(gyr: AnyArray, dt: float, start: AnyArray | None = None) -> Array:
    """Return the orientations (..., time, 4) after each rate of `gyr` (..., time, 3) in rad/s.

    The plain strap-down integration, in single precision: q_t = start exp(dt gyr_0) ... exp(dt
    gyr_t), where each rate holds for `dt` s. It begins at the identity, or at `start` (..., 4).
    """
    rates = jnp.asarray(gyr, jnp.float32)
    first = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0]), (*rates.shape[:-2], 4))
    begin = first if start is None else jnp.broadcast_to(jnp.asarray(start), first.shape)
    q: Array = _integrate(rates, dt, begin)
    return q


@jax.jit
def _integrate(rates: Array, dt: float, start: Array) -> Array:
    def step(q: Array, turn: Array) -> tuple[Array, Array]:
        q = jnp.asarray(normalize(multiply(q, turn)))
        return q, q

    turns = jnp.moveaxis(jnp.asarray(from_rotation_vector(dt * rates)), -2, 0)
    q = jax.lax.scan(step, jnp.asarray(start, rates.dtype), turns)[1]
    return jnp.moveaxis(q, 0, -2)


def _inputs(names: Sequence[str], given: Sequence[str], option: str) -> Group:
    if given:
        return named_group(names, given, VECTOR, of=option)
    found = find_groups(names, VECTOR)
    for stem in (f"{option}_", option):
        if stem in found:
            return found[stem]
    raise ConfigError(
        f"StrapDown found no inputs {option}_x, {option}_y and {option}_z among {listing(names)}; "
        f"give {option} as the names of three inputs.",
        key=option,
    )
