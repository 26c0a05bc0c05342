"""Checks of hyperparameters, for the `__post_init__` of a model's specification."""

from __future__ import annotations

import difflib
from numbers import Integral, Real
from typing import get_args, get_type_hints

from tsjax_core.errors import ConfigError


def check_counts(spec: object, **least: int) -> None:
    """Raise ConfigError where a field named in `least` is no whole number or is below its least.

    For a model with layers: `check_counts(self, hidden_size=1, num_layers=1)`.
    """
    for name, smallest in least.items():
        value = getattr(spec, name)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ConfigError(f"{name} = {value!r} is not a whole number.", key=name)
        if value < smallest:
            raise ConfigError(f"{name} = {value} is too small; give at least {smallest}.", key=name)


def check_probabilities(spec: object, *names: str) -> None:
    """Raise ConfigError where a field in `names` is no number, or not from 0 to below 1."""
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ConfigError(
                f"{name} = {value!r} is not a number; give a probability below 1, 0 for no "
                "dropout.",
                key=name,
            )
        if not 0.0 <= float(value) < 1.0:
            raise ConfigError(
                f"{name} = {value} is not a probability below 1; give 0 for no dropout.", key=name
            )


def check_choices(spec: object, *names: str) -> None:
    """Raise ConfigError where a field in `names` is none of the values of its `Literal` type."""
    hints = get_type_hints(type(spec))
    for name in names:
        value, choices = getattr(spec, name), get_args(hints[name])
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"{name} = {value!r} is none of {', '.join(map(repr, choices))}.{hint}", key=name
            )


def check_between_layers(spec: object, dropout: str, layers: str) -> None:
    """Raise ConfigError where the field `dropout` is set and there is one layer alone."""
    if getattr(spec, dropout) and getattr(spec, layers) == 1:
        raise ConfigError(
            f"{dropout} = {getattr(spec, dropout)} acts between layers, and there is one; "
            f"give {layers} = 2 or more, or use weight_dropout.",
            key=dropout,
        )
