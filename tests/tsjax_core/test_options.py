"""Options decoded against the signature of what takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tsjax_core.errors import ConfigError
from tsjax_core.models.recurrent import GRU
from tsjax_core.options import decode, options_of, summary_of


@dataclass(frozen=True)
class Tank:
    """A tank with a pump. It leaks.

    Args:
        area: Cross section in m^2.
        levels: Initial levels in m,
            from the top.
    """

    area: float
    levels: Sequence[float] = (1.0, 2.0)
    pumps: int = 1
    valve: Literal["open", "closed"] = "open"
    leak: float | None = None
    name: str = "tank"
    limits: tuple[int, float] = (0, 1.0)
    log: str | Path = "log"
    closed_loop: bool = False
    signals: tuple[str, ...] = ()


FILE = Path("tanks.toml")


def test_values_take_their_declared_types():
    """Whole numbers serve as floats, lists as tuples, text as paths."""
    table = {
        "area": 2,
        "levels": [1, 2.5],
        "leak": 0.5,
        "limits": [3, 4],
        "closed_loop": True,
        "signals": ["u"],
        "log": "a/b",
    }
    got = decode(Tank, table, where="tank", file=FILE)
    assert got == {
        "area": 2.0,
        "levels": (1.0, 2.5),
        "leak": 0.5,
        "limits": (3, 4.0),
        "closed_loop": True,
        "signals": ("u",),
        "log": "a/b",
    }
    assert isinstance(got["area"], float)
    Tank(**got)


@pytest.mark.parametrize(
    "table,key,parts",
    [
        ({"area": "big"}, "area", ["expected a number", "'big'"]),
        ({"area": True}, "area", ["expected a number", "True"]),
        ({"area": 1.0, "pumps": 1.5}, "pumps", ["expected a whole number", "1.5"]),
        ({"area": 1.0, "pump": 1}, "pump", ["unknown option 'pump'", "Did you mean 'pumps'?"]),
        ({"area": 1.0, "zzz": 1}, "zzz", ["Options: area, levels, pumps"]),
        ({}, "area", ["'area' is missing", "float"]),
        ({"area": 1.0, "valve": "opn"}, "valve", ["'open' | 'closed'", "Did you mean 'open'?"]),
        ({"area": 1.0, "levels": "12"}, "levels", ["expected a list", "'12'"]),
        ({"area": 1.0, "levels": [1.0, "x"]}, "levels", ["expected a number", "'x'"]),
        ({"area": 1.0, "limits": [1]}, "limits", ["expected 2 values"]),
        ({"area": 1.0, "leak": "x"}, "leak", ["float | none", "'x'"]),
        ({"area": 1.0, "name": 3}, "name", ["expected text", "3"]),
        ({"area": 1.0, "closed_loop": 1}, "closed_loop", ["true or false", "1"]),
    ],
)
def test_what_does_not_fit_names_file_table_and_option(table, key, parts):
    """The error says where it stands, what was got, and what was expected."""
    with pytest.raises(ConfigError) as caught:
        decode(Tank, table, where="tank", file=FILE)
    print(caught.value)
    assert str(caught.value).startswith("tanks.toml: [tank] ")
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.key == f"tank.{key}"
    assert caught.value.file == FILE


def test_options_are_described_by_signature_and_docstring():
    """Types and defaults from the signature, meanings from `Args:`, for inherited fields too."""
    options = {option.name: option for option in options_of(Tank)}
    assert options["area"].type == "float"
    assert options["area"].default is None
    assert options["area"].doc == "Cross section in m^2."
    assert options["levels"].doc == "Initial levels in m, from the top."
    assert options["levels"].type == "list of float"
    assert options["signals"].type == "list of text"
    assert options["valve"].type == "'open' | 'closed'"
    assert options["leak"].type == "float | none"
    assert summary_of(Tank) == "A tank with a pump. It leaks."
    inherited = {option.name: option for option in options_of(GRU)}
    assert inherited["hidden_size"].doc
    assert inherited["output"].type == "'sequence' | 'last'"
