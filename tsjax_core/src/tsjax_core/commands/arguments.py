"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a training run.")]

Time = Annotated[
    str | None,
    typer.Option(
        help="Column or data set of times, '' for none.", show_default="the one called so"
    ),
]

Delimiter = Annotated[
    str | None,
    typer.Option(help="Character between the cells of CSV files.", show_default="noticed"),
]

Decimal = Annotated[
    str | None, typer.Option(help="Decimal sign of CSV files.", show_default="noticed")
]

Groups = Annotated[
    str | None,
    typer.Option(help="HDF5 groups that are records, such as 'exp*'.", show_default="none"),
]


def reading_options(**options: Any) -> dict[str, Any]:
    """Return the options that say how files are read, those that are given."""
    return {key: value for key, value in options.items() if value is not None}
