"""Commands that show what there is: plugins, names, options, models; and that begin something."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from tsjax_core.commands.console import keep_compiled_programs, make_console
from tsjax_core.errors import BrokenPluginError, UnknownNameError
from tsjax_core.options import Option
from tsjax_core.registry.hookspecs import KINDS, Kind


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="New directory to write to.", show_default="tsjax-demo, -2, -3, ..."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides data, parameters and training.")] = 0,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Write data and experiment, and train nothing.")
    ] = False,
) -> None:
    """Identify a simulated nonlinear oscillator and compare with a linear model."""
    keep_compiled_programs()
    from tsjax_core.experiments.demo import run_demo

    run_demo(out, seed, make_console(), data_only=data_only)


def plugins() -> None:
    """List the installed plugins, what they offer, and whether they work."""
    from tsjax_core.registry.registry import installed

    table = Table("namespace", "distribution", "version", "offers", "status")
    records = installed()
    for info in records:
        offers = ", ".join(
            f"{len(names)} {kind}{'' if len(names) == 1 else 'es' if kind == 'loss' else 's'}"
            for kind, names in info.offers.items()
            if names
        )
        works = info.status == "ok"
        cells = (info.namespace, info.distribution, info.version, offers or "-")
        table.add_row(*cells, "ok" if works else "see below", style=None if works else "red")
    console = make_console()
    console.print(table)
    # Distributions that claim one namespace have one text.
    problems = dict.fromkeys(info.status for info in records if info.status != "ok")
    for problem in problems:
        console.print(f"\n{problem}", soft_wrap=not console.is_terminal)
    if problems:
        raise typer.Exit(1)


def list_names(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Only this kind, such as model.")
    ] = None,
) -> None:
    """List the names of all installed components."""
    from tsjax_core.options import summary_of
    from tsjax_core.registry.registry import Registry

    registry = Registry.installed()
    # The registry refuses what is no kind.
    kinds = KINDS if kind is None else (cast("Kind", kind),)
    table = Table("kind", "name", "what it is")
    table.columns[1].no_wrap = True
    for each in kinds:
        for name in registry.names(each):
            table.add_row(each, name, summary_of(registry.resolve(each, name)))
    make_console().print(table if table.row_count else f"no {kind} is installed")


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A component, or data, train, polish or report."),
    ],
) -> None:
    """Show the options of a component, or of the tables data, train, polish and report."""
    from tsjax_core.data.pipeline import create_grain_dls
    from tsjax_core.experiments.experiment import ReportOptions, TrainOptions
    from tsjax_core.options import options_of, summary_of
    from tsjax_core.registry.registry import Registry
    from tsjax_core.signatures import is_loss_term
    from tsjax_core.training.polish.options import PolishOptions

    console = make_console()
    tables: dict[str, Callable[..., Any]] = {
        "data": create_grain_dls,
        "train": TrainOptions,
        "polish": PolishOptions,
        "report": ReportOptions,
    }
    if name in tables:
        console.print(f"The table [{name}] of an experiment:")
        console.print(_option_table(options_of(tables[name])))
        return
    registry = Registry.installed()
    found: dict[Kind, Any] = {}
    broken: BrokenPluginError | None = None
    for kind in KINDS:
        # A kind whose hook is broken must not hide a component of another.
        try:
            found[kind] = registry.resolve(kind, name)
        except UnknownNameError:
            continue
        except BrokenPluginError as error:
            broken = broken or error
    if broken and not found:
        raise broken
    # Resolving raises what is wrong with a name that no kind has.
    for kind, component in (found or {"model": registry.resolve("model", name)}).items():
        console.print(f"{name}, a {kind}: {summary_of(component)}")
        if kind == "command":
            console.print(f"Its arguments and options: tsjax {name} --help")
        elif kind == "metric" or (kind == "loss" and is_loss_term(component)):
            console.print("It has no options.")
        else:
            console.print(_option_table(options_of(component)))


def _option_table(options: list[Option]) -> Table:
    table = Table("option", "type", "default", "meaning")
    table.columns[0].no_wrap = True
    for option in options:
        default = "(required)" if option.default is None else option.default
        table.add_row(option.name, option.type, default, option.doc)
    return table


def info(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL", help="Directory of a run or of a saved model.")
    ],
) -> None:
    """Show what a trained model is: signals, sampling time, size, memory, and versions."""
    from tsjax_core.experiments.describe_model import describe_model, info_rows

    table = Table(show_header=False)
    for what, value in info_rows(describe_model(path)):
        table.add_row(what, value)
    make_console().print(table)


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Namespace of its components, such as acme.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New directory to write to.", show_default="tsjax-NAME"),
    ] = None,
) -> None:
    """Write a new plugin: a package with a model, its tests, and a workflow that publishes it."""
    from tsjax_core.registry.new_plugin import write_plugin

    folder = write_plugin(name, out)
    console = make_console()
    console.print(f"wrote {folder}: a plugin that offers the model {name}/modes. Try next:")
    console.print(f"  cd {shlex.quote(str(folder))}")
    console.print('  pip install -e ".[dev]" && pytest')
    console.print("  tsjax demo --data-only && tsjax train experiment.toml")
