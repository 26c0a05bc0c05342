"""Texts of physical units, checked for misspellings."""

from __future__ import annotations

import re
from typing import Final

from tsjax_core.checks import nearest
from tsjax_core.errors import ConfigError

_PREFIXED: Final = (
    "m g s A K mol cd rad sr Hz N Pa J W C V F Ω ohm S Wb T H lm lx l L bar eV VA Wh Ah"
)
_ALONE: Final = "kg ° °C deg degC min h d t rpm % rev"
_PREFIXES: Final = "T G M k h da d c m µ μ u n p"
_KNOWN: Final = frozenset(
    {p + unit for p in ("", *_PREFIXES.split()) for unit in _PREFIXED.split()} | {*_ALONE.split()}
)
_NAME: Final = re.compile(r"[A-Za-zµμΩ°%]+")
_REST: Final = re.compile(r"[\s\d./*·^()+-]*")


def check_unit(key: str, unit: str, *, of: str) -> None:
    """Raise ConfigError where `unit` is no product of powers of units of the SI or beside it.

    Products are written "N s" or "N*s", quotients "N s/m" or "N/(m s)", powers "m^2", "V^0.5" or
    "s^-1"; a number without a unit has "", "1" or "-". `of` and `key` say whose unit it is.
    """
    if not isinstance(unit, str):
        raise ConfigError(f"{of} got {key} = {unit!r}; give a text such as 'N s/m'.", key=key)
    unknown = [name for name in _NAME.findall(unit) if name not in _KNOWN]
    if unknown:
        raise ConfigError(
            f"{of} got {key} = {unit!r}, and {unknown[0]!r} is no unit that is known."
            f"{nearest(unknown[0], sorted(_KNOWN))} Write powers and quotients such as 'kg m^2', "
            "'N s/m' or 'V^0.5/s'.",
            key=key,
        )
    if not _REST.fullmatch(_NAME.sub("", unit)) or unit.count("(") != unit.count(")"):
        raise ConfigError(
            f"{of} got {key} = {unit!r}, which is no product of powers of units; write it such as "
            "'N s/m', 'N/(m s)' or 'V^0.5/s'.",
            key=key,
        )
