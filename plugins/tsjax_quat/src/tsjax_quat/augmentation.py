"""Another mounting of the sensor: every vector and quaternion as it would have measured them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from tsjax_core.errors import ConfigError
from tsjax_core.types import Array, Batch, Signals, is_sequence
from tsjax_quat.algebra import conjugate, multiply, normalize, rotate
from tsjax_quat.channels import QUATERNION, VECTOR, Group, find_groups, key_of, named_group


def random_quaternions(key: Array, shape: Sequence[int] = ()) -> Array:
    """Draw unit quaternions (*shape, 4), uniform over all rotations.

    The direction of a Gaussian vector is uniform on the sphere. Source: Shoemake, Uniform random
    rotations (1992).
    """
    q: Array = jnp.asarray(normalize(jax.random.normal(key, (*shape, 4))))
    return q


@dataclass(frozen=True)
class Mounting:
    """Channel numbers that turn with the sensor, by batch key."""

    vectors: Mapping[str, tuple[Group, ...]]
    quaternions: Mapping[str, tuple[Group, ...]]


def quaternion_augmentation(
    vectors: tuple[tuple[str, ...], ...] = (), quaternions: tuple[tuple[str, ...], ...] = ()
) -> Callable[..., Mapping[str, Any]]:
    """A random mounting of the sensor for each sample: v becomes r* v r, and q becomes q r.

    r is uniform over all rotations and constant over a sample, so that what the sensor measures
    becomes what it would measure if it were mounted otherwise, and q v q* stays as it is.

    Args:
        vectors: The three channels of each vector, in the order x, y, z. Unless given, those
            inputs that are named alike up to a last letter x, y or z, such as gyr_x, gyr_y, gyr_z.
            Vectors in the earth's frame do not turn: leave them out.
        quaternions: The four channels of each quaternion, in the order w, x, y, z. Unless given,
            those that are named alike up to a last letter w, x, y or z, among the targets too.
    """

    def rotate_sensor(batch: Batch, *, key: Array, signals: Signals) -> Mapping[str, Any]:
        mounting = _find(signals, vectors, quaternions)
        r = random_quaternions(key, (len(batch["u"]), 1))
        changed: dict[str, Any] = dict(batch)
        for name, groups in mounting.vectors.items():
            changed[name] = _put(changed[name], groups, lambda v: rotate(conjugate(r), v))
        for name, groups in mounting.quaternions.items():
            changed[name] = _put(changed[name], groups, lambda q: multiply(q, r))
        return changed

    return rotate_sensor


def _put(values: Any, groups: Sequence[Group], turn: Callable[[Any], Any]) -> Array:
    array = jnp.asarray(values)
    for group in groups:
        at = jnp.asarray(group)
        array = array.at[..., at].set(turn(array[..., at]).astype(array.dtype))
    return array


def _find(
    signals: Signals,
    vectors: Sequence[Sequence[str]],
    quaternions: Sequence[Sequence[str]],
) -> Mounting:
    names = {key: every for key, every in signals.names.items() if is_sequence(key)}
    found = Mounting(
        _named(names, vectors, VECTOR, "vectors") or _grouped({"u": names.get("u", ())}, VECTOR),
        _named(names, quaternions, QUATERNION, "quaternions") or _grouped(names, QUATERNION),
    )
    if not found.vectors:
        raise ConfigError(
            f"quat/rotate found no vector among the inputs {', '.join(signals.inputs)}: name "
            "channels alike up to a last letter x, y or z, or give vectors, such as "
            '[["gx", "gy", "gz"]].',
            key="vectors",
        )
    return found


def _named(
    names: Mapping[str, Sequence[str]], groups: Sequence[Sequence[str]], axes: str, option: str
) -> dict[str, tuple[Group, ...]]:
    found: dict[str, tuple[Group, ...]] = {}
    for group in groups:
        key = key_of(names, group, of=option)
        numbers = named_group(names[key], group, axes, of=option)
        found[key] = (*found.get(key, ()), numbers)
    return found


def _grouped(names: Mapping[str, Sequence[str]], axes: str) -> dict[str, tuple[Group, ...]]:
    found = {key: tuple(find_groups(every, axes).values()) for key, every in names.items()}
    return {key: groups for key, groups in found.items() if groups}
