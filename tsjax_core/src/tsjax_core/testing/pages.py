"""The contracts as pages: each clause is the sentence in its docstring."""

from __future__ import annotations

import inspect
import re

from tsjax_core.testing.contract import Conformance, clauses_of
from tsjax_core.testing.losses import LossConformance
from tsjax_core.testing.metrics import MetricConformance
from tsjax_core.testing.models import ModelConformance
from tsjax_core.testing.plugins import PluginConformance
from tsjax_core.testing.sources import SourceConformance
from tsjax_core.testing.stateful import CarryingModelConformance, StatefulModelConformance
from tsjax_core.testing.stores import StoreConformance
from tsjax_core.testing.transforms import TransformConformance

CONTRACTS: dict[str, type[Conformance]] = {
    "plugin": PluginConformance,
    "model": ModelConformance,
    "stateful-model": StatefulModelConformance,
    "carrying-model": CarryingModelConformance,
    "loss": LossConformance,
    "metric": MetricConformance,
    "transform": TransformConformance,
    "source": SourceConformance,
    "store": StoreConformance,
}
"""The contracts by the name of their page."""

GUIDES: dict[str, str] = {
    "specifications": "specifications within specifications, in Python, TOML and on disk",
    "declared-arguments": "what losses, metrics, transforms, models and plots may declare",
    "position": "which samples of a batch count, and where a sequence begins",
    "carry": "state that goes on from batch to batch in training",
    "sources-by-name": "sources of training windows by name, and their further abilities",
    "initial-state": "measured outputs at the start, and where a simulation begins",
    "further-keys": "further signals for losses and transforms",
    "quantities": "physical parameters with bounds and units",
    "states": "states as values: of every sample, and as one array",
    "search": "what a search over hyperparameters needs",
    "stores-and-plots": "stores and plots by name",
    "commands": "commands that plugins add to `tsjax`",
    "arrays": "arrays and data frames as data",
    "residuals": "residuals of losses, and whole training records",
}
"""What the pages written by hand explain, by their names."""

_INTRODUCTION = (
    "What a component keeps, so that it works wherever a component of its kind does. Each "
    "sentence is a clause, and each clause is a test: a test file derives a class from the "
    "contract in `tsjax_core.testing`, declares the facts, and pytest runs every clause "
    "([how](../write-a-plugin.md))."
)


def pages() -> dict[str, str]:
    """Return the pages of all contracts by file name, an index among them, as Markdown."""
    written = {f"{name}.md": _page(name, contract) for name, contract in CONTRACTS.items()}
    return {"README.md": _index(), **written}


def _index() -> str:
    rows = [
        f"| [{name.replace('-', ' ')}]({name}.md) | `{contract.__name__}` "
        f"| {len(clauses_of(contract))} |"
        for name, contract in CONTRACTS.items()
    ]
    return "\n".join(
        [
            "# Contracts",
            "",
            _INTRODUCTION,
            "",
            "| contract | class | clauses |",
            "|---|---|---|",
            *rows,
            "",
            "How the parts of the contract are used, with examples that run:",
            "",
            *(f"- [{name}]({name}.md): {what}" for name, what in GUIDES.items()),
            "",
            _origin(),
            "",
        ]
    )


def _page(name: str, contract: type[Conformance]) -> str:
    text, facts = _describe(contract)
    own = {clause for clause in clauses_of(contract) if clause in vars(contract)}
    bases = {c: n for n, c in CONTRACTS.items()}
    base = next((bases[c] for c in contract.__mro__[1:] if c in bases), None)
    more = [f"All clauses and facts of a [{base}]({base}.md), and:", ""] if base else []
    return "\n".join(
        [
            f"# The contract of a {name.replace('-', ' ')}",
            "",
            text,
            "",
            f"Tested by `tsjax_core.testing.{contract.__name__}`.",
            "",
            *more,
            "## Facts to declare",
            "",
            "| fact | what it says |",
            "|---|---|",
            *(
                f"| `{fact}`{' (required)' * (fact in contract.facts)} | {said} |"
                for fact, said in facts.items()
            ),
            "",
            "## Clauses",
            "",
            "| test | what holds |",
            "|---|---|",
            *(
                f"| `{clause}` | {inspect.getdoc(check)} |"
                for clause, check in clauses_of(contract).items()
                if clause in own
            ),
            "",
            _origin(),
            "",
        ]
    )


def _describe(contract: type[Conformance]) -> tuple[str, dict[str, str]]:
    """Return the text of a contract's docstring, and what it says of each fact."""
    text, _, facts = inspect.cleandoc(contract.__doc__ or "").partition("Facts:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", facts, re.MULTILINE)
    return text.strip(), {name: " ".join(said.split()) for name, said in found}


def _origin() -> str:
    return "Written by `python -m tsjax_core.testing` from the docstrings of the tests."
