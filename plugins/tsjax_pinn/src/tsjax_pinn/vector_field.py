"""The right-hand side of differential equations: what is known of it, and what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tsjax_core.checks import nearest
from tsjax_core.errors import ConfigError
from tsjax_core.models.parameters import Bounded, BoundedParameter
from tsjax_core.types import Array, FrozenMapping, Signals
from tsjax_pinn.auxiliary import Auxiliary
from tsjax_pinn.networks import SmoothNetwork
from tsjax_pinn.place import load_function
from tsjax_pinn.residual import Constant, Named, channels, parameters_of
from tsjax_pinn.rollout import PhysicalStates
from tsjax_pinn.surrogate import interval_of

_OWNER = "GreyBox"


class VectorField(nnx.Module):
    """The derivatives in time of the states of a `GreyBox`, whose docstring has the options.

    Raises:
        ConfigError: There is no such function, `corrects` or `sees` names what is not there, a
            name is both a parameter and a constant, or the data have no sampling time.
    """

    def __init__(
        self,
        signals: Signals,
        auxiliary: FrozenMapping[Auxiliary],
        *,
        field: str | None,
        parameters: FrozenMapping[Bounded],
        constants: FrozenMapping[Constant],
        hidden_size: int,
        num_layers: int,
        corrects: tuple[str, ...],
        sees: tuple[str, ...],
        time_constant: float | None,
        rngs: nnx.Rngs,
    ) -> None:
        self.states = PhysicalStates(signals, auxiliary, owner=_OWNER)
        self.inputs = signals.inputs
        self.step_size = interval_of(signals, owner=_OWNER)
        takes = ("u", "x", "parameters")
        self.known = None if field is None else load_function(field, takes, key="field", of=_OWNER)
        self.constants = constants
        self.physical = nnx.Dict({k: BoundedParameter(b) for k, b in parameters.items()})
        parameters_of(self, constants, of=_OWNER)
        names = self.states.names
        all_names = (*names, *signals.inputs)
        _check_names("corrects", corrects, names, "state")
        _check_names("sees", sees, all_names, "state or input")
        self.corrects = (corrects or names) if hidden_size else ()
        self.rate = 1.0 / (time_constant or 10.0 * self.step_size)
        self.seen = tuple(all_names.index(name) for name in sees or all_names)
        self.network = (
            SmoothNetwork(len(self.seen), len(self.corrects), hidden_size, num_layers, rngs=rngs)
            if hidden_size
            else None
        )

    def quantities(self) -> Mapping[str, tuple[Array, str]]:
        """Return value and unit of each physical parameter."""
        return {name: parameter.quantity for name, parameter in self.physical.items()}

    def __call__(self, u: Array, x: Array) -> Array:
        """Return the derivatives of states `x` (batch, n_x), both in units of their scale.

        Inputs `u` (batch, n_u) are raw.

        Raises:
            ConfigError: The known part asks for a name that is not there, or returns something
                else than the derivatives of the states by name, (batch,).
        """
        names, std = self.states.names, self.states.scale.std[...]
        rates = dict.fromkeys(names, jnp.zeros(len(x), x.dtype))
        if self.known is not None:
            given = Named("input", channels(self.inputs, u), "field")
            states = Named("state", channels(names, self.states.scale.denormalize(x)), "field")
            parameters = parameters_of(self, self.constants, of=_OWNER, asker="field")
            found = self.known(given, states, parameters)
            self._check(found, len(x))
            for name, value in found.items():
                rates[name] = value / std[names.index(name)]
        if self.network is not None:
            everything = jnp.concatenate([x, self.states.u_scale.normalize(u)], -1)
            more = self.network(everything[:, np.array(self.seen)])
            for at, name in enumerate(self.corrects):
                rates[name] = rates[name] + self.rate * more[:, at]
        return jnp.stack([rates[name] for name in names], axis=-1)

    def _check(self, found: Any, rows: int) -> None:
        """Raise ConfigError where the known part did not return what it should."""
        names = self.states.names
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"{_OWNER}: the field returns {type(found).__name__}; let it return a mapping from "
                f"each state to its derivative: {', '.join(names)}.",
                key="field",
            )
        if unknown := [name for name in found if name not in names]:
            raise ConfigError(
                f"{_OWNER}: the field returns the derivative of {unknown[0]!r}, which is no state."
                f"{nearest(unknown[0], names)} The states: {', '.join(names)}. States that are not "
                "measured outputs stand in the table auxiliary.",
                key="field",
            )
        if missing := [name for name in names if name not in found and name not in self.corrects]:
            raise ConfigError(
                f"{_OWNER}: the field returns no derivative of the state {missing[0]!r}, and no "
                f"network learns it. It returns {', '.join(found) or 'nothing'}.",
                key="field",
            )
        for name, value in found.items():
            if jnp.shape(value) != (rows,):
                raise ConfigError(
                    f"{_OWNER}: the field returns shape {jnp.shape(value)} for the state "
                    f"{name!r}, and should return {(rows,)}, one value for each sequence.",
                    key="field",
                )


def _check_names(key: str, given: tuple[str, ...], names: tuple[str, ...], what: str) -> None:
    """Raise ConfigError where one of the names in an option is not among `names`."""
    if unknown := [name for name in given if name not in names]:
        raise ConfigError(
            f"{_OWNER} got {key} = {unknown[0]!r}, which is no {what}."
            f"{nearest(unknown[0], names)} There are: {', '.join(names)}.",
            key=key,
        )
