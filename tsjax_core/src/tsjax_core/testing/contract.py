"""What all contracts share: clauses, the count of those that ran, and the guard that keeps them."""

from __future__ import annotations

import functools
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest

from tsjax_core.signatures import wants_of
from tsjax_core.types import HostArray

C = TypeVar("C", bound="Conformance")

_ran: defaultdict[type, set[str]] = defaultdict(set)
"""Clauses that ran, by test class."""

_failed: defaultdict[type, set[str]] = defaultdict(set)
"""Those of them that failed."""


def _note(test: Conformance, name: str) -> None:
    _ran[type(test)].add(name)
    # Of the instance as well, which pytest makes anew for each test that it runs.
    vars(test)["_has_run"] = name


class Blocked(Exception):  # noqa: N818 - it is no failure of the clause that meets it
    """What a clause needs cannot be made, which another clause reports."""


def clause(check: Callable[[C], None]) -> Callable[[C], None]:
    """Mark a test method as a clause of a contract. Its docstring is the sentence of the clause."""

    @functools.wraps(check)
    def counted(self: C) -> None:
        # What pytest.skip raises is no Exception, so that a skipped clause does not count as run.
        try:
            check(self)
        except Blocked as cause:
            vars(self)["_has_run"] = check.__name__
            pytest.xfail(str(cause))
        except Exception:
            _note(self, check.__name__)
            _failed[type(self)].add(check.__name__)
            raise
        _note(self, check.__name__)

    vars(counted)["is_clause"] = True
    return counted


def clauses_of(contract: type[Conformance]) -> dict[str, Callable[[Any], None]]:
    """Return the clauses of a contract by name, in the order in which they stand."""
    return {
        name: member
        for owner in reversed(contract.__mro__)
        for name, member in vars(owner).items()
        if getattr(member, "is_clause", False)
    }


def failures(contract: type[Conformance]) -> dict[str, str]:
    """Run the clauses of a contract outside of pytest; return the text of each that fails.

    `setup_class` and `teardown_class` are not called; give what they would make as attributes.
    """
    failed = {}
    for name in clauses_of(contract):
        try:
            inspect.unwrap(getattr(contract, name))(contract())
        except Blocked:
            continue
        except Exception as error:  # noqa: BLE001 - whatever a component raises is its failure
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def wanted(component: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the offered values that a component declares as keyword-only arguments."""
    wants = wants_of(component)
    return {name: value for name, value in offered.items() if name in wants}


def check_close(what: str, got: Any, expected: Any, cure: str) -> None:
    """Raise AssertionError where two numbers or arrays differ by more than rounding."""
    first, second = (np.asarray(value, np.float64) for value in (got, expected))
    assert np.allclose(first, second, rtol=1e-5, atol=1e-6, equal_nan=True), (
        f"{what} is {_short(first)}, expected {_short(second)}; {cure}"
    )


def _short(value: HostArray) -> str:
    if value.ndim == 0:
        return f"{value:.6g}"
    return f"{', '.join(f'{x:.6g}' for x in value.ravel()[:3])}, ... of shape {value.shape}"


class Conformance:
    """A contract as a test class: each clause is one test method.

    A test file of a plugin derives a class from one of the contracts, with the component under test
    and the declared facts about it as attributes. All clauses then run. One that cannot hold is
    overridden with the reason:

        @pytest.mark.xfail(reason="smooths forwards and backwards")
        def test_causal(self):
            super().test_causal()

    An override without a reason fails, and so does a clause that begins and does not run to its
    end. pytest itself reports tests that are marked to be skipped.
    """

    facts: ClassVar[tuple[str, ...]] = ()
    """Attributes that a class under this contract must set."""

    @pytest.fixture(autouse=True)
    def _count_clauses(self, request: pytest.FixtureRequest) -> Iterator[None]:
        cls, node, session = type(self), request.node, request.session
        own = getattr(node.function, "pytestmark", ())
        if any(mark not in own for mark in node.iter_markers("xfail")):
            # An error here would be expected too, so that only the session can fail.
            session.shouldfail = (
                f"{cls.__name__} is marked xfail as a whole; mark the clause that cannot hold."
            )
        yield
        items = [item for item in session.items if getattr(item, "cls", None) is cls]
        # With tests spread over processes, none of them sees all.
        if node is items[-1] and not hasattr(request.config, "workerinput"):
            selected = {getattr(item, "originalname", item.name) for item in items}
            _print(request.config, _summary(cls, selected))
        name = getattr(node, "originalname", node.name)
        if name in clauses_of(cls) and vars(self).get("_has_run") != name:
            if _reason(cls, name):
                return
            pytest.fail(
                f"{cls.__name__}: {name} did not run. A clause that cannot hold is overridden "
                'with @pytest.mark.xfail(reason="..."), and never skipped.',
                pytrace=False,
            )

    def _fact(self, name: str) -> Any:
        """Return a declared fact as it was given: a function is not bound to the test."""
        given = inspect.getattr_static(type(self), name)
        if callable(given) and not isinstance(given, staticmethod | classmethod):
            return given
        return getattr(self, name)

    def test_contract_is_whole(self) -> None:
        """Every fact is declared, and no clause is overridden without a reason."""
        cls = type(self)
        undeclared = [fact for fact in self.facts if not hasattr(cls, fact)]
        assert not undeclared, (
            f"{cls.__name__} does not declare {' and '.join(undeclared)}; write each in the body "
            "of the class."
        )
        dropped = [
            name
            for name, contracted in clauses_of(cls).items()
            if inspect.getattr_static(cls, name) is not contracted and not _reason(cls, name)
        ]
        assert not dropped, (
            f"{cls.__name__} overrides {', '.join(dropped)} without a reason. Mark the override "
            'with @pytest.mark.xfail(reason="..."), or remove it.'
        )


def _reason(cls: type[Conformance], name: str) -> str | None:
    """Return the reason for which a clause may fail, None if it must hold."""
    marks = getattr(inspect.getattr_static(cls, name), "pytestmark", ())
    reasons = [mark.kwargs.get("reason") for mark in marks if mark.name == "xfail"]
    return next(filter(None, reasons), None)


def _summary(cls: type[Conformance], selected: set[str]) -> str:
    names = clauses_of(cls)
    contract = next(
        owner for owner in cls.__mro__ if owner.__module__.startswith("tsjax_core.testing.")
    )
    excused = {name: reason for name in names if (reason := _reason(cls, name))}
    ran = [name for name in names if name in _ran[cls] and name not in excused]
    passed = sum(name not in _failed[cls] for name in ran)
    text = f"{cls.__name__}: {passed} of {len(ran)} clauses of {contract.__name__} that ran passed"
    lines = [text if len(ran) < len(names) else text.replace(" that ran", "")]
    lines += [f"  {name} may fail: {reason}" for name, reason in excused.items()]
    if left := [name for name in names if name not in selected]:
        lines.append(f"  {len(left)} not selected")
    return "\n".join(lines)


def _print(config: pytest.Config, text: str) -> None:
    """Write to the terminal past pytest's capture."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None:
        return
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        if reporter.verbosity < 0:
            # A quiet run prints dots alone, which pytest does not count as an open line.
            reporter.write_line("")
        for line in text.splitlines():
            reporter.write_line(line)
