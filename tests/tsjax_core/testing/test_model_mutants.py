"""Each clause on models finds the model that breaks it, and no other clause does."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from tsjax_core.registry import registry
from tsjax_core.testing import (
    CarryingModelConformance,
    ModelConformance,
    StatefulModelConformance,
    clauses_of,
    failures,
)

SOURCE = (Path(__file__).parent / "model_mutants.py").read_text(encoding="utf-8")
NUMBER = sum(
    isinstance(node, ast.ClassDef)
    and any(ast.unparse(d).startswith("breaks(") for d in node.decorator_list)
    for node in ast.parse(SOURCE).body
)


DECLARED = {"causal": True, "channels": ((2, 3), (1, 1))}


@pytest.fixture
def mutants(site):
    """Install the mutants as a plugin and return its module."""
    site.install("mutants", SOURCE)
    registry._installed.cache_clear()
    yield import_module("fake_mutants._plugin")
    registry._installed.cache_clear()


def conformance(spec, **facts) -> type[ModelConformance]:
    base = StatefulModelConformance if facts.pop("stateful", False) else ModelConformance
    base = CarryingModelConformance if facts.pop("carrying", False) else base
    options = {name: facts.pop(name) for name in ("size",) if name in facts}
    return type("Conformance", (base,), {"spec": spec(**options), **DECLARED, **facts})


def test_sound_model_keeps_every_clause(mutants):
    """The model that all mutants are made from passes."""
    assert failures(conformance(mutants.Sound, stateful=True)) == {}
    assert failures(conformance(mutants.SoundCarrying, carrying=True)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(NUMBER))
def test_exactly_one_clause_finds_the_mutant(mutants, number):
    """What is broken is told by the clause on it and by no other."""
    clause, spec, facts = mutants.BROKEN[number]
    failed = failures(conformance(spec, **facts))
    print(spec.__name__, *failed.items(), sep="\n  ")
    assert set(failed) == {clause}


def test_every_clause_has_a_mutant(mutants):
    """No clause stands that nothing has been seen to break."""
    broken = {clause for clause, _, _ in mutants.BROKEN}
    assert broken == set(clauses_of(CarryingModelConformance))
    assert len(mutants.BROKEN) == NUMBER
