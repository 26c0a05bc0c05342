"""Classes of carried models that have what the model inside has, and nothing else.

What a model can do is read off its type, so that a carried model is of a class made for what the
model inside can do. Equal abilities give one and the same class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from tsjax_core.protocols import (
    AuxModel,
    EstimatedState,
    InitialWindow,
    MeasuringModel,
    StatefulAuxModel,
)
from tsjax_core.types import Array
from tsjax_tbptt.carrying import CarriedModel, given_to


class WithAux(CarriedModel):
    """A carried model that has intermediate values."""

    def call_with_aux(
        self,
        u: Array,
        *further: Array,
        key: Array | None = None,
        batch: Any = None,
        progress: Any = None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Return the outputs and the intermediate values of the model inside."""
        return self.run_with_aux((u, *further), key=key, batch=batch, progress=progress)


class WithStatefulAux(WithAux):
    """A carried model that has intermediate values for chunks too."""

    def advance_with_aux(
        self,
        u: Array,
        state: Any,
        *further: Array,
        key: Array | None = None,
        batch: Any = None,
        progress: Any = None,
    ) -> tuple[Array, Any, Mapping[str, Array]]:
        """Run the model inside for one chunk; return outputs, state, and intermediate values."""
        given = given_to(self.inner.advance_with_aux, key, batch, progress)
        y, after, aux = self.inner.advance_with_aux(u, state, *further, **given)
        return y, after, aux


class WithEstimate(CarriedModel):
    """A carried model with an encoder for its state."""

    def estimate_state(self, u: Array, y: Array) -> Any:
        """Return the state of the model inside after `u` and `y`, (batch, time, n)."""
        return self.inner.estimate_state(u, y)


class WithQuantities(CarriedModel):
    """A carried model with physical parameters."""

    def quantities(self) -> Mapping[str, tuple[Any, str]]:
        """Return value and unit of each physical parameter of the model inside."""
        quantities: Mapping[str, tuple[Any, str]] = self.inner.quantities()
        return quantities


class WithWindow(CarriedModel):
    """A carried model that uses the measured output at the start of a sequence."""

    @property
    def init_window(self) -> int:
        """Samples of measured output, from the first one on, that the model may use."""
        window: int = self.inner.init_window
        return window

    @property
    def y_scale(self) -> Any:
        """The scaling of the outputs, where the model inside has one of this name."""
        return self.inner.y_scale


def carried_class(inner: Any) -> type[CarriedModel]:
    """Return the class of carried models for what `inner` has."""
    parts: tuple[type[CarriedModel], ...] = tuple(
        part
        for protocol, part in (
            (EstimatedState, WithEstimate),
            (MeasuringModel, WithQuantities),
            (InitialWindow, WithWindow),
        )
        if isinstance(inner, protocol)
    )
    if isinstance(inner, StatefulAuxModel):
        parts = (WithStatefulAux, *parts)
    elif isinstance(inner, AuxModel):
        parts = (WithAux, *parts)
    names = tuple(
        p.name
        for p in inspect.signature(inner.__call__).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    )
    return _class_of(parts, names if isinstance(inner, InitialWindow) else ())


@cache
def _class_of(parts: tuple[type[CarriedModel], ...], names: tuple[str, ...]) -> type[CarriedModel]:
    if not parts:
        return CarriedModel
    members: dict[str, Any] = {
        "__doc__": CarriedModel.__doc__,
        "__module__": CarriedModel.__module__,
    }
    if names:
        members["__call__"] = _call_with_names(names)
    metaclass: Any = type(CarriedModel)
    made: type[CarriedModel] = metaclass("CarriedModel", parts, members)
    return made


def _call_with_names(names: tuple[str, ...]) -> Callable[..., Any]:
    """Return a `__call__` whose positional arguments have these names, by which `y` is found."""

    def call(self: CarriedModel, *inputs: Array, **options: Any) -> Array:
        return CarriedModel.__call__(self, *inputs, **options)

    own = inspect.signature(CarriedModel.__call__).parameters
    first = inspect.Parameter
    described = [
        own["self"],
        *(first(name, first.POSITIONAL_OR_KEYWORD) for name in names),
        *(p for p in own.values() if p.kind is p.KEYWORD_ONLY),
    ]
    vars(call)["__signature__"] = inspect.Signature(described)
    return call
