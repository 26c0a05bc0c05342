"""Random excitation signals, for equations that are to hold without measured data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from tsjax_core.checks import choice, is_number, positive, share, whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.types import Array

Kind: TypeAlias = Literal[
    "sine", "multisine", "step", "ramp", "chirp", "noise", "prbs", "square", "doublet"
]


class _Drawn(NamedTuple):
    """Times (time,), and one number each for a signal: amplitude, frequency, and four more."""

    t: Array
    dt: float
    amplitude: Array
    low: float
    high: float
    frequency: Array
    share: Array
    other: Array
    sign: Array
    key: Array


def _sine(d: _Drawn) -> Array:
    return d.amplitude * jnp.sin(2 * jnp.pi * (d.frequency * d.t + d.share))


def _multisine(d: _Drawn) -> Array:
    frequency, phase = jax.random.uniform(d.key, (2, 3, 1))
    frequency = d.low + (d.high - d.low) * frequency
    return d.amplitude * jnp.mean(jnp.sin(2 * jnp.pi * (frequency * d.t + phase)), axis=0)


def _step(d: _Drawn) -> Array:
    return d.sign * d.amplitude * (d.t >= d.share * d.t[-1])


def _ramp(d: _Drawn) -> Array:
    rise = jnp.maximum((0.1 + 0.9 * d.share) * d.t[-1], d.dt)
    return d.sign * d.amplitude * jnp.clip(d.t / rise, 0.0, 1.0)


def _chirp(d: _Drawn) -> Array:
    end = d.low + (d.high - d.low) * d.other
    rate = (end - d.frequency) / jnp.maximum(d.t[-1], d.dt)
    return d.amplitude * jnp.sin(2 * jnp.pi * (d.frequency * d.t + 0.5 * rate * d.t**2 + d.share))


def _noise(d: _Drawn) -> Array:
    return d.amplitude * jax.random.uniform(d.key, d.t.shape, minval=-1.0, maxval=1.0)


def _prbs(d: _Drawn) -> Array:
    # On average as many changes of sign as a square wave of the frequency has.
    probability = jnp.clip(2 * d.frequency * d.dt, 0.0, 1.0)
    switches = jnp.cumsum(jax.random.bernoulli(d.key, probability, d.t.shape))
    return d.sign * d.amplitude * (1.0 - 2.0 * (switches % 2))


def _square(d: _Drawn) -> Array:
    return d.amplitude * jnp.where((d.frequency * d.t + d.share) % 1.0 < 0.5, 1.0, -1.0)


def _doublet(d: _Drawn) -> Array:
    # A pulse and its opposite, each of half a period and within the sequence.
    samples = d.t.shape[0]
    width = jnp.clip(jnp.round(0.5 / (d.frequency * d.dt)), 1, max(samples // 2, 1))
    begin = jnp.floor(d.share * jnp.maximum(samples - 2 * width + 1, 1))
    at = jnp.arange(samples) - begin
    pulse = jnp.where(at < width, 1.0, -1.0) * ((at >= 0) & (at < 2 * width))
    return d.sign * d.amplitude * pulse


_SIGNALS: Final[Mapping[Kind, Callable[[_Drawn], Array]]] = {
    "sine": _sine,
    "multisine": _multisine,
    "step": _step,
    "ramp": _ramp,
    "chirp": _chirp,
    "noise": _noise,
    "prbs": _prbs,
    "square": _square,
    "doublet": _doublet,
}

KINDS: Final[tuple[Kind, ...]] = tuple(_SIGNALS)


def excitation_signals(
    key: Array,
    batch: int,
    time: int,
    n_inputs: int = 1,
    *,
    dt: float,
    kinds: Sequence[Kind] = KINDS,
    amplitude: tuple[float, float] = (0.5, 2.0),
    frequency: tuple[float, float] = (0.1, 3.0),
    components: int = 1,
    noise_probability: float = 0.0,
    noise_std: float = 0.1,
    bias_probability: float = 0.0,
    bias: float = 0.5,
    synchronized: bool = False,
) -> Array:
    """Return random signals (batch, time, n_inputs), each of a kind that is drawn.

    Equal keys give equal signals, compiled or not, and nothing else decides them. The kinds are
    `sine`; `multisine`, three sines with random phases; `step`; `ramp`, up to the amplitude;
    `chirp`, with a linear change of frequency; `noise`, white and uniform; `prbs`, which changes
    its sign at random; `square`; `doublet`, a pulse and its opposite.

    Args:
        key: PRNG key.
        batch: Sequences.
        time: Samples.
        n_inputs: Channels.
        dt: Sampling time in seconds.
        kinds: Kinds to draw from.
        amplitude: Range of the amplitudes.
        frequency: Range of the frequencies in Hz.
        components: Signals that are averaged in each channel, 2 or more for mixtures.
        noise_probability: Probability that a channel has Gaussian noise in addition.
        noise_std: Its standard deviation.
        bias_probability: Probability that a channel has an offset in addition.
        bias: Its greatest absolute value.
        synchronized: Whether all channels of a sequence are one signal.

    Raises:
        ConfigError: An option is out of range.
    """
    owner = "excitation_signals"
    for name, value in (("batch", batch), ("time", time), ("n_inputs", n_inputs)):
        whole_number(name, value, least=1, of=owner)
    check_excitation(owner, kinds, amplitude, frequency, components)
    share("noise_probability", noise_probability, "a probability", of=owner)
    share("bias_probability", bias_probability, "a probability", of=owner)
    dt = positive("dt", dt, of=owner)
    width = 1 if synchronized else n_inputs
    draw_key, noise_key, bias_key = jax.random.split(key, 3)
    keys = jax.random.split(draw_key, batch * width * components)
    low, high = float(frequency[0]), float(frequency[1])
    drawn = _draw_signals(
        keys,
        time=time,
        dt=dt,
        kinds=tuple(kinds),
        amplitude=(float(amplitude[0]), float(amplitude[1])),
        frequency=(low, high),
    )
    drawn = drawn.reshape(batch, width, components, time).mean(2)
    signals = jnp.broadcast_to(drawn.swapaxes(1, 2), (batch, time, n_inputs))
    shape = (batch, 1, n_inputs)
    if noise_probability:
        chosen, values = jax.random.split(noise_key)
        noise = noise_std * jax.random.normal(values, signals.shape)
        signals = signals + noise * jax.random.bernoulli(chosen, noise_probability, shape)
    if bias_probability:
        chosen, values = jax.random.split(bias_key)
        offset = jax.random.uniform(values, shape, minval=-bias, maxval=bias)
        signals = signals + offset * jax.random.bernoulli(chosen, bias_probability, shape)
    return signals


def check_excitation(
    owner: str,
    kinds: Sequence[Any],
    amplitude: Sequence[float],
    frequency: Sequence[float],
    components: int,
) -> None:
    """Raise ConfigError where an option of the signals is out of range."""
    if isinstance(kinds, str) or not len(kinds):
        raise ConfigError(
            f"{owner} got kinds = {kinds!r}; give a list of one or more of "
            f"{', '.join(map(repr, KINDS))}.",
            key="kinds",
        )
    for kind in kinds:
        choice("kinds", kind, KINDS, of=owner)
    for name, ends in (("amplitude", amplitude), ("frequency", frequency)):
        if len(ends) != 2 or not all(map(is_number, ends)) or not 0 < ends[0] <= ends[1] < 1e30:
            raise ConfigError(
                f"{owner} got {name} = {ends!r}; give the ends of its range, two finite numbers "
                "above 0, the lower one first.",
                key=name,
            )
    whole_number("components", components, least=1, of=owner)


@partial(jax.jit, static_argnames=("time", "dt", "kinds", "amplitude", "frequency"))
def _draw_signals(keys: Array, **options: Any) -> Array:
    """Return one signal (time,) for each key."""
    return jax.vmap(lambda key: _draw_signal(key, **options))(keys)


def _draw_signal(
    key: Array,
    *,
    time: int,
    dt: float,
    kinds: tuple[Kind, ...],
    amplitude: tuple[float, float],
    frequency: tuple[float, float],
) -> Array:
    """Return one signal (time,)."""
    kind_key, number_key, sign_key, own_key = jax.random.split(key, 4)
    drawn = jax.random.uniform(number_key, (4,))
    low, high = frequency
    numbers = _Drawn(
        t=jnp.arange(time) * dt,
        dt=dt,
        amplitude=amplitude[0] + (amplitude[1] - amplitude[0]) * drawn[0],
        low=low,
        high=high,
        frequency=low + (high - low) * drawn[1],
        share=drawn[2],
        other=drawn[3],
        sign=jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0),
        key=own_key,
    )
    # All kinds are computed, which is cheap, so that one program serves every draw.
    every = jnp.stack([_SIGNALS[kind](numbers) for kind in kinds])
    return every[jax.random.randint(kind_key, (), 0, len(kinds))]
