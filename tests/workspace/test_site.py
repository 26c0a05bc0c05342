"""The documentation site: every block runs, every page is there, and no warning is given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    "index.md",
    "concepts.md",
    "data.md",
    "validation.md",
    "from-matlab.md",
    *sorted(f"how-to/{path.name}" for path in (DOCS / "how-to").glob("*.md")),
]
LONG = ("index.md", "how-to/search.md", "how-to/choose-a-model.md")

EXPERIMENT = """
[data]
dataset = "tsjax-demo/data"
u = ["u"]
y = ["y"]
win_sz = 100
stp_sz = 100
n_batches = 4

[model]
name = "core/gru"
hidden_size = 4

[train]
epochs = 1
n_skip = 50
metrics = ["core/rmse", "core/fit_percent"]
"""


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p in LONG else p for p in PAGES]
)
def test_the_blocks_of_a_page_run_in_order(page, reader, tmp_path, monkeypatch, run_console):
    """Python in one namespace, commands of `tsjax` in this process, C with a compiler."""
    (tmp_path / "tsjax-demo").symlink_to(reader / "tsjax-demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    if page == "how-to/export.md":
        pytest.importorskip("casadi")
        pytest.importorskip("onnx")
    Path("experiment.toml").write_text(EXPERIMENT)
    names: dict = {}
    try:
        for language, file, text in FENCE.findall((DOCS / page).read_text(encoding="utf-8")):
            if file:
                Path(file).write_text(text)
            elif language == "python":
                exec(compile(text, page, "exec"), names)
            elif language == "c":
                _compile(text)
            else:
                assert language == "console"
                lines = [line for line in text.splitlines() if "pip install" not in line]
                if lines:
                    run_console("\n".join(lines))
    finally:
        sys.modules.pop("oscillator", None)


def _compile(text: str) -> None:
    """Compile a piece of a program, whose first line includes the header."""
    include, _, body = text.partition("\n")
    source = f"{include}\nint main(void) {{ float u[1] = {{0}}, y[1];\n{body}\n}}\n"
    Path("main.c").write_text(source)
    flags = ["-std=c99", "-Wall", "-Werror", "-Wno-unused-function"]
    subprocess.run(["cc", *flags, "-c", "main.c", "-o", "main.o"], check=True)


def test_names_of_other_tools_have_names_here():
    """What the tables for MATLAB and TSFast name is a component, a command, or a public name."""
    import tsjax_core
    from tsjax_core.registry.registry import Registry

    registry = Registry.installed()
    kinds = ("model", "loss", "metric", "transform", "source", "plot", "store", "command")
    components = {name for kind in kinds for name in registry.names(kind)}
    for page in ("from-matlab.md", "from-tsfast.md"):
        rows = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
        assert len(rows) > 20
        for row in rows:
            for code in re.findall(r"`([^`]+)`", row.split("|")[2]):
                if re.fullmatch(r"(core|ss|ar|tcn|pinn|quat|spectral|tbptt)/[a-z_]+", code):
                    assert code in components, code
                elif re.fullmatch(r"[A-Z]\w+|[a-z_]+\(.*\)", code) and not code.startswith("HPO"):
                    name = code.partition("(")[0]
                    plugins = ("tsjax_tcn", "tsjax_tbptt", "tsjax_tune", "tsjax_core.training")
                    known = hasattr(tsjax_core, name) or any(
                        _offers(plugin, name) for plugin in plugins
                    )
                    assert known or name in ("fit", "model", "linearize", "iddata"), code


def _offers(module: str, name: str) -> bool:
    __import__(module)
    if module == "tsjax_core.training":
        from tsjax_core.training.polish import uncertainty

        return hasattr(uncertainty, name)
    return hasattr(sys.modules[module], name)


class Links(HTMLParser):
    """Addresses that a page asks for by itself: of styles, scripts and images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.headings = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.headings += tag == "h1"
        if tag in ("script", "img") and given.get("src"):
            self.asked.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon"):
            self.asked.append(given["href"])


def test_the_site_is_built_without_a_warning(tmp_path):
    """With a page for each file, and nothing that comes from another server."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stderr)
    assert done.returncode == 0
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages |= {f"plugins/{path.name.removeprefix('tsjax_')}.md" for path in ROOT.glob("plugins/*/")}
    for page in pages:
        name = page.replace("README.md", "index.md").replace(".md", ".html")
        text = (tmp_path / "site" / name).read_text(encoding="utf-8")
        links = Links(text)
        assert links.headings == 1, page
        assert not [each for each in links.asked if each.startswith(("http", "//"))], page
