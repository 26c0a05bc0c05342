"""Names of parameters, and patterns for them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from jax.tree_util import GetAttrKey, keystr

from tsjax_core.errors import ConfigError


def parameter_name(path: tuple[Any, ...]) -> str:
    """Return the dotted name, such as `stack.layers.0.w_in`, of a leaf's path in a tree."""
    # A flax variable is a node whose array is its value.
    if path and isinstance(path[-1], GetAttrKey) and path[-1].name == "value":
        path = path[:-1]
    return keystr(path, simple=True, separator=".")


def parameter_names(params: Any) -> list[str]:
    """Return the names of all parameters, in the order of the tree's leaves."""
    return [parameter_name(path) for path, _ in jax.tree.leaves_with_path(params)]


def first_match(name: str, patterns: Sequence[str]) -> int | None:
    """Return the position of the first of `patterns` that matches `name`, or None."""
    return next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), None)


def mask_of(pattern: str, params: Any) -> Any:
    """Return a tree that says for each parameter whether its name matches `pattern`."""
    return jax.tree.map_with_path(
        lambda path, _: fnmatchcase(parameter_name(path), pattern), params
    )


def check_patterns(patterns: Sequence[str], params: Any, *, key: str) -> None:
    """Raise ConfigError unless each of `patterns` is the first that matches some parameter."""
    names = parameter_names(params)
    used = {first_match(name, patterns) for name in names}
    for i, pattern in enumerate(patterns):
        if i in used:
            continue
        taken = [name for name in names if fnmatchcase(name, pattern)]
        if taken:
            raise ConfigError(
                f"pattern {pattern!r} is never used: patterns before it match all that it does "
                f"({', '.join(taken)}). Put it before them.",
                key=key,
            )
        raise ConfigError(
            f"pattern {pattern!r} matches no parameter. The parameters are: {', '.join(names)}.",
            key=key,
        )
