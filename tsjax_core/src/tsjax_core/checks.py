"""Checks of the values that a user gives: whole numbers, shares, choices, and names.

Each returns the value in the type that the caller wants, or raises a `ConfigError` that says what
was got and what to give. `of` names who got the value, and `key` what it is called there. Numbers
of NumPy and of jax count as Python's; a truth value is no number.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_type_hints

import numpy as np

from tsjax_core.errors import ConfigError

_LARGEST = 2**40
"""Largest whole number that is taken: no record has more samples, and no training more steps."""


def whole_number(key: str, value: Any, unit: str = "", *, least: int = 0, of: str = "") -> int:
    """Return `value` as an int; ConfigError unless it is a whole number of at least `least`."""
    number = _as_int(value)
    if number is not None and number > _LARGEST:
        raise ConfigError(
            f"{_got(key, value, of)}; give a whole number of at most {_LARGEST}.", key=key
        )
    if number is None or number < least:
        counted = f" of {unit}" if unit else ""
        raise ConfigError(
            f"{_got(key, value, of)}; give a whole number{counted}, at least {least}.", key=key
        )
    return number


def is_number(value: Any) -> bool:
    """Return whether `value` is one real number, which a truth value is not."""
    if isinstance(value, bool | str) or value is None:
        return False
    array = np.asarray(value)
    return array.shape == () and array.dtype.kind in "iuf"


def positive(key: str, value: Any, *, of: str = "") -> float:
    """Return `value` as a float; ConfigError unless it is a finite number above 0."""
    if not is_number(value) or not 0.0 < float(value) < math.inf:
        raise ConfigError(f"{_got(key, value, of)}; give a finite number above 0.", key=key)
    return float(value)


def not_negative(key: str, value: Any, *, of: str = "") -> float:
    """Return `value` as a float; ConfigError unless it is a finite number of at least 0."""
    if not is_number(value) or not 0.0 <= float(value) < math.inf:
        raise ConfigError(f"{_got(key, value, of)}; give a finite number, at least 0.", key=key)
    return float(value)


def share(
    key: str, value: Any, what: str = "a share", *, of: str = "", ends: str = "[]", more: str = ""
) -> float:
    """Return `value` as a float; ConfigError unless it is a number from 0 to 1.

    `ends` has a round bracket for an end that does not belong to the range, such as "[)" for one
    below 1. `what` and `more` stand in the text for what the number means.
    """
    low, high = ends[0], ends[1]
    number = float(value) if is_number(value) else math.nan
    inside = (number > 0.0 if low == "(" else number >= 0.0) and (
        number < 1.0 if high == ")" else number <= 1.0
    )
    if not inside:
        within = {
            "[]": "from 0 to 1",
            "[)": "from 0 to below 1",
            "(]": "above 0 and at most 1",
            "()": "between 0 and 1",
        }
        raise ConfigError(f"{_got(key, value, of)}; give {what} {within[ends]}{more}.", key=key)
    return number


def choice(key: str, value: Any, choices: Sequence[Any], *, of: str = "") -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(
            f"{_got(key, value, of)}; give one of {', '.join(map(repr, choices))}."
            f"{nearest(value, choices)}",
            key=key,
        )


def nearest(name: Any, names: Iterable[Any], *, form: str = "{!r}") -> str:
    """Return " Did you mean ...?" with the one of `names` that is most like `name`, or nothing."""
    found = difflib.get_close_matches(str(name), [str(each) for each in names], n=1)
    return f" Did you mean {form.format(found[0])}?" if found else ""


def check_counts(spec: object, **least: int) -> None:
    """Raise ConfigError where a field named in `least` is no whole number or is below its least.

    For the `__post_init__` of a model's specification: `check_counts(self, hidden_size=1)`.
    """
    for name, smallest in least.items():
        whole_number(name, getattr(spec, name), least=smallest)


def check_probabilities(spec: object, *names: str) -> None:
    """Raise ConfigError where a field in `names` is no number, or not from 0 to below 1."""
    for name in names:
        share(name, getattr(spec, name), "a probability", ends="[)", more=", 0 for no dropout")


def check_choices(spec: object, *names: str) -> None:
    """Raise ConfigError where a field in `names` is none of the values of its `Literal` type."""
    hints = get_type_hints(type(spec))
    for name in names:
        choice(name, getattr(spec, name), get_args(hints[name]))


def check_between_layers(spec: object, dropout: str, layers: str) -> None:
    """Raise ConfigError where the field `dropout` is set and there is one layer alone."""
    if getattr(spec, dropout) and getattr(spec, layers) == 1:
        raise ConfigError(
            f"{dropout} = {getattr(spec, dropout)} acts between layers, and there is one; "
            f"give {layers} = 2 or more, or use weight_dropout.",
            key=dropout,
        )


def _as_int(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _got(key: str, value: Any, of: str) -> str:
    return f"{of} got {key} = {value!r}" if of else f"{key} = {value!r}"
