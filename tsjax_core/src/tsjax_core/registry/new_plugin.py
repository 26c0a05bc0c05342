"""A new plugin: a copy of the template, which is itself the plugin `acme`, under another name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from tsjax_core.directories import replaced_directory
from tsjax_core.errors import ConfigError, RunDirectoryError
from tsjax_core.registry.hookspecs import PROJECT
from tsjax_core.registry.plugin_loading import SHORT_NAME
from tsjax_core.registry.registry import FIRST_PARTY

TEMPLATE: Final = Path(__file__).parents[1] / "_template"
_TEMPLATE_NAME = "acme"

_LONGEST = 40


def distribution_of(name: str) -> str:
    """Return the distribution of a namespace: `tsjax-` and the name, with dashes."""
    return f"tsjax-{name.replace('_', '-')}"


def write_plugin(name: str, out: Path | None = None) -> Path:
    """Write a plugin with the namespace `name` to the new directory `out`, and return that.

    `out` is `tsjax-NAME` in the current directory unless given.

    Raises:
        ConfigError: `name` cannot be a namespace, or is that of another plugin.
        RunDirectoryError: `out` exists or cannot be written.
    """
    _check_name(name)
    distribution = distribution_of(name)
    out = Path(distribution) if out is None else out
    if os.path.lexists(out):
        raise RunDirectoryError(
            f"{out} exists; nothing was written. Choose another directory with --out.", path=out
        )

    # In one pass, because the new name may hold the old one.
    names = {distribution_of(_TEMPLATE_NAME): distribution, _TEMPLATE_NAME: name}

    def renamed(text: str) -> str:
        return re.sub("|".join(names), lambda found: names[found.group()], text)

    files: dict[str, str] = {}
    for file in template_files():
        # Tools of the repository would take names with a dot for their own.
        target = re.sub(r"^dot_", ".", renamed(file.relative_to(TEMPLATE).as_posix()))
        files[target] = renamed(file.read_text(encoding="utf-8"))
    _write_files(files, out)
    return out


def template_files() -> list[Path]:
    """Return the files of the template, without what tools and installers leave among them."""
    return [
        file
        for file in sorted(TEMPLATE.rglob("*"))
        if file.is_file()
        and not any(
            part.startswith(".") or part == "__pycache__"
            for part in file.relative_to(TEMPLATE).parts
        )
    ]


def _write_files(files: Mapping[str, str], out: Path) -> None:
    try:
        with replaced_directory(out) as fresh:
            for name, text in files.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_text(text, encoding="utf-8")
    except OSError as error:
        above = next((parent for parent in out.parents if os.path.lexists(parent)), out)
        reason = error.strerror if above.is_dir() else f"{above} is not a directory"
        raise RunDirectoryError(
            f"{out} cannot be written ({reason}); nothing was written. Choose another directory "
            "with --out.",
            path=out,
        ) from error


def _check_name(name: str) -> None:
    if not _is_namespace(name):
        near = re.sub(r"[-_. /]+", "_", re.sub(r"^tsjax[-_. ]*", "", name.lower())).strip("_")
        raise ConfigError(
            f"{name!r} cannot be the namespace of a plugin: it starts with a lower-case letter, "
            "has only lower-case letters, digits and single underscores between them, and at most "
            f"{_LONGEST} of all; tsjax- is put before it."
            + (f" Did you mean {near!r}?" if _is_namespace(near) and near != name else ""),
            key="name",
        )
    if name in FIRST_PARTY:
        raise ConfigError(
            f"the namespace {name!r} is that of {FIRST_PARTY[name]}, which the tsjax project "
            "publishes; choose another name.",
            key="name",
        )
    for entry_point in metadata.entry_points(group=PROJECT, name=name):
        owner = entry_point.dist
        raise ConfigError(
            f"the namespace {name!r} is taken by {owner.name if owner else entry_point.value}"
            f"{f' {owner.version}' if owner else ''}, which is installed. Choose another name; "
            "where two plugins claim one namespace, neither can be used.",
            key="name",
        )


def _is_namespace(name: str) -> bool:
    # A distribution's name ends with a letter or digit, and has no two separators in a row.
    return bool(
        SHORT_NAME.fullmatch(name)
        and len(name) <= _LONGEST
        and not name.endswith("_")
        and "__" not in name
        and name.split("_", maxsplit=1)[0] != PROJECT
    )
