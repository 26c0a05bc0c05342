"""Components that the tables of an experiment name, made from the options beside the name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from tsjax_core.errors import ConfigError, PluginError
from tsjax_core.options import decode, loss_options
from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import Kind
from tsjax_core.registry.registry import qualified_name, resolve
from tsjax_core.signatures import is_loss_term, name_of

_EXAMPLE: Mapping[Kind, str] = {
    "model": "core/gru",
    "loss": "core/mse",
    "transform": "core/noise",
    "metric": "core/rmse",
    "source": "core/windowed",
    "store": "core/hdf5",
    "plot": "core/results",
}


def place_text(where: str, file: Path | None) -> str:
    """Return how the text of an error begins that is about the table `where` of `file`."""
    return f"{file}: [{where}] " if file is not None else f"[{where}] "


def locate_error(error: ConfigError, where: str, file: Path | None) -> ConfigError:
    """Return `error` with file and table in its text."""
    if error.file is not None or file is None:
        return error
    key = where if error.key in {None, where} else f"{where}.{error.key}"
    return ConfigError(f"{place_text(where, file)}{error}", key=key, file=file)


def resolve_name(kind: Kind, name: str, *, where: str, key: str, file: Path | None) -> Any:
    """Return what is registered as `name`, which stands beside `key` in the table `where`.

    Raises:
        ConfigError: There is no such component, or it cannot be used.
    """
    try:
        return resolve(kind, name)
    except PluginError as error:
        raise ConfigError(
            f"{place_text(where, file)}{key}: {error}", key=f"{where}.{key}", file=file
        ) from error


def find_component(
    kind: Kind, table: Mapping[str, Any], *, where: str, file: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Return the component that `table` names, and the options in it."""
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"{place_text(where, file)}name: expected the name of a component, such as "
            f"{_EXAMPLE[kind]!r}, got {name!r}",
            key=where,
            file=file,
        )
    return resolve_name(kind, name, where=where, key="name", file=file), options


