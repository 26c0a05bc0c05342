"""What is shown of a study, and its figures."""

from __future__ import annotations

import csv
import io
import math
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from tsjax_core.errors import TrainingError
from tsjax_tune.members import MEMBERS, NUMBER
from tsjax_tune.progress import StudyProgress, state_of, state_table
from tsjax_tune.results import StudyResult, TrialResult
from tsjax_tune.study_log import StudyLog
from tsjax_tune.study_plots import plot_parallel, plot_parameters, write_plots


class RayTrial(SimpleNamespace):
    """What is read of a trial of Ray: its name, status and configuration."""

    def __str__(self):
        return self.name


def reported(*losses, ended=None, key="trial"):
    rows = [{"epoch": n, "loss": loss, "seconds": 1.0} for n, loss in enumerate(losses, start=1)]
    return {"rows": {key: rows}, "restarted": [], "ended": {} if ended is None else {key: ended}}


@pytest.fixture
def trials():
    return [
        RayTrial(name="trial_001", status="RUNNING", config={"lr": 0.1, NUMBER: 1}),
        RayTrial(
            name="pack_002",
            status="RUNNING",
            config={MEMBERS: [{"lr": 0.2, NUMBER: 2}, {"lr": 0.3, NUMBER: 3}]},
        ),
    ]


def test_a_line_for_each_trial_that_ends(trials, tmp_path, capsys):
    """Those of a pack too, once, with the best so far; what had ended before is not repeated."""
    StudyLog(tmp_path).record("pack_002", reported(0.9, ended="", key="trial_003"))
    progress = StudyProgress(
        StudyLog(tmp_path),
        "loss",
        "min",
        3,
        dict,
        Console(file=io.StringIO(), force_terminal=False),
    )
    with progress.shown():
        progress.see_trials(trials)
        progress.see_report(trials[0], reported(0.5, 0.25, 0.75, ended=""))
        progress.see_report(trials[1], reported(math.nan, ended="it broke", key="trial_002"))
        progress.see_trials(trials)
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        "trial_001, 2 of 3, finished  loss 0.25  best 0.25  3 epochs  lr=0.1",
        "trial_002, 3 of 3, failed  no value  best 0.25  1 epochs  lr=0.2",
    ]


def test_a_table_on_a_terminal(trials, tmp_path):
    """Running trials first, then the best ones, as many as there is room for."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, height=30)
    progress = StudyProgress(StudyLog(tmp_path), "loss", "max", 3, dict, console)
    with progress.shown():
        progress.see_report(trials[0], reported(0.5, 0.25))
        progress.see_report(trials[1], reported(0.75, ended="", key="trial_003"))
        progress.see_trials(trials)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "1 of 3 trials ended" in shown
    assert "best loss 0.75 (trial_003)" in shown
    assert shown.rindex("trial_001 ") < shown.rindex("trial_003 ")


@pytest.fixture
def study(tmp_path):
    def trial(number, value, **values):
        rows = [{"epoch": 1, "loss": value, "seconds": 2.0}]
        status = "finished" if math.isfinite(value) else "failed"
        error = "" if math.isfinite(value) else "no"
        return TrialResult(
            f"trial_{number}", {}, status, value, 1, error, rows, tmp_path, {"seed": 0, **values}
        )

    trials = (
        trial(1, 0.5, name="core/gru", lr=1e-3, hidden=4),
        trial(2, 50.0, name="tcn/tcn", lr=1e-1, layers=2),
        trial(3, math.nan, name="tcn/tcn", lr=1e-2, layers=3),
        trial(4, 0.25, name="core/gru", lr=1e-2, hidden=16),
    )
    return StudyResult(trials, "loss", "min", tmp_path)


def test_figures_have_what_differs_between_trials(study, tmp_path):
    """Each key on an axis, numbers over decades by their logarithm, and a line per trial."""
    pytest.importorskip("matplotlib")
    (axis,) = plot_parallel(study).axes
    keys = [label.get_text() for label in axis.get_xticklabels()]
    assert keys == ["name", "lr", "hidden", "layers", "loss"]
    lines = [line for line in axis.get_lines() if len(line.get_xdata()) > 2]
    assert len(lines) == 3
    best = lines[-1].get_ydata()
    assert best == pytest.approx([0.0, 0.5, 1.0, math.nan, 0.0], nan_ok=True)
    worst = lines[0].get_ydata()
    assert worst[:2] == pytest.approx([1.0, 1.0])
    assert math.isnan(worst[2])
    axes = [axis for axis in plot_parameters(study).axes if axis.axison]
    assert [axis.get_xlabel() for axis in axes] == ["name", "lr", "hidden", "layers"]
    assert [axis.get_xscale() for axis in axes] == ["linear", "log", "linear", "linear"]
    assert all(path.stat().st_size > 1000 for path in write_plots(study, tmp_path))


def test_rows_and_tables(study, tmp_path):
    """The best first and those without a value last; a study without any has no best."""
    with study.write_csv(tmp_path / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["trial_4", "trial_1", "trial_2", "trial_3"]
    assert [row["hidden"] for row in rows] == ["16", "4", "", ""]
    console = Console(file=io.StringIO(), width=60)
    console.print(state_table([state_of(trial) for trial in study.trials], "loss"))
    printed = console.file.getvalue()
    assert all(f"trial_{n}" in printed for n in (1, 2, 3, 4)), "on a narrow terminal too"
    nothing = StudyResult(study.trials[2:3], "loss", "min", tmp_path)
    with pytest.raises(TrainingError, match=r"has a finite loss\. no") as caught:
        _ = nothing.best
    print(caught.value)
