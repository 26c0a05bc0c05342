"""Commands that train: experiments, files by a recipe, and runs that go on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tsjax_core.commands.arguments import (
    Decimal,
    Delimiter,
    Groups,
    RunPath,
    Time,
    reading_options,
)
from tsjax_core.commands.console import keep_compiled_programs, make_console
from tsjax_core.commands.remarks import print_remarks

if TYPE_CHECKING:
    from tsjax_core.experiments.experiment import Experiment
    from tsjax_core.experiments.run import RunResult


def inspect(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="HDF5, CSV or MATLAB files, or folders.")
    ],
    u: Annotated[
        list[str] | None,
        typer.Option("--u", metavar="SIGNAL", help="An input; may be given again."),
    ] = None,
    y: Annotated[
        list[str] | None,
        typer.Option("--y", metavar="SIGNAL", help="An output; may be given again."),
    ] = None,
    time: Time = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    groups: Groups = None,
) -> None:
    """Show what measured files hold: signals, rate, gaps, excitation, length of the memory."""
    from tsjax_core.experiments.inspect_files import inspect_files

    given = reading_options(time=time, delimiter=delimiter, decimal=decimal, groups=groups)
    inspect_files(files, make_console(), u=u or [], y=y or [], data=given)


def fit(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="HDF5 or CSV files with measured signals."),
    ],
    u: Annotated[
        list[str], typer.Option("--u", metavar="SIGNAL", help="An input; may be given again.")
    ],
    y: Annotated[
        list[str], typer.Option("--y", metavar="SIGNAL", help="An output; may be given again.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New directory for the runs.", show_default="runs/FILE, then -2, ..."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="fast, accurate (linear and nonlinear state space), or auto (and a GRU)."
        ),
    ] = "auto",
    seconds: Annotated[float, typer.Option(help="Time for training.")] = 60.0,
    dt: Annotated[
        float | None, typer.Option(help="Sampling time in s, where the files do not state it.")
    ] = None,
    time: Time = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    groups: Groups = None,
) -> None:
    """Find a model of measured files: linear, nonlinear state space and GRU, judged on new data."""
    keep_compiled_programs()
    from tsjax_core.directories import free_directory
    from tsjax_core.experiments.fit_files import fit_files

    given = reading_options(dt=dt, time=time, delimiter=delimiter, decimal=decimal, groups=groups)
    out = out or free_directory(Path("runs") / files[0].stem)
    chosen: Any = recipe
    fit_files(files, u, y, out, make_console(), recipe=chosen, seconds=seconds, data=given)


def train(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="Experiment as a TOML file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="New directory for the run.", show_default="runs/EXPERIMENT, then -2, -3, ..."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: train.lr=1e-3."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Compare models on the data of the experiment: fast, accurate, or auto, as fit.",
            show_default="no, only the model of the experiment",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Time for the training of a recipe.", show_default="60"),
    ] = None,
) -> None:
    """Train the model of an experiment and evaluate it on the test files."""
    keep_compiled_programs()
    from tsjax_core.directories import free_directory
    from tsjax_core.errors import ConfigError
    from tsjax_core.experiments.experiment import blame_override, load_experiment
    from tsjax_core.experiments.fit_files import train_by_recipe
    from tsjax_core.experiments.run import train

    console, changes = make_console(), changes or []
    out = out or free_directory(Path("runs") / experiment.stem)
    if recipe is not None:
        name: Any = recipe
        train_by_recipe(experiment, changes, out, console, recipe=name, seconds=seconds or 60.0)
        return
    if seconds is not None:
        raise ConfigError(
            f"--seconds {seconds:g} is the time of a recipe; give --recipe too, or the end of the "
            "training in the experiment: epochs in [train], seconds in [polish].",
            key="seconds",
        )
    try:
        loaded = load_experiment(experiment, changes)
        result = train(loaded, out, console)
    except ConfigError as error:
        raise blame_override(error, changes, experiment) from error
    _print_result(result, loaded, console)


def resume(
    run: RunPath,
    epoch: Annotated[
        int | None,
        typer.Option(help="Go on after this epoch, counted from 1.", show_default="the last one"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Prolong the training to this many epochs in all.",
            show_default="as in the experiment",
        ),
    ] = None,
) -> None:
    """Go on with a training that was interrupted, to the numbers that it would have had."""
    keep_compiled_programs()
    from tsjax_core.experiments.experiment import load_experiment
    from tsjax_core.experiments.run import EXPERIMENT, resume

    console = make_console()
    result = resume(run, console, epoch, epochs)
    _print_result(result, load_experiment(run / EXPERIMENT), console)


def _print_result(result: RunResult, experiment: Experiment, console: Console) -> None:
    """Print what a training ended with; exit with 1 where it ended for a bad reason."""
    from tsjax_core.experiments.report import score_table
    from tsjax_core.experiments.run import STOPPED

    options = experiment.train
    if result.ended == STOPPED:
        last = len(result.learner.history)
        console.print(
            f"stopped after epoch {last}: no better {options.monitor} for {options.patience} epochs"
        )
    elif result.ended != "finished":
        console.print(f"training {result.ended}")
        if result.resumable:
            console.print(f"go on with it: tsjax resume {shlex.quote(str(result.path))}")
    if result.polish_ended:
        console.print(f"the polish ended: {result.polish_ended}")
    why = f"best {options.monitor}" if options.keep == "best" else "last"
    which = f"epoch {result.kept.epoch + 1}"
    if result.polished:
        which = f"iteration {result.kept.epoch} of the polish"
    elif result.kept.epoch < 0:
        which, why = "the beginning", "no epochs were asked for"
    console.print(f"kept the model of {which} ({why})")
    console.print(score_table(result.evaluation, reference=result.reference))
    print_remarks(console, result.evaluation, result.reference)
    console.print(f"run: {result.path}")
    for figure in result.figures:
        console.print(f"figure: {figure}")
    if not result.figures:
        console.print('no figures: install matplotlib with pip install "tsjax-core[viz]"')
    if result.ended not in ("finished", STOPPED):
        raise typer.Exit(1)
