"""Options from text files, decoded against the signature of what takes them.

A component's options are the parameters of its dataclass or function, so there is no second
description of them to keep: names, types and defaults are read from the signature, explanations
from the docstring.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol, Union

import cattrs
import docstring_parser
import jax
import numpy as np

from tsjax_core.checks import nearest
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import BatchTransform, LossTerm, ModelSpec
from tsjax_core.registry.hookspecs import Kind
from tsjax_core.types import FrozenMapping

_COMPONENTS: Mapping[Any, Kind] = {
    LossTerm: "loss",
    BatchTransform: "transform",
    ModelSpec: "model",
}
_KIND = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
# A key in the paths of cattrs.
_KEY = re.compile(r"\['([^']*)'\]")
_NOT_IN_FILES = "which cannot be given in a file"


class ComponentMaker(Protocol):
    """Makes a component of a kind from its name, or from a table of its name and options."""

    def __call__(self, kind: Kind, value: Any, *, key: str, where: str, file: Path | None) -> Any:
        """Return the component that stands beside `key` in the table `where` of `file`."""
        ...


@dataclass(frozen=True)
class Option:
    """One option of a component, as `tsjax show` prints it."""

    name: str
    type: str
    default: str | None
    doc: str


def options_of(target: Callable[..., Any]) -> list[Option]:
    """Return the options of a component, with the explanations of its docstring's `Args:`."""
    docs: dict[str, str] = {}
    for owner in reversed(inspect.getmro(target)) if isinstance(target, type) else [target]:
        for param in docstring_parser.parse(inspect.getdoc(owner) or "").params:
            docs[param.arg_name] = " ".join((param.description or "").split())
    hints = _hints(target)
    return [
        Option(
            name,
            _type_text(hints.get(name, Any)),
            None if parameter.default is parameter.empty else repr(parameter.default),
            docs.get(name, ""),
        )
        for name, parameter in _parameters(target).items()
    ]


