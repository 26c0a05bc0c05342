"""A unit quaternion as the output of any model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_core.models.scaling import require_signals
from tsjax_core.protocols import (
    AuxModel,
    CarryingModel,
    FiniteMemory,
    InitialWindow,
    ModelSpec,
    StatefulAuxModel,
    StatefulModel,
)
from tsjax_core.signatures import wants_of
from tsjax_core.types import Array, NormStats, Signals
from tsjax_quat.algebra import normalize
from tsjax_quat.channels import quaternion_groups


@dataclass(frozen=True)
class UnitQuaternion:
    """A model whose quaternions have the length 1.

    The outputs of the model inside that are a quaternion, found by their names, are added to the
    identity and divided by their length; others are handed on. So the model inside begins near the
    identity, and its outputs need no scale of their own.

    Args:
        model: The model inside.
    """

    model: ModelSpec

    @property
    def reads(self) -> tuple[str, ...]:
        """Batch keys that the model takes."""
        return self.model.reads

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, where the model inside states it."""
        return self.model.receptive_field if isinstance(self.model, FiniteMemory) else None

    def build(self, signals: Signals, *, rngs: nnx.Rngs) -> UnitQuaternionModel:
        """Return the model with freshly drawn parameters for the channels in `signals`.

        Raises:
            ModelError: The model inside reads measured outputs.
        """
        require_signals(signals, ["y"], "UnitQuaternion")
        if isinstance(self.model, InitialWindow) and self.model.init_window:
            raise ModelError(
                f"UnitQuaternion got {type(self.model).__name__}, which reads the measured output "
                "at the start; give a model that reads inputs alone."
            )
        groups = quaternion_groups(signals.outputs)
        channels = [channel for group in groups for channel in group]
        mean, std = (np.array(x) for x in (signals.stats["y"].mean, signals.stats["y"].std))
        mean[channels], std[channels] = 0.0, 1.0
        stats = {**signals.stats, "y": NormStats(mean, std)}
        inner: Any = self.model.build(replace(signals, stats=stats), rngs=rngs)
        if isinstance(inner, CarryingModel):
            return CarryingUnitQuaternionModel(inner, groups)
        if isinstance(inner, StatefulModel):
            return StatefulUnitQuaternionModel(inner, groups)
        return UnitQuaternionModel(inner, groups)


class UnitQuaternionModel(nnx.Module):
    """The model inside, and its quaternions divided by their length.

    `call_with_aux` adds `quaternion_norm`, the lengths before that, (batch, time, quaternions), to
    the values of the model inside.
    """

    def __init__(self, inner: Any, groups: tuple[tuple[int, ...], ...]) -> None:
        self.inner = inner
        self.groups = groups

    @property
    def wants(self) -> frozenset[str]:
        """The arguments that the model inside declares."""
        return wants_of(self.inner)

    @property
    def receptive_field(self) -> int | None:
        """Samples of input that an output depends on, where the model inside states it."""
        return self.inner.receptive_field if isinstance(self.inner, FiniteMemory) else None

    def __call__(self, *inputs: Array, **given: Any) -> Array:
        """Return the outputs of the model inside with quaternions of length 1."""
        return self._unit(self.inner(*inputs, **given))[0]

    def call_with_aux(self, *inputs: Array, **given: Any) -> tuple[Array, Mapping[str, Array]]:
        """Return the outputs, and the values of the model inside with `quaternion_norm`."""
        aux: Mapping[str, Array] = {}
        if isinstance(self.inner, AuxModel):
            y, aux = self.inner.call_with_aux(*inputs, **given)
        else:
            y = self.inner(*inputs, **given)
        y, norm = self._unit(y)
        return y, {**aux, "quaternion_norm": norm}

    def _unit(self, y: Array) -> tuple[Array, Array]:
        norms = []
        for group in self.groups:
            at = jnp.array(group)
            q = y[..., at] + jnp.array([1.0, 0.0, 0.0, 0.0], y.dtype)
            square = jnp.sum(jnp.square(q), axis=-1)
            zero = square == 0.0
            norms.append(jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square))))
            y = y.at[..., at].set(jnp.asarray(normalize(q)))
        return y, jnp.stack(norms, axis=-1)


class StatefulUnitQuaternionModel(UnitQuaternionModel):
    """The same around a model that runs chunk by chunk."""

    def initial_state(self, batch_size: int) -> Any:
        """Return the state of the model inside before the first sample."""
        return self.inner.initial_state(batch_size)

    def advance(self, u: Array, state: Any, *further: Array, **given: Any) -> tuple[Array, Any]:
        """Simulate one chunk from `state`; return its outputs and the state after it."""
        y, state = self.inner.advance(u, state, *further, **given)
        return self._unit(y)[0], state

    def advance_with_aux(
        self, u: Array, state: Any, *further: Array, **given: Any
    ) -> tuple[Array, Any, Mapping[str, Array]]:
        """Simulate one chunk; return its outputs, the state after it, and the values of `aux`."""
        aux: Mapping[str, Array] = {}
        if isinstance(self.inner, StatefulAuxModel):
            y, state, aux = self.inner.advance_with_aux(u, state, *further, **given)
        else:
            y, state = self.inner.advance(u, state, *further, **given)
        y, norm = self._unit(y)
        return y, state, {**aux, "quaternion_norm": norm}


class CarryingUnitQuaternionModel(StatefulUnitQuaternionModel):
    """The same around a model whose rows go on from batch to batch in training."""

    def begin_training(self, batch_size: int) -> None:
        """Make the carry of the model inside."""
        self.inner.begin_training(batch_size)
