"""Noise and offsets on the inputs, for models that are to live with imperfect sensors.

All act on `u` (batch, time, n_u) in its raw units and leave everything else alone. `p` is the
probability that a batch is changed, as a whole; every batch has draws of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchTransform
from tsjax_core.transforms.channels import inputs_of, numbers, per_channel
from tsjax_core.transforms.probability import check_probability, with_probability
from tsjax_core.types import Array, Batch, HostArray


def add_noise(
    std: float | Sequence[float] = 0.1, mean: float | Sequence[float] = 0.0, p: float = 1.0
) -> BatchTransform:
    """White Gaussian noise on the inputs, drawn for every sample and channel.

    Args:
        std: Standard deviation in the raw units of u, one number or one per channel.
        mean: Mean in the raw units of u, one number or one per channel.
        p: Probability that a batch is changed.

    Raises:
        ConfigError: A value is not finite, `std` is negative, or `p` is no probability; at the
            first batch, if the number of values is not that of the channels.
    """
    return _gaussian(std, mean, p, "add_noise", lambda u: u.shape)


def add_varying_noise(std_std: float | Sequence[float] = 0.1, p: float = 1.0) -> BatchTransform:
    """White Gaussian noise on the inputs, whose standard deviation differs from batch to batch.

    It is the absolute value of a draw from N(0, std_std^2), shared by all sequences of the batch:
    one for all channels, or one for each where `std_std` has one value per channel.

    Args:
        std_std: Scale of the standard deviation in the raw units of u, one number or one per
            channel.
        p: Probability that a batch is changed.

    Raises:
        ConfigError: As of `add_noise`.
    """
    scales = numbers("std_std", std_std, of="add_varying_noise")

    def draw(u: Array, key: Array) -> Array:
        for_std, for_noise = jax.random.split(key)
        scale = per_channel(scales, u, name="std_std", of="add_varying_noise")
        std = jnp.abs(scale * jax.random.normal(for_std, scale.shape, u.dtype))
        return std * jax.random.normal(for_noise, u.shape, u.dtype)

    return _added(draw, p, "add_varying_noise")


def add_grouped_noise(
    std_std: float | Sequence[float], groups: Sequence[int], p: float = 1.0
) -> BatchTransform:
    """White Gaussian noise on the inputs, whose standard deviation groups of channels share.

    For every batch and group it is the absolute value of a draw from N(0, std_std^2), such as one
    for the three axes of a gyroscope and another for those of an accelerometer:
    `add_grouped_noise(std_std=[0.02, 0.5], groups=[0, 0, 0, 1, 1, 1])`.

    Args:
        std_std: Scale of the standard deviation in the raw units of u, one number or one per
            group.
        groups: The group of each channel, counted from 0.
        p: Probability that a batch is changed.

    Raises:
        ConfigError: As of `add_noise`, or the groups are not counted from 0 without a gap, or
            `std_std` has another number of values than there are groups.
    """
    of = "add_grouped_noise"
    scales = numbers("std_std", std_std, of=of)
    of_channel = _checked_groups(groups)
    n_groups = int(of_channel.max()) + 1
    if scales.ndim and scales.size != n_groups:
        raise ConfigError(
            f"{of} got {scales.size} values of std_std for {n_groups} groups; give one number for "
            "all groups, or one per group.",
            key="std_std",
        )

    def draw(u: Array, key: Array) -> Array:
        if of_channel.size != u.shape[-1]:
            raise ConfigError(
                f"{of} got the groups of {of_channel.size} channels, and u has {u.shape[-1]} "
                "channels; give the group of each.",
                key="groups",
            )
        for_std, for_noise = jax.random.split(key)
        scale = jnp.asarray(scales, u.dtype)
        std = jnp.abs(scale * jax.random.normal(for_std, (n_groups,), u.dtype))
        return std[of_channel] * jax.random.normal(for_noise, u.shape, u.dtype)

    return _added(draw, p, of)


def add_bias(
    std: float | Sequence[float] = 0.1, mean: float | Sequence[float] = 0.0, p: float = 1.0
) -> BatchTransform:
    """A constant Gaussian offset on the inputs, drawn for every sequence and channel.

    Args:
        std: Standard deviation in the raw units of u, one number or one per channel.
        mean: Mean in the raw units of u, one number or one per channel.
        p: Probability that a batch is changed.

    Raises:
        ConfigError: As of `add_noise`.
    """
    return _gaussian(std, mean, p, "add_bias", lambda u: (len(u), 1, u.shape[-1]))


def _gaussian(
    std: float | Sequence[float],
    mean: float | Sequence[float],
    p: float,
    name: str,
    shape_of: Callable[[Array], tuple[int, ...]],
) -> BatchTransform:
    """Return the transform that adds draws from N(mean, std^2), as many as `shape_of(u)` says."""
    stds = numbers("std", std, of=name)
    means = numbers("mean", mean, of=name, signed=True)

    def draw(u: Array, key: Array) -> Array:
        centre = per_channel(means, u, name="mean", of=name)
        spread = per_channel(stds, u, name="std", of=name)
        return centre + spread * jax.random.normal(key, shape_of(u), u.dtype)

    return _added(draw, p, name)


def _added(draw: Callable[[Array, Array], Array], p: float, name: str) -> BatchTransform:
    """Return the transform that adds `draw(u, key)` to the inputs with probability `p`."""
    check_probability(p, of=name)

    def add(batch: Batch, *, key: Array) -> Mapping[str, Any]:
        u = inputs_of(batch, of=name)
        return {**batch, "u": u + draw(u, key)}

    add.__name__ = add.__qualname__ = name
    return with_probability(add, p)


def _checked_groups(groups: Any) -> HostArray:
    given = groups.tolist() if hasattr(groups, "tolist") else groups
    if (
        not isinstance(given, list | tuple)
        or any(isinstance(g, bool) or not isinstance(g, Integral) for g in given)
        or not given
        or set(given) != set(range(max(given) + 1))
    ):
        raise ConfigError(
            f"add_grouped_noise got groups = {groups!r}; give the group of each channel, counted "
            "from 0 without a gap, such as [0, 0, 0, 1, 1, 1].",
            key="groups",
        )
    return np.asarray(given)