def decode(
    target: Callable[..., Any],
    table: Mapping[str, Any],
    *,
    where: str,
    file: Path | None = None,
    component: ComponentMaker | None = None,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Return the keyword arguments for `target` that `table` gives, each of its declared type.

    Args:
        target: Class or function that takes the options.
        table: The options by name.
        where: Dotted path of the table, for the errors.
        file: File in which it stands, for the errors.
        component: Makes the components that options name, such as the loss around which another
            one is made.
        given: Parameters that the caller gives, which are no options.

    Raises:
        ConfigError: An option is unknown, missing, or of another type than declared.
    """
    parameters = {n: p for n, p in _parameters(target).items() if n not in given}
    hints = _hints(target)
    for key in table:
        if key not in parameters:
            hint, have = nearest(key, parameters), ", ".join(parameters) or "none"
            raise _error(f"unknown option {key!r}.{hint} Options: {have}.", where, key, file)
    required = [n for n, p in parameters.items() if p.default is p.empty]
    if missing := [name for name in required if name not in table]:
        raise _error(
            f"{missing[0]!r} is missing; it is {_type_text(hints.get(missing[0], Any))}.",
            where,
            missing[0],
            file,
        )
    values = {}
    for key, value in table.items():
        hint = hints.get(key, Any)
        if isinstance(hint, str):
            raise _error(f"{key}: it is {hint}, {_NOT_IN_FILES}", where, key, file)
        if component is not None and (kind := _component_kind(hint)) is not None:
            make = partial(component, kind, where=where, file=file)
            values[key] = _make_nested(make, hint, value, where, key, file)
            continue
        try:
            values[key] = _CONVERTER.structure(value, hint)
        except Exception as error:
            texts = cattrs.transform_error(error, path=key, format_exception=_format)
            parts = [each.rpartition(" @ ") for each in texts]
            places = [_KEY.sub(r".\1", path) for _, _, path in parts]
            text = "; ".join(f"{p}: {part[0]}" for p, part in zip(places, parts, strict=True))
            raise _error(text, where, key, file) from error
    return values


def loss_options(target: Callable[..., Any]) -> list[str]:
    """Return the names of the options of `target` that are losses themselves."""
    return [name for name, hint in _hints(target).items() if _component_kind(hint) == "loss"]


def _component_kind(hint: Any) -> Kind | None:
    """Return the kind of component that a parameter of type `hint` takes, None if it takes none."""
    if _is_union(hint) or _is_sequence(hint):
        kinds = map(_component_kind, typing.get_args(hint))
        return next((kind for kind in kinds if kind is not None), None)
    return next((kind for protocol, kind in _COMPONENTS.items() if hint is protocol), None)


def _make_nested(
    make: Callable[..., Any], hint: Any, value: Any, where: str, key: str, file: Path | None
) -> Any:
    """Return the component or the list of components that `value` names."""
    if value is None and _is_union(hint):
        return None
    if not _is_sequence(hint):
        return make(value, key=key)
    if not isinstance(value, list | tuple):
        raise _error(f"{key}: expected a list, got {value!r}", where, key, file)
    return tuple(make(each, key=f"{key}[{i}]") for i, each in enumerate(value))


def _error(text: str, where: str, key: str, file: Path | None) -> ConfigError:
    place = f"{file}: [{where}] " if file is not None else f"[{where}] "
    return ConfigError(place + text, key=f"{where}.{key}", file=file)


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters; a name that exists for type checkers alone stays text."""
    owners: list[tuple[Mapping[str, Any], dict[str, Any]]] = []
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        for cls in reversed(inspect.getmro(target)):
            own = vars(cls).get("__annotations__", {})
            owners.append((own, vars(sys.modules[cls.__module__])))
    else:
        function: Any = vars(target)["__init__"] if isinstance(target, type) else target
        function = inspect.unwrap(function)
        owners.append((function.__annotations__, function.__globals__))
    parameters = _parameters(target)
    hints: dict[str, Any] = {}
    for written, namespace in owners:
        for name in written.keys() & parameters.keys():
            alone = types.SimpleNamespace(__annotations__={name: written[name]})
            try:
                hints |= typing.get_type_hints(alone, globalns=namespace)
            except NameError:
                hints[name] = written[name]
    return hints


def _type_text(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(repr(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type_text(arg) for arg in args))
    if hint is jax.Array or origin is np.ndarray:
        return "array"
    if hint is type(None):
        return "none"
    if kind := next((kind for protocol, kind in _COMPONENTS.items() if hint is protocol), None):
        return kind
    if hint in (str, Path):
        return "text" if hint is str else "path"
    if origin is FrozenMapping:
        return f"table of {_type_text(args[0])}"
    if dataclasses.is_dataclass(hint):
        return f"table of {', '.join(each.name for each in dataclasses.fields(hint))}"
    if origin is not None and args:
        inner = ", ".join(_type_text(arg) for arg in args if arg is not ...)
        return f"{'list' if _is_sequence(hint) else origin.__name__.lower()} of {inner}"
    return getattr(hint, "__name__", str(hint))


def _format(error: BaseException, type_: type | None) -> str:
    if isinstance(error, cattrs.StructureHandlerNotFoundError):
        return f"it is {_type_text(type_ or error.type_)}, {_NOT_IN_FILES}"
    return str(error)


def _strict(wanted: type, accepted: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
            raise ValueError(f"expected {_KIND[wanted]}, got {value!r}")
        return wanted(value)

    return structure


def _path(value: Any, _: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError(f"expected a path as text, got {value!r}")
    return Path(value)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _union(value: Any, hint: Any) -> Any:
    for member in typing.get_args(hint):
        if member is type(None):
            if value is None:
                return None
            continue
        try:
            return _CONVERTER.structure(value, member)
        except Exception:  # noqa: BLE001, S112 - the next member may take it; reported below
            continue
    raise ValueError(f"expected {_type_text(hint)}, got {value!r}")


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _literal(value: Any, hint: Any) -> Any:
    choices = typing.get_args(hint)
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        hinted = nearest(value, choices)
        raise ValueError(f"expected one of {_type_text(hint)}, got {value!r}.{hinted}")
    return value


def _is_sequence(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    return origin in (list, tuple) or (
        isinstance(origin, type)
        and origin.__module__ == "collections.abc"
        and len(typing.get_args(hint)) == 1
    )


def _sequence(value: Any, hint: Any) -> Any:
    # Text is a sequence of letters to Python, and u = "u1" would become one signal per letter.
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, got {value!r}")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    container = list if origin is list else tuple
    if origin is tuple and args[-1] is not ... and len(value) != len(args):
        raise ValueError(f"expected {len(args)} values, got {value!r}")
    each = args if origin is tuple and args[-1] is not ... else [args[0]] * len(value)
    return container(_CONVERTER.structure(v, t) for v, t in zip(value, each, strict=True))


def _is_frozen_mapping(hint: Any) -> bool:
    return typing.get_origin(hint) is FrozenMapping


def _frozen_mapping(value: Any, hint: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table, got {value!r}")
    (each,) = typing.get_args(hint)
    table: Any = dict[str, each]  # type: ignore[valid-type]
    return FrozenMapping(_CONVERTER.structure(value, table))


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook_func(_is_sequence, _sequence)
    converter.register_structure_hook_func(_is_union, _union)
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_func(_is_frozen_mapping, _frozen_mapping)
    accepted = {bool: bool, int: Integral, float: Real, str: str}
    for wanted, types_ in accepted.items():
        converter.register_structure_hook(wanted, _strict(wanted, types_))
    converter.register_structure_hook(Path, _path)
    return converter


_CONVERTER = _make_converter()


def summary_of(component: object) -> str:
    """Return what a component is: the first paragraph of its docstring."""
    parsed = docstring_parser.parse(inspect.getdoc(component) or "")
    return parsed.short_description or ""
