"""Commands that use a run: to judge it, to simulate with it, to take its model away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tsjax_core.commands.arguments import (
    RunPath,
)
from tsjax_core.commands.console import keep_compiled_programs, make_console
from tsjax_core.commands.remarks import print_remarks
from tsjax_core.data.store import Split


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
    print_remarks(console, evaluation, reference)


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
