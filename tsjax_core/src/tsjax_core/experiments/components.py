"""Components that the tables of an experiment name, made from the options beside the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tsjax_core.errors import ConfigError, PluginError
from tsjax_core.options import decode, loss_options
from tsjax_core.registry.hookspecs import Kind
from tsjax_core.registry.registry import resolve
from tsjax_core.signatures import is_loss_term, name_of

_EXAMPLE: Mapping[Kind, str] = {"model": "core/gru", "loss": "core/mse", "transform": "core/noise"}


def place(where: str, file: Path | None) -> str:
    """Return how the text of an error begins that is about the table `where` of `file`."""
    return f"{file}: [{where}] " if file is not None else f"[{where}] "


def placed(error: ConfigError, where: str, file: Path | None) -> ConfigError:
    """Return `error` with file and table in its text."""
    if error.file is not None or file is None:
        return error
    key = where if error.key in {None, where} else f"{where}.{error.key}"
    return ConfigError(f"{place(where, file)}{error}", key=key, file=file)


def resolved(kind: Kind, name: str, *, where: str, key: str, file: Path | None) -> Any:
    """Return what is registered as `name`, which stands beside `key` in the table `where`.

    Raises:
        ConfigError: There is no such component, or it cannot be used.
    """
    try:
        return resolve(kind, name)
    except PluginError as error:
        raise ConfigError(
            f"{place(where, file)}{key}: {error}", key=f"{where}.{key}", file=file
        ) from error


def found(
    kind: Kind, table: Mapping[str, Any], *, where: str, file: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Return the component that `table` names, and the options in it."""
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"{place(where, file)}name: expected the name of a component, such as "
            f"{_EXAMPLE.get(kind, 'core/gru')!r}, got {name!r}",
            key=where,
            file=file,
        )
    return resolved(kind, name, where=where, key="name", file=file), options


def made(
    factory: Callable[..., Any], options: Mapping[str, Any], *, where: str, file: Path | None
) -> Any:
    """Return what `factory` makes of `options`.

    Raises:
        ConfigError: An option is unknown, missing, or refused.
    """
    given = decode(factory, options, where=where, file=file)
    try:
        return factory(**given)
    except ConfigError as error:
        raise placed(error, where, file) from error
    except ValueError as error:
        # Python's own way for a component to refuse the value of an option.
        raise ConfigError(
            f"{place(where, file)}{name_of(factory)}: {error}", key=where, file=file
        ) from error


def loss_of(table: Mapping[str, Any], *, where: str, file: Path | None) -> Callable[..., Any]:
    """Return the loss term that `table` names: taken as it is, or made from its options."""
    component, options = found("loss", table, where=where, file=file)
    if not is_loss_term(component):
        loss: Callable[..., Any] = made(component, options, where=where, file=file)
        return loss
    if options:
        raise ConfigError(
            f"{place(where, file)}{table['name']} takes no options, and got "
            f"{', '.join(map(repr, options))}.",
            key=where,
            file=file,
        )
    term: Callable[..., Any] = component
    return term


def transform_of(table: Mapping[str, Any], *, where: str, file: Path | None) -> Callable[..., Any]:
    """Return the batch transform that `table` names, made from its options."""
    factory, options = found("transform", table, where=where, file=file)
    transform: Callable[..., Any] = made(factory, options, where=where, file=file)
    return transform


def component_of(kind: Kind, value: Any, *, where: str, key: str, file: Path | None) -> Any:
    """Return the component that `value` names, which stands beside `key` in the table `where`.

    `value` is a name, or a table of a name and options.
    """
    inside = f"{where}.{key}"
    if isinstance(value, str):
        component = resolved(kind, value, where=where, key=key, file=file)
        if kind == "loss" and is_loss_term(component):
            return component
        return made(component, {}, where=inside, file=file)
    if not isinstance(value, Mapping):
        example = _EXAMPLE[kind]
        raise ConfigError(
            f"{place(where, file)}{key}: expected a {kind}, as its name, such as {example!r}, or "
            f'as a table {{name = "{example}", ...}}, got {value!r}',
            key=inside,
            file=file,
        )
    return _MAKERS[kind](value, where=inside, file=file)


_MAKERS: Mapping[Kind, Callable[..., Any]] = {"loss": loss_of, "transform": transform_of}


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
