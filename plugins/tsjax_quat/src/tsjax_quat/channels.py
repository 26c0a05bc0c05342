"""Which channels are a vector or a quaternion, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tsjax_core.data.checks import listing
from tsjax_core.errors import ConfigError
from tsjax_core.types import Signals

VECTOR = "xyz"
QUATERNION = "wxyz"

Group: TypeAlias = tuple[int, ...]
"""The channel numbers of a vector in the order x, y, z, or of a quaternion in w, x, y, z."""


def find_groups(names: Sequence[str], axes: str) -> dict[str, Group]:
    """Return the groups of `names` that differ in their last letter alone, one for each of `axes`.

    The keys are the stems: `quat_w`, `quat_x`, `quat_y`, `quat_z` have the stem `quat_`. What
    belongs to a quaternion is no vector. Capital letters count as small ones.
    """
    stems: dict[str, dict[str, int]] = {}
    for number, name in enumerate(names):
        if name and name[-1].lower() in QUATERNION:
            stems.setdefault(name[:-1], {})[name[-1].lower()] = number
    return {
        stem: tuple(found[axis] for axis in axes)
        for stem, found in stems.items()
        if set(found) == set(axes)
    }


def quaternion_groups(names: Sequence[str]) -> tuple[Group, ...]:
    """Return the channels of each quaternion among the output channels `names`.

    They are found by their names, which end in w, x, y and z after a common stem; four channels
    without such names are one quaternion in the order w, x, y, z.

    Raises:
        ConfigError: There is none.
    """
    found = tuple(find_groups(names, QUATERNION).values())
    if found:
        return found
    if len(names) == 4:
        return ((0, 1, 2, 3),)
    raise ConfigError(
        f"no quaternion among the outputs {listing(names)}: name its four channels alike up to a "
        "last letter w, x, y or z, such as quat_w, quat_x, quat_y, quat_z, or read no others.",
        key="y",
    )


def quaternions_in(signals: Signals, width: int, *, of: str) -> tuple[Group, ...]:
    """Return the channels of each quaternion in an output that is `width` channels wide.

    Raises:
        ConfigError: There is none, or the output has other channels than `signals` names.
    """
    if width != len(signals.outputs):
        raise ConfigError(
            f"{of} finds its channels by name, and got {width} of the outputs "
            f"{listing(signals.outputs)}; give all of them.",
            key="loss",
        )
    return quaternion_groups(signals.outputs)


def named_group(names: Sequence[str], group: Sequence[str], axes: str, *, of: str) -> Group:
    """Return the channel numbers in `names` of the channels that `group` names, one per axis.

    Raises:
        ConfigError: Another number of names, or a name that there is not.
    """
    if len(group) != len(axes) or len(set(group)) != len(axes):
        raise ConfigError(
            f"{of} got the channels {listing(group)}; give {len(axes)} different names, in the "
            f"order {', '.join(axes)}.",
            key=of,
        )
    if missing := [name for name in group if name not in names]:
        raise ConfigError(
            f"{of} names the channel {missing[0]!r}, and there is no such one beside "
            f"{listing(names)}.",
            key=of,
        )
    return tuple(list(names).index(name) for name in group)


def key_of(names: Mapping[str, Sequence[str]], group: Sequence[str], *, of: str) -> str:
    """Return the batch key that has all channels of `group`.

    Raises:
        ConfigError: No key has them all.
    """
    for key, every in names.items():
        if set(group) <= set(every):
            return key
    has: Any = [name for every in names.values() for name in every]
    raise ConfigError(
        f"{of} names the channels {listing(group)}, which do not stand together among inputs, "
        f"outputs or one key of [data.further]; there are {listing(has)}.",
        key=of,
    )
