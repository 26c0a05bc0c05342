"""What pytest makes of a contract: clauses are counted, and none is dropped without a reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOURCE = """
import pytest
from tsjax_core import mse
from tsjax_core.testing import LossConformance, MetricConformance

class TestSound(LossConformance):
    loss = mse

class TestMetric(MetricConformance):
    metric = mse
    best = 0.0

class TestExcused(LossConformance):
    loss = mse
    minimum = 7.0

    @pytest.mark.xfail(reason="its minimum is not known")
    def test_minimum_is_at_a_perfect_prediction(self):
        super().test_minimum_is_at_a_perfect_prediction()

class TestReplaced(LossConformance):
    loss = mse

    def test_value_is_finite(self):
        pass

class TestRemoved(LossConformance):
    loss = mse
    test_value_is_finite = None

class TestWithoutReason(LossConformance):
    loss = mse

    @pytest.mark.xfail
    def test_value_is_finite(self):
        raise ValueError

class TestEmptyReason(LossConformance):
    loss = mse

    @pytest.mark.xfail(reason="")
    def test_value_is_finite(self):
        raise ValueError

class TestSkipMark(LossConformance):
    loss = mse

    @pytest.mark.skip(reason="not today")
    def test_value_is_finite(self):
        pass

class TestSkips(LossConformance):
    loss = mse

    def _check_gradient(self, pred):
        pytest.skip("not today")

class TestSkipsBesideAnExcuse(LossConformance):
    loss = mse

    def _check_gradient(self, pred):
        pytest.skip("not today")

    @pytest.mark.xfail(reason="its minimum is not known")
    def test_minimum_is_at_a_perfect_prediction(self):
        raise ValueError

class TestNothingDeclared(MetricConformance):
    pass

class TestBestNotDeclared(MetricConformance):
    metric = mse

class TestWrong(LossConformance):
    loss = lambda *given: mse(*given)[None]
"""

EXCUSED = """
import pytest
from tsjax_core import mse
from tsjax_core.testing import LossConformance

@pytest.mark.xfail(reason="all of it")
class TestExcusedAsAWhole(LossConformance):
    loss = lambda *given: mse(*given)[None]
"""

ONE = """
from tsjax_core import mse
from tsjax_core.testing import LossConformance

class TestSound(LossConformance):
    loss = mse
"""

RUNS = {
    "whole": ["test_plugin.py"],
    "one": ["-k", "finite and perfect", "test_one.py"],
    "stopped": ["-x", "-k", "TestWrong", "test_plugin.py"],
    "excused": ["test_excused.py"],
}

SCRIPT = f"""
import pytest
for name, options in {RUNS!r}.items():
    print("@@", name, flush=True)
    pytest.main(["-W", "error", "-p", "no:cacheprovider", *options])
"""
"""All runs in one process, since importing and compiling take most of their time."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, str]:
    """Return what pytest prints for the files above, warnings as errors, as for a user."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "test_plugin.py").write_text(SOURCE)
    (folder / "test_excused.py").write_text(EXCUSED)
    (folder / "test_one.py").write_text(ONE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    parts = done.stdout.split("@@ ")[1:]
    return {part.partition("\n")[0]: part for part in parts}


@pytest.fixture(scope="module")
def whole(outputs) -> str:
    """Return the output of a run of all classes."""
    return outputs["whole"]


def outcomes(output: str, test_class: str) -> set[str]:
    """Return the tests of a class that fail or that are in error, from pytest's summary."""
    rows = [line.split(" - ")[0].split("::") for line in output.splitlines()]
    return {row[2] for row in rows if row[0].endswith("test_plugin.py") and row[1] == test_class}


def test_number_of_clauses_is_printed(whole):
    """Every clause ran and was counted, class by class, on an ordinary run."""
    assert "TestSound: 9 of 9 clauses of LossConformance passed" in whole
    assert "TestMetric: 7 of 7 clauses of MetricConformance passed" in whole
    assert outcomes(whole, "TestSound") == outcomes(whole, "TestMetric") == set()


def test_excused_clause_is_told_with_its_reason(whole):
    """An override with a reason is an expected failure, and no failure of the whole."""
    assert "TestExcused: 8 of 8 clauses of LossConformance that ran passed" in whole
    assert "  test_minimum_is_at_a_perfect_prediction may fail: its minimum is not known" in whole
    assert outcomes(whole, "TestExcused") == set()


@pytest.mark.parametrize("name", ["Replaced", "Removed", "WithoutReason", "EmptyReason"])
def test_override_without_reason_fails(whole, name):
    """However a clause is taken away, the test of the whole contract fails and names it."""
    assert "test_contract_is_whole" in outcomes(whole, f"Test{name}")
    text = f"Test{name} overrides test_value_is_finite without a reason. Mark the override"
    assert text in whole


def test_mark_that_skips_a_clause_fails(whole):
    """A clause that is marked to be skipped counts as taken away."""
    assert "test_contract_is_whole" in outcomes(whole, "TestSkipMark")
    assert "TestSkipMark overrides test_value_is_finite without a reason." in whole


def test_clause_that_skips_itself_fails(whole):
    """A clause that begins and is then skipped did not run, and that is an error."""
    clauses = {"test_gradient_is_finite", "test_gradient_is_finite_at_a_perfect_prediction"}
    for name, number in (("TestSkips", 7), ("TestSkipsBesideAnExcuse", 6)):
        assert f"{name}: {number} of {number} clauses of LossConformance that ran" in whole
        for each in clauses:
            assert (
                f"{name}: {each} did not run. A clause that cannot hold is overridden with "
                '@pytest.mark.xfail(reason="..."), and never skipped.'
            ) in whole
        assert outcomes(whole, name) == clauses


def test_class_that_is_excused_as_a_whole_ends_the_run(outputs):
    """Marked so, even a failure of the guard would be expected."""
    text = "TestExcusedAsAWhole is marked xfail as a whole; mark the clause that cannot hold."
    assert text in outputs["excused"]


def test_undeclared_facts_are_named(whole):
    """A class that leaves facts out is told which."""
    assert "TestNothingDeclared does not declare metric and best; write each in the" in whole
    assert "TestBestNotDeclared does not declare best; write each in the body of the" in whole


def test_selected_clauses_are_told(outputs):
    """One clause alone can be run; the count says that the others were not selected."""
    output = outputs["one"]
    assert (
        "TestSound: 1 of 1 clauses of LossConformance that ran passed\n  8 not selected" in output
    )
    assert "1 passed" in output


def test_stopped_run_does_not_ask_for_the_rest(outputs):
    """A run that stops at the first failure tells that failure, and not what it left out."""
    output = outputs["stopped"]
    assert "the value has shape (1,); reduce it to a scalar" in output
    assert "did not run" not in output
