"""Functions that users write, found by their place: "module:function" or "file.py:function"."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsjax_core.checks import nearest
from tsjax_core.errors import ConfigError
from tsjax_core.signatures import name_of


def load_function(
    given: str | Callable[..., Any], takes: Sequence[str], *, key: str, of: str
) -> Callable[..., Any]:
    """Return the function `given`, which may be named by its place.

    Args:
        given: The function, or "module:function" or "file.py:function".
        takes: Names of the positional arguments that it is called with.
        key: The option that holds it.
        of: Who has the option.

    Raises:
        ConfigError: There is no such function, or it does not take these arguments.
    """
    function = _import(given, key, of) if isinstance(given, str) else given
    arguments = f"({', '.join(takes)})"
    if not callable(function):
        raise ConfigError(
            f"{of} got {key} = {function!r}; give a function of {arguments}, or its place as "
            "'module:function' or 'file.py:function'.",
            key=key,
        )
    try:
        inspect.signature(function).bind(*takes)
    except TypeError as error:
        raise ConfigError(
            f"{of}: the {key} {name_of(function)!r} has the signature "
            f"{inspect.signature(function)}, and is called with {arguments}.",
            key=key,
        ) from error
    return function


def _import(place: str, key: str, of: str) -> Any:
    source, colon, name = place.rpartition(":")
    if not colon or not source or not name:
        raise ConfigError(
            f"{of} got {key} = {place!r}; give 'module:function' or 'file.py:function'.", key=key
        )
    try:
        module = _run_file(Path(source)) if source.endswith(".py") else _module(source)
    # Whatever a user's file raises while it runs is a mistake in that file.
    except Exception as error:
        raise ConfigError(
            f"{of} got {key} = {place!r}, and {source} cannot be imported ({error}). A file is "
            "looked for from the working directory.",
            key=key,
        ) from error
    if not hasattr(module, name):
        have = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        raise ConfigError(
            f"{of} got {key} = {place!r}, and {source} has no {name!r}.{nearest(name, have)} "
            f"Its functions: {', '.join(have) or 'none'}.",
            key=key,
        )
    return getattr(module, name)


def _module(source: str) -> Any:
    return importlib.import_module(source)


def _run_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
