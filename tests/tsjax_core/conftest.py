"""Plugins for tests are real distributions in a folder on `sys.path`; `tsjax` runs in-process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from textwrap import dedent
from typing import ClassVar

import pytest

from tsjax_core import cli
from tsjax_core.errors import PluginError
from tsjax_core.registry.hookspecs import HOOKS
from tsjax_core.registry.registry import Registry


@dataclass(frozen=True)
class Site:
    """A directory on `sys.path` into which distributions are written as an installer would."""

    path: Path

    HOOKIMPL: ClassVar[str] = "from tsjax_core.registry.hookspecs import hookimpl\n"

    CORE: ClassVar[str]
    """Source of a plugin with the models `gru` and `lstm` and the metric `rmse`."""

    @staticmethod
    def model(name: str) -> str:
        """Source of a class that meets the contract of a model."""
        return dedent(f"""
            from dataclasses import dataclass
            from typing import ClassVar

            @dataclass(frozen=True)
            class {name}:
                reads: ClassVar[tuple[str, ...]] = ("u",)
                hidden_size: int = 8

                def build(self, signals, *, rngs):
                    return self
            """)

    @classmethod
    def hook(cls, kind: str, returns: str, before: str = "") -> str:
        """Source of a plugin with one hook, that returns the expression `returns`."""
        function = f"@hookimpl\ndef {HOOKS[kind]}():\n    return {returns}\n"
        return f"{cls.HOOKIMPL}{dedent(before)}\n{function}"

    def install(
        self,
        namespace: str,
        source: str,
        *,
        distribution: str | None = None,
        version: str = "1.2",
        target: str | None = None,
        requires: tuple[str, ...] = (),
    ) -> None:
        """Write distribution `fake-<namespace>` with the plugin module `source`."""
        name = distribution or f"fake-{namespace}"
        module = name.replace("-", "_")
        info = self.path / f"{module}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(
            f"[tsjax]\n{namespace} = {target or f'{module}._plugin'}\n"
        )
        (self.path / module).mkdir()
        (self.path / module / "__init__.py").write_text("")
        (self.path / module / "_plugin.py").write_text(source)

    @property
    def registry(self) -> Registry:
        """A new registry of the distributions in this directory alone."""
        return Registry(
            entry_point
            for distribution in metadata.distributions(path=[str(self.path)])
            for entry_point in distribution.entry_points
        )

    @staticmethod
    def told(error: type[PluginError], registry: Registry, kind: str, name: str) -> PluginError:
        """Return the error that resolving raises, after printing its text."""
        with pytest.raises(error) as caught:
            registry.resolve(kind, name)
        print(f"{kind} {name!r} -> {type(caught.value).__name__}:\n{caught.value}\n")
        return caught.value


Site.CORE = (
    Site.HOOKIMPL
    + Site.model("GRU")
    + Site.model("LSTM")
    + dedent("""
        def rmse(pred, target, y_mean, y_std):
            return 0.0

        @hookimpl
        def tsjax_models():
            return {"gru": GRU, "lstm": LSTM}

        @hookimpl
        def tsjax_metrics():
            return {"rmse": rmse}
        """)
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty site; what a test imports from it is forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield Site(tmp_path)
    for module in set(sys.modules) - before:
        if module.startswith("fake_"):
            del sys.modules[module]


@pytest.fixture
def tsjax(monkeypatch, capsys):
    """Run the command in this process; return exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tsjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out = capsys.readouterr()
        print(out.out, out.err, sep="\n")
        code = left.value.code
        return (code if isinstance(code, int) else 0), out.out, out.err

    return run
