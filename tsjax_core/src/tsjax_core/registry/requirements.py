"""What a plugin's distribution asks of core, and whether the core in use meets it.

An installer has judged this before; what reaches tsjax unmet was installed without dependencies,
or core was changed afterwards. So only what is certain is told: a requirement with a marker, or one
between versions that are no plain releases, counts as met.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from importlib import metadata
from itertools import zip_longest
from typing import Final, TypeAlias

_Release: TypeAlias = tuple[int, ...]

_REQUIREMENT: Final = re.compile(
    r"tsjax[-_.]core\s*(\[[^]]*\])?\s*\(?([^;()]*)\)?\s*", re.IGNORECASE
)
_CLAUSE: Final = re.compile(r"(~=|[<>=!]=|[<>])\s*(\d+(?:\.\d+)*)(\.\*)?")
_RELEASE: Final = re.compile(r"\d+(?:\.\d+)*")
_COMPARISONS: Final[dict[str, Callable[[_Release, _Release], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


def core_in_use() -> str | None:
    """Return the version of core in use, None where it runs without being installed."""
    try:
        return metadata.version("tsjax-core")
    except metadata.PackageNotFoundError:
        return None


def core_requirement(requirements: Iterable[str]) -> str | None:
    """Return what a distribution asks of core, as its metadata say it, None if nothing.

    A requirement with a marker, such as that of an extra, is returned where no other stands.
    """
    name = re.compile(r"tsjax[-_.]core(?![-_.]?\w)", re.IGNORECASE)
    found = [requirement for requirement in requirements if name.match(requirement)]
    return next((r for r in found if ";" not in r), found[0] if found else None)


def is_unmet(requirement: str, version: str) -> bool:
    """Return whether a version of core certainly does not meet a requirement on it."""
    asked = _REQUIREMENT.fullmatch(requirement)
    if asked is None or not _RELEASE.fullmatch(version):
        return False
    return any(_excludes(clause.strip(), version) for clause in asked[2].split(","))


def _excludes(clause: str, version: str) -> bool:
    parts = _CLAUSE.fullmatch(clause)
    if parts is None:
        return False
    symbol, text, any_further = parts.groups()
    bound, release = _numbers(text), _numbers(version)
    if any_further:
        release = release[: len(bound)]
    pairs = list(zip_longest(release, bound, fillvalue=0))
    padded, least = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    if symbol == "~=":
        same = len(bound) - 1
        return padded < least or padded[:same] != least[:same]
    return not _COMPARISONS[symbol](padded, least)


def _numbers(text: str) -> _Release:
    return tuple(int(number) for number in text.split("."))