def decode_options(
    factory: Callable[..., Any],
    table: Mapping[str, Any],
    *,
    where: str,
    file: Path | None = None,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Return the keyword arguments for `factory` in `table`, with the components that it names.

    Raises:
        ConfigError: An option is unknown, missing, or of another type than declared.
    """
    return decode(factory, table, where=where, file=file, component=component_of, given=given)


def make_component(
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    where: str,
    file: Path | None,
    facts: Mapping[str, Any] | None = None,
) -> Any:
    """Return what `factory` makes of `options`, and of those of `facts` that it declares.

    Raises:
        ConfigError: An option is unknown, missing, or refused.
    """
    facts = facts or {}
    given = decode_options(factory, options, where=where, file=file, given=facts)
    try:
        return factory(**facts, **given)
    except ConfigError as error:
        raise locate_error(error, where, file) from error
    except ValueError as error:
        # Python's own way for a component to refuse the value of an option.
        raise ConfigError(
            f"{place_text(where, file)}{name_of(factory)}: {error}", key=where, file=file
        ) from error


@cache
def _equal_component(factory: Callable[..., Any], options: str) -> list[Any]:
    return []


def _make_once(
    factory: Callable[..., Any], options: Mapping[str, Any], *, where: str, file: Path | None
) -> Any:
    """Return what `factory` makes of `options`: for equal options one and the same component.

    Losses and transforms are functions, which are equal only if they are the same; and learners
    that are trained as one program need equal ones.
    """
    kept = _equal_component(factory, json.dumps(options, sort_keys=True, default=repr))
    if not kept:
        kept.append(make_component(factory, options, where=where, file=file))
    return kept[0]


def make_loss(table: Mapping[str, Any], *, where: str, file: Path | None) -> Callable[..., Any]:
    """Return the loss term that `table` names: taken as it is, or made from its options."""
    component, options = find_component("loss", table, where=where, file=file)
    if not is_loss_term(component):
        loss: Callable[..., Any] = _make_once(component, options, where=where, file=file)
        return loss
    if options:
        raise ConfigError(
            f"{place_text(where, file)}{table['name']} takes no options, and got "
            f"{', '.join(map(repr, options))}.",
            key=where,
            file=file,
        )
    term: Callable[..., Any] = component
    return term


def make_transform(
    table: Mapping[str, Any], *, where: str, file: Path | None
) -> Callable[..., Any]:
    """Return the batch transform that `table` names, made from its options."""
    factory, options = find_component("transform", table, where=where, file=file)
    transform: Callable[..., Any] = _make_once(factory, options, where=where, file=file)
    return transform


def make_spec(table: Mapping[str, Any], *, where: str, file: Path | None) -> ModelSpec:
    """Return the specification that `table` names, with those within it."""
    factory, options = find_component("model", table, where=where, file=file)
    spec: ModelSpec = make_component(factory, options, where=where, file=file)
    return spec


def component_of(kind: Kind, value: Any, *, key: str, where: str, file: Path | None) -> Any:
    """Return the component that `value` names, which stands beside `key` in the table `where`.

    `value` is a name, or a table of a name and options.
    """
    inside = f"{where}.{key}"
    if isinstance(value, str):
        component = resolve_name(kind, value, where=where, key=key, file=file)
        if kind == "loss" and is_loss_term(component):
            return component
        return make_component(component, {}, where=inside, file=file)
    if not isinstance(value, Mapping):
        example = _EXAMPLE[kind]
        raise ConfigError(
            f"{place_text(where, file)}{key}: expected a {kind}, as its name, such as {example!r}, "
            f'or as a table {{name = "{example}", ...}}, got {value!r}',
            key=inside,
            file=file,
        )
    return _MAKERS[kind](value, where=inside, file=file)


_MAKERS: Mapping[Kind, Callable[..., Any]] = {
    "loss": make_loss,
    "transform": make_transform,
    "model": make_spec,
}


def read_spec(
    spec_class: Callable[..., ModelSpec],
    options: Mapping[str, Any],
    *,
    where: str,
    file: Path | None = None,
) -> ModelSpec:
    """Return the specification that `write_spec` wrote `options` of.

    Raises:
        ConfigError: An option is unknown, missing, or refused, or a specification within it needs a
            plugin that is missing.
    """
    return spec_class(**decode_options(spec_class, options, where=where, file=file))


def write_spec(spec: ModelSpec) -> dict[str, Any]:
    """Return the hyperparameters of a specification in the types of JSON and TOML.

    A specification within it is a table with its `name`.

    Raises:
        ConfigError: No installed plugin registers a specification within it.
    """
    fields = dataclasses.fields(cast("Any", spec))
    return {field.name: _write_value(getattr(spec, field.name)) for field in fields}


def _write_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _write_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_write_value(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    if not isinstance(value, ModelSpec):
        return _write_value(dataclasses.asdict(value))
    name = qualified_name("model", type(value))
    if name is None:
        raise ConfigError(
            f"{type(value).__name__} stands within another specification, and no installed plugin "
            "registers it, so it could not be found again. Register it through the hook "
            "tsjax_models of a plugin.",
            key="model",
        )
    return {"name": name, **write_spec(value)}


def label_of(table: Mapping[str, Any]) -> str:
    """Return the name in the history of the loss in `table`: that of the loss it is made around."""
    inner = loss_within(resolve("loss", table["name"]), table)
    return str(table["name"]).partition("/")[2] if inner is None else label_of(inner)


def loss_within(
    factory: Callable[..., Any], options: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the table of the one loss that `options` give `factory`, None where there is none."""
    for option in loss_options(factory):
        inner = options.get(option)
        # Of a list of losses none is the one.
        if isinstance(inner, str | Mapping):
            return {"name": inner} if isinstance(inner, str) else inner
    return None
