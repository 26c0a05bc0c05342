"""The validation report: one page that stands alone, with all that a judgement needs."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from tsjax_core.experiments import validate_runs
from tsjax_core.experiments.page import Page


class Outline(HTMLParser):
    """Headings, tables, images and links of a page; each element must be closed in its order."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.images, self.links, self.tables = [], [], [], [], 0
        self.captions = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given)
        if tag in ("a", "link", "script", "iframe"):
            self.links.append(given.get("href") or given.get("src"))
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def runs(oscillator, tmp_path_factory):
    from rich.console import Console

    from tsjax_core.experiments.experiment import parse_experiment
    from tsjax_core.experiments.run import train

    folder = tmp_path_factory.mktemp("runs")
    data = {"dataset": str(oscillator), "u": ["u"], "y": ["y"], "win_sz": 100, "stp_sz": 50}
    for name, model in (("gru", {"hidden_size": 4}), ("linear", {})):
        tables = {
            "data": data,
            "model": {"name": f"core/{name}", **model},
            "train": {"epochs": 2, "n_skip": 20},
        }
        train(parse_experiment(tables), folder / name, Console(quiet=True))
    return folder


def test_a_report_of_one_run(runs, tsjax, tmp_path):
    """Every section, every figure with a text and beside the page, and nothing from elsewhere."""
    status, out, err = tsjax("report", runs / "gru", "--out", tmp_path / "report")
    assert status == 0, err
    page = tmp_path / "report" / "report.html"
    assert f"report: {page}" in out
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.headings == [
        "What the figures mean",
        "Data",
        "Training",
        "Simulation against measurement",
        "Error by horizon, and its band",
        "Residuals",
        "Amplitudes",
        "Model and run",
    ]
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert outline.tables == outline.captions >= 4
    files = sorted(path.name for path in page.parent.glob("*.png"))
    assert len(files) == len(outline.images)
    assert {"history.png", "horizons.png", "residuals.png", "spectra.png"} <= set(files)
    for image in outline.images:
        assert len(image["alt"]) > 20
        data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert data.startswith(b"\x89PNG")
    assert re.search(r"On test, y is simulated with an RMSE of [\d.e-]+", text)
    assert "Bands that hold 90 % of the errors on validation hold" in text
    assert "linear (ARX, order" in text
    assert "The residuals of y" in text
    status, _, err = tsjax("report", runs / "gru", "--out", tmp_path / "report")
    assert (status, "is not empty" in err) == (2, True)


def test_several_runs_are_compared_first(runs, oscillator, tsjax, tmp_path):
    """Also on another file, for which there are no bands."""
    file = min((oscillator / "test").iterdir())
    both = [runs / "gru", runs / "linear"]
    status, _, err = tsjax("report", *both, "--data", file, "--out", tmp_path / "report")
    assert status == 0, err
    text = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    headings = Outline(text).headings
    assert headings[0] == "Comparison of the runs"
    assert [each for each in headings if each.startswith("Run ")] == [f"Run {run}" for run in both]
    assert "Bands are calibrated on the validation files" in text
    assert "On the files given, y is simulated" in text


def test_what_has_no_report(runs, tsjax, tmp_path, monkeypatch):
    """No run, and no matplotlib."""
    status, _, err = tsjax("report", tmp_path / "none", "--out", tmp_path / "report")
    assert (status, "holds no finished run" in err) == (2, True)
    monkeypatch.setattr(validate_runs, "find_spec", lambda name: None)
    status, _, err = tsjax("report", runs / "gru", "--out", tmp_path / "report")
    assert (status, 'pip install "tsjax-core[viz]"' in err) == (2, True)
    assert not (tmp_path / "report").exists()


def test_a_page_escapes_what_it_is_given(tmp_path):
    """Names of files may hold any signs."""
    from matplotlib.figure import Figure

    page = Page("a <b> & c")
    page.begin_section("<script>")
    page.add_table("t<", ["name", "value"], [["<i>", "1.5 V"], ["n", "-"]])
    for _ in range(2):
        page.add_figure("same", Figure(), 'what "it" is')
    page.add_source("toml", "x = '<y>'")
    text = page.to_html()
    outline = Outline(text)
    assert outline.headings == ["<script>"]
    assert "<script>" not in text
    assert page.write(tmp_path).name == "report.html"
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["same.png", "same_2.png"]
