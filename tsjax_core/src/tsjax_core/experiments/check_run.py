"""Tests of the residuals of a run's model, what `tsjax resid` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from tsjax_core.data.store import Split
from tsjax_core.errors import ModelError
from tsjax_core.experiments.run import load_learner
from tsjax_core.judging.residuals import Correlation, ResidualTests, check_residuals, describe_tests


@dataclass(frozen=True, eq=False)
class RunTests:
    """The tests of a run, the names of its signals, and sentences that say what they mean."""

    tests: ResidualTests
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sentences: tuple[str, ...]


def check_run(run: Path, split: Split = "test", *, lags: int | None = None) -> RunTests:
    """Simulate the files of a split of a run's data, and test what the model leaves of them.

    Raises:
        RunDirectoryError: `run` holds no finished run.
        ModelError: The outputs are no sequences, or the split is validated on windows.
        DataError: The files have hardly more samples than lags.
    """
    learner = load_learner(run)
    signals = learner.signals
    evaluation = learner.evaluate(split)
    if signals.target != "y" or not evaluation.files:
        raise ModelError(
            f"the residuals of {split} are no sequences of whole files; test a model of output "
            "sequences, on test or with valid = 'files' in [data]."
        )
    source = learner.pipeline.split(split)
    inputs, residuals = [], []
    for number, (_, pred, target) in enumerate(evaluation.paired_files):
        # The samples at the start that do not count are left out.
        inputs.append(source[number]["u"][-len(pred) :])
        residuals.append(target - pred)
    tests = check_residuals(inputs, residuals, lags=lags)
    sentences = describe_tests(tests, signals.inputs, signals.outputs, signals.dt)
    return RunTests(tests, signals.inputs, signals.outputs, tuple(sentences))


def tabulate_tests(found: RunTests) -> Table:
    """Return the tests as a table for the terminal."""
    table = Table(title=f"residuals of {found.tests.samples} samples", title_justify="left")
    for column in ("output", "correlated with", "largest", "band", "lags outside in %", "test"):
        table.add_column(column, justify="left" if column in ("output", "test") else "right")
    for output, own, row in zip(
        found.outputs, found.tests.whiteness, found.tests.independence, strict=True
    ):
        tests: Sequence[tuple[str, Correlation]] = [
            ("its own past", own),
            *zip((f"input {name}" for name in found.inputs), row, strict=True),
        ]
        for name, test in tests:
            table.add_row(
                output,
                name,
                f"{test.largest:.3f}",
                f"{test.band:.3f}",
                f"{100.0 * test.outside:.0f}",
                "passed" if test.passed else "failed",
            )
    return table
