"""Tables and files of an evaluation, for one and for several outputs."""

from __future__ import annotations

import csv

import pytest
from rich.console import Console

from tsjax_core import GRULearner, create_grain_dls, rmse
from tsjax_core.experiments.report import score_rows, score_table, write_report


@pytest.fixture(scope="module")
def learner(two_by_three):
    data = create_grain_dls(
        ["a", "b"], ["p", "q", "r"], two_by_three, win_sz=40, stp_sz=40, valid="windows"
    )
    return GRULearner(data, hidden_size=2, metrics=[rmse], n_skip=3)


def test_each_file_and_output_has_its_row(learner):
    """Three files and the whole split, each with three outputs and all together."""
    evaluation = learner.evaluate("test")
    rows = score_rows(evaluation)
    names = [f"part_{i}.hdf5" for i in range(3)] + ["all of test"]
    expected = [(name, channel) for name in names for channel in ("p", "q", "r", "all")]
    assert [(file, channel) for file, channel, _ in rows] == expected
    console = Console(width=100, record=True)
    console.print(score_table(evaluation))
    text = console.export_text()
    for part in ("file", "output", "rmse", "part_2.hdf5", "all of test"):
        assert part in text


def test_windows_have_one_row_for_the_whole_split(learner):
    """A split of windows has no files to list."""
    rows = score_rows(learner.evaluate("valid"))
    assert {file for file, _, _ in rows} == {"all of valid"}


def test_the_report_has_scores_and_a_figure_per_file(learner, tmp_path):
    """Figures are named by the file; without training there is no history."""
    evaluation = learner.evaluate("test")
    figures = write_report(learner, evaluation, tmp_path / "report")
    assert [path.name for path in figures] == [f"test_part_{i}.png" for i in range(3)]
    assert all(path.stat().st_size > 10_000 for path in figures)
    rows = list(csv.reader((tmp_path / "report" / "scores.csv").read_text().splitlines()))
    assert rows[0] == ["model", "file", "output", "rmse"]
    assert len(rows) == 1 + 4 * 4
    assert float(rows[-1][3]) == evaluation.metrics["rmse"]


def test_files_of_like_names_have_figures_of_their_own(learner, two_by_three, tmp_path):
    """`a/b` and `a_b` do not overwrite each other."""
    (tmp_path / "a").mkdir()
    paths = [tmp_path / "a" / "b.hdf5", tmp_path / "a_b.hdf5"]
    for path in paths:
        path.symlink_to(two_by_three / "test" / "part_0.hdf5")
    files = {s: sorted((two_by_three / s).iterdir()) for s in ("train", "valid")}
    data = create_grain_dls(["a", "b"], ["p"], {**files, "test": paths}, win_sz=40, stp_sz=40)
    other = GRULearner(data, hidden_size=2, metrics=[rmse])
    figures = write_report(other, other.evaluate("test"), tmp_path / "report")
    assert [path.name for path in figures] == ["test_a_b.png", "test_a_b_2.png"]


def test_without_matplotlib_there_are_scores_and_no_figures(learner, tmp_path, monkeypatch):
    """The extra `viz` is optional."""
    monkeypatch.setattr("tsjax_core.experiments.report.find_spec", lambda name: None)
    assert write_report(learner, learner.evaluate("test"), tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
