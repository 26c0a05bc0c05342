"""The command `tsjax`.

Exit status: 0 done, 1 the work failed, 2 the call or a configuration is wrong. A mistake of the
user is reported in a sentence and never by a traceback.

Plugins add commands by the hook `tsjax_commands`: `tune/tune` is called as `tsjax tune`, and as
`tsjax tune/tune` wherever the short name is taken. A command of a plugin prints on
`make_console()`, raises TsjaxError for what the user has to fix, and calls
`keep_compiled_programs()` if it compiles.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from tsjax_core.commands import judging, looking, training
from tsjax_core.commands.console import (
    keep_compiled_programs,
    make_console,
    show_error,
    show_warning,
)
from tsjax_core.errors import TsjaxError, UnknownNameError

__all__ = ["app", "keep_compiled_programs", "main", "make_console"]


class _Commands(typer.core.TyperGroup):
    """The commands of core, and those of plugins, which are imported only when asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names for the help: core's, then those of the plugins that work."""
        own = super().list_commands(ctx)
        return [*own, *(full if name in own else name for name, full in _plugin_commands().items())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of core or of a plugin, None if there is none."""
        return super().get_command(ctx, cmd_name) or _plugin_command(cmd_name)


def _plugin_commands() -> dict[str, str]:
    """Return what plugins' commands are called by, with their qualified names."""
    from tsjax_core.registry.registry import Registry

    names = Registry.installed().names("command")
    shorts = [name.partition("/")[2] for name in names]
    return {
        short if shorts.count(short) == 1 else name: name
        for short, name in zip(shorts, names, strict=True)
    }


def _plugin_command(called: str) -> Any:
    from tsjax_core.registry.registry import FIRST_PARTY, Registry

    name = called
    if "/" not in called:
        commands = _plugin_commands()
        if several := [name for name in commands if name.endswith(f"/{called}")]:
            raise UnknownNameError(
                f"several plugins have the command '{called}'; give one of {', '.join(several)}.",
                namespace="",
                name=called,
            )
        # A plugin of ours that is not installed or does not work is named by the error.
        absent = f"{called}/{called}" if called in FIRST_PARTY else None
        found = commands.get(called, absent)
        if found is None:
            return None
        name = found
    single = typer.Typer(add_completion=False)
    single.command(called)(Registry.installed().resolve("command", name))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Neural models of dynamic systems from measured signals.",
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"tsjax-core {version('tsjax-core')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


for _command in (
    looking.demo,
    training.inspect,
    training.fit,
    training.train,
    training.resume,
    judging.evaluate,
    judging.predict,
    judging.compare,
    judging.report,
    judging.resid,
    judging.export,
    looking.info,
    looking.show,
    looking.plugins,
    looking.new,
):
    app.command()(_command)
app.command("list")(looking.list_names)


def main() -> None:
    """Run the command line; the entry point of the script `tsjax`."""
    warnings.showwarning = show_warning
    try:
        Path.cwd()
    except FileNotFoundError:
        show_error("the working directory has been deleted; change to one that exists.")
        sys.exit(1)
    try:
        app()
    except TsjaxError as error:
        show_error(str(error))
        sys.exit(error.exit_status)
    except OSError as error:
        # A file or directory that cannot be written is for the user to fix, as all above.
        where = "" if error.filename else " This happened while the output was printed."
        show_error(f"{error}.{where}" if where else str(error))
        sys.exit(1)
