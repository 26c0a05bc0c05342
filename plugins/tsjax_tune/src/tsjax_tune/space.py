"""The search space of a study: which keys of an experiment are drawn, and from what.

    "train.lr" = { loguniform = [1e-4, 1e-2] }
    "model.name" = { choice = ["core/gru", "core/lstm"] }

The values of a choice may be tables, which may have draws within them. As in
`[[search.space.model]]`, a list of tables is a choice of them.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsjax_core.checks import is_number, nearest
from tsjax_core.errors import ConfigError

RANGES = ("uniform", "loguniform", "randint", "lograndint")
DRAWS = ("choice", *RANGES)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both of which can be drawn."""

    key: str
    kind: str
    low: float
    high: float

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return self.kind.endswith("randint")

    @property
    def logarithmic(self) -> bool:
        """Whether its logarithm is drawn uniformly."""
        return self.kind.startswith("log")


@dataclass(frozen=True)
class Choice:
    """One of several values, each with the draws within it."""

    key: str
    options: tuple[tuple[Any, Space], ...]


Draw = Range | Choice
Pick = Callable[[str, Draw], Any]
"""Returns the value of a draw, which has a unique name: for a choice the place of an option."""


@dataclass(frozen=True)
class Space:
    """The draws of a study, or those within one option of a choice.

    What is drawn is flat: each draw by its name, a choice as the place of its option.
    """

    draws: tuple[Draw, ...] = ()

    def pick(self, pick: Pick, prefix: str = "") -> dict[str, Any]:
        """Return what `pick` gives for every draw, and for those within the options picked."""
        values: dict[str, Any] = {}
        for draw in self.draws:
            name = f"{prefix}{draw.key}"
            value = values[name] = pick(name, draw)
            if isinstance(draw, Choice):
                values |= draw.options[value][1].pick(pick, f"{name}[{value}].")
        return values

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return random values."""

        def pick(_: str, draw: Draw) -> Any:
            if isinstance(draw, Choice):
                return int(rng.integers(len(draw.options)))
            if draw.whole and not draw.logarithmic:
                return int(rng.integers(int(draw.low), int(draw.high), endpoint=True))
            # Each whole number has the share of the logarithms that round to it.
            margin = 0.5 if draw.whole else 0.0
            low, high = draw.low - margin, draw.high + margin
            if not draw.logarithmic:
                return float(rng.uniform(low, high))
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
            value = min(max(value, draw.low), draw.high)
            return round(value) if draw.whole else value

        return self.pick(pick)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return what a trial of Optuna suggests."""

        def pick(name: str, draw: Draw) -> Any:
            if isinstance(draw, Choice):
                return trial.suggest_categorical(name, list(range(len(draw.options))))
            if draw.whole:
                return trial.suggest_int(name, int(draw.low), int(draw.high), log=draw.logarithmic)
            return trial.suggest_float(name, draw.low, draw.high, log=draw.logarithmic)

        return self.pick(pick)

    def grid(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return all combinations of the choices.

        Raises:
            ConfigError: A draw is a range, which has no end of values.
        """
        per_draw = [list(_values_of(draw, prefix)) for draw in self.draws]
        combined = itertools.product(*per_draw)
        return [
            {name: value for part in parts for name, value in part.items()} for parts in combined
        ]

    def probes(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield values that reach every option and both ends of every range, and which they test.

        All other draws have their first value.
        """
        yield from _probes(self, "")

    def assign(self, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Return the value of every key of the experiment that `values` stand for."""
        assigned: dict[str, Any] = {}
        for draw in self.draws:
            name = f"{prefix}{draw.key}"
            value = values[name]
            if isinstance(draw, Choice):
                option, inner = draw.options[value]
                within = inner.assign(values, f"{name}[{value}].")
                value = copy.deepcopy(option)
                for key, each in within.items():
                    place_value(value, key, each)
            assigned[draw.key] = value
        return assigned

    def draw_of(self, key: str) -> Draw | None:
        """Return the draw of `key`, None if it has none outside of the options of a choice."""
        return next((draw for draw in self.draws if draw.key == key), None)


def flatten(assigned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `assigned` with tables taken apart: `model.name`, and so on."""
    flat: dict[str, Any] = {}
    for key, value in assigned.items():
        if isinstance(value, Mapping):
            flat |= flatten({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            flat[key] = value
    return flat


def parse_space(table: Any, file: Path | None) -> Space:
    """Return the space that the table `[search.space]` describes.

    Raises:
        ConfigError: An entry is no draw, or its numbers make no range.
    """
    if not isinstance(table, Mapping) or not table:
        raise _error(
            "it is missing or empty; name what is searched, such as "
            '"train.lr" = { loguniform = [1e-4, 1e-2] }.',
            "space",
            file,
        )
    # TOML makes tables of keys with dots that are not in quotation marks.
    entries = dict(_entries(table, "", file))
    for key in entries:
        above = [other for other in entries if key.startswith(f"{other}.")]
        if above:
            raise _error(
                f"{key!r} is within {above[0]!r}, which is drawn as a whole; put it into the "
                "tables of that choice.",
                key,
                file,
            )
    return Space(tuple(_parse_draw(key, value, key, file) for key, value in entries.items()))


def _entries(table: Mapping[str, Any], prefix: str, file: Path | None) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = f"{prefix}{key}"
        if _is_draw(value) or _is_list_of_tables(value):
            yield path, value
        elif isinstance(value, Mapping) and value and not set(value) & {*DRAWS}:
            inner = value.values()
            if not all(isinstance(each, Mapping) or _is_list_of_tables(each) for each in inner):
                raise _no_draw(path, value, file)
            yield from _entries(value, f"{path}.", file)
        else:
            raise _no_draw(path, value, file)


def _no_draw(key: str, value: Any, file: Path | None) -> ConfigError:
    hint = ""
    if isinstance(value, Mapping) and len(value) == 1:
        hint = nearest(next(iter(value)), DRAWS)
    return _error(
        f"{key} = {value!r} says not what to draw; write one of {', '.join(DRAWS)}, such as "
        f'"{key}" = {{ choice = [1, 2] }}.{hint}',
        key,
        file,
    )


def _is_draw(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in DRAWS


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _parse_draw(key: str, value: Any, path: str, file: Path | None) -> Draw:
    kind, given = ("choice", value) if isinstance(value, list) else next(iter(value.items()))
    if kind == "choice":
        if not isinstance(given, list) or not given:
            raise _error(f"{path}: choice = {given!r}; give a list of values.", path, file)
        return Choice(
            key,
            tuple(
                (each, Space(tuple(_draws_within(each, "", f"{path}[{place}]", file))))
                for place, each in enumerate(given)
            ),
        )
    whole = kind.endswith("randint")
    numbers = "whole numbers" if whole else "numbers"
    fits = (
        isinstance(given, list)
        and len(given) == 2
        and all(is_number(each) and math.isfinite(each) for each in given)
        and not (whole and any(isinstance(each, float) for each in given))
    )
    if not fits or not given[0] < given[1]:
        raise _error(
            f"{path}: {kind} = {given!r}; give the lowest and the highest of the {numbers}, such "
            f"as {kind} = {[4, 64] if whole else [0.001, 0.1]}.",
            path,
            file,
        )
    if kind.startswith("log") and given[0] <= 0:
        raise _error(f"{path}: {kind} = {given!r}; it has a logarithm above 0 alone.", path, file)
    return Range(key, kind, given[0], given[1])


def _draws_within(value: Any, prefix: str, path: str, file: Path | None) -> Iterator[Draw]:
    """Yield the draws in a table that is an option of a choice."""
    if not isinstance(value, Mapping):
        return
    for key, each in value.items():
        if _is_draw(each):
            yield _parse_draw(f"{prefix}{key}", each, f"{path}.{key}", file)
        else:
            yield from _draws_within(each, f"{prefix}{key}.", f"{path}.{key}", file)


def _values_of(draw: Draw, prefix: str) -> Iterator[dict[str, Any]]:
    name = f"{prefix}{draw.key}"
    if isinstance(draw, Range):
        raise ConfigError(
            f"algorithm = 'grid' tries all values, and {name} has a range ({draw.kind}); write a "
            "choice, or use the algorithm 'random'.",
            key=f"search.space.{name}",
        )
    for place, (_, inner) in enumerate(draw.options):
        for within in inner.grid(f"{name}[{place}]."):
            yield {name: place, **within}


def _probes(space: Space, prefix: str) -> Iterator[tuple[dict[str, Any], str]]:
    first = space.pick(_first, prefix)
    for draw in space.draws:
        name = f"{prefix}{draw.key}"
        others = {
            key: value
            for key, value in first.items()
            if key != name and not key.startswith(f"{name}[")
        }
        if isinstance(draw, Range):
            for end in (draw.low, draw.high):
                yield {**others, name: _number(draw, end)}, draw.key
            continue
        for place, (_, inner) in enumerate(draw.options):
            within = list(_probes(inner, f"{name}[{place}].")) or [({}, draw.key)]
            for values, _ in within:
                yield {**others, name: place, **values}, draw.key


def _first(_: str, draw: Draw) -> Any:
    return 0 if isinstance(draw, Choice) else _number(draw, draw.low)


def _number(draw: Range, value: float) -> float:
    return int(value) if draw.whole else float(value)


def place_value(tables: Any, key: str, value: Any) -> None:
    """Set the value at `key`, such as `loss.0.weight`, in `tables`.

    Raises:
        ConfigError: There is no such place.
    """
    path = key.split(".")
    place: Any = tables
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(place, list):
            if not part.isdecimal() or int(part) >= len(place):
                above = ".".join(path[:depth])
                have = f"0 to {len(place) - 1}" if place else "none"
                raise ConfigError(
                    f"{key}: {above} is a list of tables; name one of them by its number, {have}.",
                    key=key,
                )
            at: Any = int(part)
        elif isinstance(place, dict):
            at = part
        else:
            above = ".".join(path[:depth])
            raise ConfigError(f"{key}: {above} is {place!r} and has no {part!r}.", key=key)
        if last:
            place[at] = value
            return
        if isinstance(place, dict):
            inner = place.setdefault(at, {})
            if isinstance(inner, str) and depth:
                # A component by its name alone gets options beside it.
                place[at] = {"name": inner}
        place = place[at]


def _error(text: str, key: str, file: Path | None) -> ConfigError:
    place = f"{file}: [search.space] " if file is not None else "[search.space] "
    return ConfigError(f"{place}{text}", key=f"search.space.{key}", file=file)


def apply_values(tables: Mapping[str, Any], assigned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of an experiment with the values of `assigned` in their places."""
    changed: dict[str, Any] = copy.deepcopy(dict(tables))
    # Tables first, so that a value within is not replaced with them.
    for key in sorted(assigned, key=lambda key: key.count(".")):
        place_value(changed, key, copy.deepcopy(assigned[key]))
    return changed
