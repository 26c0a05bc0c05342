"""The command `tsjax tune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tsjax_tune.study import Outcome


def tune(
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="STUDY", help="An experiment with a table 'search', as a TOML file."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New directory for the study.", show_default="studies/STUDY, then -2, -3, ..."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Go on with the interrupted study in this directory.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Trials to train.", show_default="as in the study"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to run on: auto for that of this machine, or HOST:PORT.",
            show_default="a Ray of its own",
        ),
    ] = None,
) -> None:
    """Search for the best hyperparameters of an experiment."""
    from tsjax_core.cli import keep_compiled_programs, make_console
    from tsjax_core.directories import free_directory
    from tsjax_core.errors import ConfigError

    keep_compiled_programs()
    from tsjax_tune.study import resume_study, run_study
    from tsjax_tune.study_file import load_study

    if (study is None) == (resume is None):
        raise ConfigError(
            "give a study, such as tsjax tune study.toml, or the directory of one to go on with: "
            "tsjax tune --resume studies/study.",
            key="study",
        )
    console = make_console()
    if resume is not None:
        if out is not None or trials is not None:
            raise ConfigError(
                "--resume goes on with the study as it was begun; leave out --out and --trials.",
                key="resume",
            )
        directory = resume
    else:
        assert study is not None
        loaded = load_study(study, trials=trials)
        directory = out or free_directory(Path("studies") / study.stem)
    console.print(f"study: {directory}")
    try:
        if resume is not None:
            outcome = resume_study(directory, address, console)
        else:
            outcome = run_study(loaded, directory, address, console)
    except KeyboardInterrupt:
        console.print("interrupted")
        if directory.exists():
            console.print(f"go on with it: tsjax tune --resume {shlex.quote(str(directory))}")
        raise typer.Exit(1) from None
    _print_outcome(outcome, console)


def _print_outcome(outcome: Outcome, console: Console) -> None:
    from tsjax_core.experiments.report import early_errors, score_table
    from tsjax_tune.progress import state_of, state_table

    study, directory = outcome.study, outcome.directory
    ranked = [*study.ranking, *(trial for trial in study.trials if trial not in study.ranking)]
    console.print(state_table([state_of(trial) for trial in ranked], study.metric))
    for trial in study.trials:
        if trial.error:
            console.print(f"{trial.name}: {trial.error}")
    best = study.best
    console.print(
        f"best: {best.name}, {study.metric} {best.value:.4g} in epoch {best.epoch}; its test files:"
    )
    console.print(score_table(outcome.evaluation))
    if sentence := early_errors(outcome.evaluation):
        console.print(f"note: {sentence}")
    shown = shlex.quote(str(directory))
    console.print(f"study: {directory}")
    console.print(f"  trials.csv  all {len(study.trials)} trials")
    console.print(f"  best.toml   train it again: tsjax train {shown}/best.toml")
    console.print(f"  best        its model: tsjax predict {shown}/best DATA")
    for figure in outcome.figures:
        console.print(f"figure: {figure}")
    if not outcome.figures:
        console.print('no figures: install matplotlib with pip install "tsjax-core[viz]"')
