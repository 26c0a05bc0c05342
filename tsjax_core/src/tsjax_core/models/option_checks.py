"""Checks of hyperparameters, for the `__post_init__` of a model's specification."""

from __future__ import annotations

from numbers import Integral

from tsjax_core.errors import ConfigError


def check_counts(spec: object, **least: int) -> None:
    """Raise ConfigError where a field named in `least` is no whole number or is below its least.

    For a model with layers: `check_counts(self, hidden_size=1, num_layers=1)`.
    """
    for name, smallest in least.items():
        value = getattr(spec, name)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ConfigError(f"{name} = {value!r} is not a whole number.", key=name)
        if value < smallest:
            raise ConfigError(f"{name} = {value} is too small; give at least {smallest}.", key=name)


def check_probabilities(spec: object, *names: str) -> None:
    """Raise ConfigError where a field in `names` is not from 0 to below 1."""
    for name in names:
        value = getattr(spec, name)
        if not 0.0 <= value < 1.0:
            raise ConfigError(
                f"{name} = {value} is not a probability below 1; give 0 for no dropout.", key=name
            )
