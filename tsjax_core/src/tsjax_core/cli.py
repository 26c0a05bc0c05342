"""The command `tsjax`.

Exit status: 0 done, 1 the work failed, 2 the call or a configuration is wrong. A mistake of the
user is reported in a sentence and never by a traceback.

Plugins add commands by the hook `tsjax_commands`: `tune/tune` is called as `tsjax tune`, and as
`tsjax tune/tune` wherever the short name is taken. A command of a plugin prints on
`make_console()`, raises TsjaxError for what the user has to fix, and calls
`keep_compiled_programs()` if it compiles.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import typer.core
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tsjax_core.data.store import Split
from tsjax_core.errors import BrokenPluginError, TsjaxError, UnknownNameError
from tsjax_core.options import Option
from tsjax_core.registry.hookspecs import KINDS, Kind

if TYPE_CHECKING:
    from tsjax_core.experiments.experiment import Experiment
    from tsjax_core.experiments.report import NamedEvaluation
    from tsjax_core.experiments.run import RunResult
    from tsjax_core.training.evaluation import Evaluation


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


def _reading(**options: Any) -> dict[str, Any]:
    """Return the options that say how files are read, those that are given."""
    return {key: value for key, value in options.items() if value is not None}


RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a training run.")]


def main() -> None:
    """Run the command line; the entry point of the script `tsjax`."""
    warnings.showwarning = _show_warning
    try:
        Path.cwd()
    except FileNotFoundError:
        _show_error("the working directory has been deleted; change to one that exists.")
        sys.exit(1)
    try:
        app()
    except TsjaxError as error:
        _show_error(str(error))
        sys.exit(error.exit_status)
    except OSError as error:
        # A file or directory that cannot be written is for the user to fix, as all above.
        where = "" if error.filename else " This happened while the output was printed."
        _show_error(f"{error}.{where}" if where else str(error))
        sys.exit(1)


def _show_error(text: str) -> None:
    _show("error", "bold red", text)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _show("warning", "yellow", str(message))


def _show(what: str, style: str, text: str) -> None:
    """Print a message for the user, in colour on a terminal; lines stay as they are."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(Text(f"{what}:", style), Text(text))


class _PipeConsole(Console):
    """A console that says why it ends where its reader, such as `head`, has ended before."""

    def on_broken_pipe(self) -> None:
        """End the command with a word on standard error."""
        # Python writes what is left in its buffers at the end, into the pipe that is broken.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _show_error(
            "nothing reads the output any more (broken pipe), so that the command ended. Write it "
            "to a file instead: tsjax ... > output.txt"
        )
        sys.exit(1)


def make_console() -> Console:
    """Return the console on which a command prints."""
    # Without a terminal rich assumes 80 columns and would break long paths and numbers.
    # Names of signals and files may hold brackets, which are not markup.
    return _PipeConsole(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)


