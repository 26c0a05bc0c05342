"""Residuals of known equations: the functions that users write, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import jax.numpy as jnp

from tsjax_core.checks import choice, is_number, nearest, positive
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import MeasuringModel
from tsjax_core.types import AnyArray, Array, FrozenMapping
from tsjax_pinn import derivatives as operators
from tsjax_pinn.place import load_function
from tsjax_pinn.units import check_unit

Residual: TypeAlias = Callable[..., Any]
"""`residual(u, y, derivatives, parameters)`: an array, or a mapping of names to arrays.

`u` and `y` give each channel by its name, (batch, time), in physical units; `y` has the auxiliary
outputs of the model too. `derivatives` is a `Derivatives`, and `parameters` are scalars by name.
What it returns is 0 where the equation holds, (batch, time).
"""

Scheme: TypeAlias = Literal["forward", "central", "central4"]

_OPERATORS: Final[Mapping[Scheme, tuple[Callable[..., Array], ...]]] = {
    "forward": (operators.diff1_forward, operators.diff2_forward, operators.diff3_forward),
    "central": (operators.diff1_central, operators.diff2_central, operators.diff3_central),
    "central4": (
        operators.diff1_central4_double,
        operators.diff2_central_double,
        operators.diff3_central,
    ),
}

SCHEMES: Final = tuple(_OPERATORS)

NOTHING: Final[FrozenMapping[Any]] = FrozenMapping()
"""A table with nothing in it, for options that need not be given."""


@dataclass(frozen=True)
class Constant:
    """A known physical parameter.

    Args:
        value: Its value.
        unit: Its physical unit, such as "kg".
    """

    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not is_number(self.value) or not abs(float(self.value)) < float("inf"):
            raise ConfigError(
                f"Constant got value = {self.value!r}; give a finite number.", key="value"
            )
        check_unit("unit", self.unit, of="Constant")


class Named(Mapping[str, Any]):
    """Channels or parameters by name; one that is not there is a ConfigError that lists them.

    Args:
        what: What they are, such as "input", for the error.
        values: The values by name.
        asker: The option whose function asks for them, for the error.
    """

    def __init__(self, what: str, values: Mapping[str, Any], asker: str = "residual") -> None:
        self._what, self._values, self._asker = what, dict(values), asker

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise ConfigError(
                f"the {self._asker} asks for the {self._what} {name!r}, and there is none."
                f"{nearest(name, self._values)} There are: {', '.join(self._values) or 'none'}.",
                key=self._asker,
            )
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Derivatives:
    """Derivatives in time of sampled signals (batch, time), as a residual takes them.

    Args:
        dt: Sampling time in seconds.
        scheme: `forward` differences of first order, `central` ones of second order, or `central4`,
            whose first derivative is of fourth order and which are added up in double precision.
    """

    def __init__(self, dt: float, scheme: Scheme = "central") -> None:
        choice("difference", scheme, SCHEMES, of="Derivatives")
        self.dt = positive("dt", dt, of="Derivatives")
        self._operators = _OPERATORS[scheme]

    def first(self, signal: AnyArray) -> Array:
        """Return the first derivative, in the unit of the signal per second."""
        return self._operators[0](signal, self.dt)

    def second(self, signal: AnyArray) -> Array:
        """Return the second derivative."""
        return self._operators[1](signal, self.dt)

    def third(self, signal: AnyArray) -> Array:
        """Return the third derivative."""
        return self._operators[2](signal, self.dt)


def load_residual(residual: str | Residual, *, of: str) -> Residual:
    """Return the residual, which may be named as "module:function" or "file.py:function".

    Raises:
        ConfigError: There is no such function, or it does not take (u, y, derivatives, parameters).
    """
    takes = ("u", "y", "derivatives", "parameters")
    return load_function(residual, takes, key="residual", of=of)


def channels(names: Sequence[str], values: AnyArray) -> dict[str, Array]:
    """Return the channels of `values` (..., n) by name."""
    return {name: jnp.asarray(values[..., at]) for at, name in enumerate(names)}


def parameters_of(
    model: Any, constants: FrozenMapping[Constant], *, of: str, asker: str = "residual"
) -> Named:
    """Return the physical parameters of `model` and the constants by name.

    Raises:
        ConfigError: One name is both.
    """
    found = model.quantities() if isinstance(model, MeasuringModel) else {}
    if twice := sorted(found.keys() & constants.keys()):
        raise ConfigError(
            f"{of} got the constant {twice[0]!r}, which is a parameter of the model too; give it "
            "in one place.",
            key="constants",
        )
    values: dict[str, Any] = {name: value for name, (value, _) in found.items()}
    known = {name: each.value for name, each in constants.items()}
    return Named("parameter", values | known, asker)


def check_scales(scales: FrozenMapping[float], *, of: str) -> None:
    """Raise ConfigError unless all scales are finite numbers above 0."""
    for name, scale in scales.items():
        positive(f"scales.{name}", scale, of=of)


def scale_residuals(
    values: Any, scales: FrozenMapping[float], weights: Array, *, of: str, what: str
) -> list[Array]:
    """Return the residual of each equation over its scale, 0 where none counts.

    Args:
        values: What the residual returned, an array or a mapping of names to arrays.
        scales: What each is divided by, 1 where none is given; of an array, `residual`.
        weights: Which samples count, of the shape that each residual must have.
        of: The loss that asks.
        what: The shape in words, for the error.

    Raises:
        ConfigError: A residual has another shape, or a scale has no residual.
    """
    named = dict(values) if isinstance(values, Mapping) else {"residual": values}
    if unknown := sorted(scales.keys() - named.keys()):
        raise ConfigError(
            f"{of} got a scale for {unknown[0]!r}, and the residual returns "
            f"{', '.join(map(repr, named)) or 'nothing'}.{nearest(unknown[0], named)}",
            key="scales",
        )
    scaled = []
    for name, value in named.items():
        shape = jnp.shape(value)
        if shape != weights.shape:
            raise ConfigError(
                f"{of}: the residual {name!r} has shape {shape}, and should have {weights.shape}, "
                f"{what}. Return one value for each sample, and a mapping for several equations.",
                key="residual",
            )
        scaled.append(jnp.where(weights, jnp.asarray(value) / scales.get(name, 1.0), 0.0))
    return scaled


def mean_square(residuals: Sequence[Array], weights: Array) -> Array:
    """Return the sum over the equations of the mean square of their residuals where `weights`."""
    count = jnp.maximum(jnp.sum(weights), 1)
    total = jnp.zeros(())
    for each in residuals:
        total = total + jnp.sum(jnp.square(each)) / count
    return total
