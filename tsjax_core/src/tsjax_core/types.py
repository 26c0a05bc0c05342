"""Values that every part of tsjax passes to every other part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
from flax import nnx

V = TypeVar("V")

Array: TypeAlias = jax.Array
"""A JAX array, on the device."""

HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A NumPy array, in host memory."""

AnyArray: TypeAlias = Array | HostArray
"""An array on the device or in host memory."""

Batch: TypeAlias = Mapping[str, AnyArray]
"""Samples stacked by key.

`u` is (batch, time, n_u) and `y` is (batch, time, n_y). Files with scalar attributes add
`u_scalar` (batch, n_u_scalar) and `y_scalar` (batch, n_y_scalar); further groups of signals add
arrays (batch, time, n) under their names. A source may add `position` (batch, time), int32: the
number of each sample in its sequence, negative where the batch is filled up.
"""

Sample: TypeAlias = dict[str, HostArray]
"""One sequence by key: `u` (time, n_u), `y` (time, n_y), scalars (n,)."""


def is_sequence(key: str) -> bool:
    """Return whether the arrays of a batch key have a time axis, which scalars do not."""
    return not key.endswith("_scalar")


class Buffer(nnx.Variable[Any]):
    """A value that belongs to a model and is saved with it, but is never trained."""


class Carry(nnx.Variable[Any]):
    """State that training carries from batch to batch: in checkpoints, never in a saved model.

    Its arrays are (batch, ...), one row for each row of a training batch.
    """


class FrozenMapping(Mapping[str, V]):
    """A mapping that is never changed and can be hashed, for fields of specifications."""

    def __init__(self, values: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"FrozenMapping({self._values!r})"


@dataclass(frozen=True, eq=False)
class NormStats:
    """Mean and standard deviation of each channel, both (n,), in the channels' physical units."""

    mean: HostArray
    std: HostArray

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32).reshape(-1))
        if self.mean.shape != self.std.shape:
            raise ValueError(
                f"NormStats: mean has {self.mean.size} channels and std {self.std.size}; "
                "give one of each per channel."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NormStats):
            return NotImplemented
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.std, other.std)

    def __hash__(self) -> int:
        return hash((self.mean.tobytes(), self.std.tobytes()))

    def __add__(self, other: NormStats) -> NormStats:
        """Channels of `self` followed by channels of `other`."""
        return NormStats(
            np.concatenate([self.mean, other.mean]), np.concatenate([self.std, other.std])
        )


@dataclass(frozen=True)
class Signals:
    """What a model needs to know of the data before it is built.

    `inputs` and `outputs` name the channels of `u` and `y`; `stats` holds the `NormStats` of each
    batch key, from the training split alone; `dt` is the sampling time in seconds, None where it
    is not known; `scalar_inputs` and `scalar_outputs` name the channels of `u_scalar` and
    `y_scalar`. `further` has the channel names of further batch keys, which losses and transforms
    see and which have no statistics. `units` has those of the channels whose file states one.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stats: Mapping[str, NormStats] = field(default_factory=dict)
    dt: float | None = None
    scalar_inputs: tuple[str, ...] = ()
    scalar_outputs: tuple[str, ...] = ()
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "scalar_inputs", "scalar_outputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "stats", MappingProxyType(dict(self.stats)))
        further = {key: tuple(names) for key, names in self.further.items()}
        object.__setattr__(self, "further", MappingProxyType(further))
        object.__setattr__(self, "units", MappingProxyType(dict(self.units)))
        for key, names in self.names.items():
            stats = self.stats.get(key)
            if stats is not None and stats.mean.size != len(names):
                raise ValueError(
                    f"Signals: {key!r} names {len(names)} channels ({', '.join(names)}) and its "
                    f"statistics have {stats.mean.size}; give one mean and std per channel."
                )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot be pickled, and a Signals crosses processes.
        return (
            Signals,
            (
                self.inputs,
                self.outputs,
                dict(self.stats),
                self.dt,
                self.scalar_inputs,
                self.scalar_outputs,
                dict(self.further),
                dict(self.units),
            ),
        )

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Channel names by batch key, only for the keys that have channels."""
        names = {
            "u": self.inputs,
            "y": self.outputs,
            "u_scalar": self.scalar_inputs,
            "y_scalar": self.scalar_outputs,
            **self.further,
        }
        return {key: value for key, value in names.items() if value}

    @property
    def target(self) -> str:
        """The batch key that a model's output is compared with: `y`, or `y_scalar` without one."""
        return "y" if self.outputs else "y_scalar"