def keep_compiled_programs() -> None:
    """Keep compiled programs between processes, so that a second start does not wait for them."""
    import jax

    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tsjax" / "xla"
    settings: dict[str, str | int] = {
        "jax_compilation_cache_dir": str(cache),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    config: Any = jax.config
    for name, value in settings.items():
        config.update(name, value)


@app.command()
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


@app.command()
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


@app.command("list")
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


@app.command()
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


@app.command()
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


@app.command()
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
    _print_remarks(console, result.evaluation, result.reference)
    console.print(f"run: {result.path}")
    for figure in result.figures:
        console.print(f"figure: {figure}")
    if not result.figures:
        console.print('no figures: install matplotlib with pip install "tsjax-core[viz]"')
    if result.ended not in ("finished", STOPPED):
        raise typer.Exit(1)


def _print_remarks(
    console: Console, evaluation: Evaluation, reference: NamedEvaluation | None
) -> None:
    """Print where the simulations began, and what the scores do not say."""
    from tsjax_core.experiments.report import early_errors, flat_outputs
    from tsjax_core.judging.reference import describe_reference

    console.print(f"initial state: {evaluation.initial_state}")
    sentences = [early_errors(evaluation), flat_outputs(evaluation)]
    if reference is not None:
        sentences.append(describe_reference(evaluation, reference.evaluation, reference.name))
    for sentence in sentences:
        if sentence:
            console.print(f"note: {sentence}")


@app.command()
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

    given = _reading(dt=dt, time=time, delimiter=delimiter, decimal=decimal, groups=groups)
    out = out or free_directory(Path("runs") / files[0].stem)
    chosen: Any = recipe
    fit_files(files, u, y, out, make_console(), recipe=chosen, seconds=seconds, data=given)


@app.command()
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

    given = _reading(time=time, delimiter=delimiter, decimal=decimal, groups=groups)
    inspect_files(files, make_console(), u=u or [], y=y or [], data=given)


@app.command()
def evaluate(
    run: RunPath,
    split: Annotated[
        Split | None,
        typer.Option(help="Which files of the run's data to simulate.", show_default="test"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another HDF5 or CSV file with inputs and measured outputs; may be given again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Evaluate the model of a run on a split of its data, or on other files."""
    keep_compiled_programs()
    from tsjax_core.errors import ConfigError
    from tsjax_core.experiments.new_files import learner_on
    from tsjax_core.experiments.report import score_table
    from tsjax_core.experiments.run import REFERENCE, evaluate_reference, load_learner
    from tsjax_core.judging.reference import read_reference

    if data and split is not None:
        raise ConfigError(
            "--split names files of the run's data, and --data other files; give one of them.",
            key="data",
        )
    learner = learner_on(run, data) if data else load_learner(run)
    evaluation = learner.evaluate("test" if data else split or "test")
    reference = evaluate_reference(learner, evaluation, read_reference(run / REFERENCE))
    console = make_console()
    console.print(score_table(evaluation, "the files given" if data else None, reference))
    _print_remarks(console, evaluation, reference)


@app.command()
def predict(
    run: RunPath,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="HDF5 or CSV file with the model's inputs.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="New file for the outputs, .csv or .hdf5.", show_default="DATA_predicted, here"
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            help="Predict so many steps ahead from measured outputs, with models that can.",
            show_default="simulate from the inputs",
        ),
    ] = None,
) -> None:
    """Simulate the model of a run on the inputs in a file, and score it where outputs are there."""
    keep_compiled_programs()
    from tsjax_core.experiments.predict_file import predict_file

    written = predict_file(run, data, out, horizon=horizon)
    console = make_console()
    console.print(f"wrote {', '.join(written.columns)} ({written.samples} samples): {written.path}")
    for name, score in written.scores.items():
        console.print(f"{name}: rmse {score.rmse:.4g}, fit {score.fit_percent:.2f} %")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Directories of training runs.")
    ],
    split: Annotated[
        Split | None,
        typer.Option(help="Which files of the runs' data to simulate.", show_default="test"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Another file to simulate; may be given again.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New directory for the figures.", show_default="comparison, -2, ..."),
    ] = None,
) -> None:
    """Compare the models of several runs on the same files, in a table and in figures."""
    keep_compiled_programs()
    from tsjax_core.directories import free_directory
    from tsjax_core.experiments.compare_runs import (
        compare_runs,
        tabulate_comparison,
        write_comparison,
    )

    comparison = compare_runs(runs, split=split or "test", files=data or [])
    console = make_console()
    console.print(tabulate_comparison(comparison))
    for path in write_comparison(comparison, out or free_directory(Path("comparison"))):
        console.print(f"figure: {path}")


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of training runs.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Another file to judge on; may be given again.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New directory for page and figures.", show_default="report, -2, ..."),
    ] = None,
) -> None:
    """Write a validation report of runs: one page with scores, residuals, bands and figures."""
    keep_compiled_programs()
    from tsjax_core.directories import free_directory
    from tsjax_core.experiments.validate_runs import validate_runs

    page = validate_runs(runs, out or free_directory(Path("report")), files=data or [])
    make_console().print(f"report: {page}")


@app.command()
def resid(
    run: RunPath,
    split: Annotated[
        Split | None,
        typer.Option(help="Which files of the run's data to simulate.", show_default="test"),
    ] = None,
    lags: Annotated[
        int | None, typer.Option(help="Largest lag in samples.", show_default="25")
    ] = None,
) -> None:
    """Test the residuals of a run's model: are they white, and independent of the inputs?"""
    keep_compiled_programs()
    from tsjax_core.experiments.check_run import check_run, tabulate_tests

    found = check_run(run, split or "test", lags=lags)
    console = make_console()
    console.print(tabulate_tests(found))
    for sentence in found.sentences:
        console.print(sentence)


@app.command()
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


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL", help="Directory of a run or of a saved model.")
    ],
    to: Annotated[str, typer.Option(help="c, numpy, casadi, onnx or stablehlo.")],
    out: Annotated[
        Path | None,
        typer.Option(help="New file, named as the model is to be.", show_default="RUN, here"),
    ] = None,
) -> None:
    """Take a model out of tsjax: one step with its state as C, NumPy, CasADi, ONNX or StableHLO."""
    from tsjax_core.experiments.export_run import export_run

    form: Any = to
    for file in export_run(path, form, out):
        make_console().print(f"wrote {file}")


@app.command()
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
