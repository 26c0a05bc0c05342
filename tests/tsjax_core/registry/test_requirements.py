"""What a plugin's distribution asks of core, judged against the core in use."""

from __future__ import annotations

from importlib import metadata

import pytest

from tsjax_core.registry.requirements import core_in_use, core_requirement, is_unmet


@pytest.mark.parametrize(
    "requirement",
    [
        "tsjax-core>=9",
        "tsjax-core >= 0.4.3",
        "tsjax_core[viz]>=0.5",
        "tsjax-core (>=0.5)",
        "tsjax-core>0.4.2",
        "tsjax-core<0.4.2",
        "tsjax-core<=0.4.1.9",
        "tsjax-core==0.4",
        "tsjax-core==0.5.*",
        "tsjax-core!=0.4.2.0",
        "tsjax-core!=0.4.*",
        "tsjax-core~=0.5",
        "tsjax-core~=0.3.0",
        "tsjax-core~=0.4.3",
        "tsjax-core~=0.4.2.1",
        "tsjax-core>=0.1, <0.4",
    ],
)
def test_requirements_that_the_core_does_not_meet(requirement):
    """Every kind of clause, against core 0.4.2."""
    assert is_unmet(requirement, "0.4.2")


@pytest.mark.parametrize(
    "requirement",
    [
        "tsjax-core",
        "tsjax-core[viz]",
        "tsjax-core>=0.4",
        "tsjax-core>=0.4.2.0",
        "TSJAX.Core<0.5,>=0.4",
        "tsjax-core>0.4",
        "tsjax-core<=0.4.2",
        "tsjax-core==0.4.2",
        "tsjax-core==0.4.*",
        "tsjax-core!=0.4",
        "tsjax-core!=0.5.*",
        "tsjax-core~=0.4",
        "tsjax-core~=0.4.1",
    ],
)
def test_requirements_that_the_core_meets(requirement):
    """The same clauses, so that each is shown to tell the two apart."""
    assert not is_unmet(requirement, "0.4.2")


@pytest.mark.parametrize(
    "requirement, version",
    [
        ('tsjax-core>=9; python_version < "3"', "0.4.2"),
        ("tsjax-core===nightly", "0.4.2"),
        ("tsjax-core>=9.0rc1", "0.4.2"),
        ("tsjax-core @ file:///wheels/tsjax_core.whl", "0.4.2"),
        ("tsjax-core>=9", "0.4.2.dev3"),
    ],
)
def test_what_is_not_certain_counts_as_met(requirement, version):
    """Markers, pre-releases and addresses are left to the installer."""
    assert not is_unmet(requirement, version)


@pytest.mark.parametrize(
    "requirement", ["tsjax-core~=0.1.0", "tsjax-core~=0.1", "tsjax-core~=0.1.0.0"]
)
def test_a_compatible_release_is_padded_with_zeros(requirement):
    """Core 0.1 is core 0.1.0, and no 0.2."""
    assert not is_unmet(requirement, "0.1")
    assert is_unmet(requirement, "0.0.9")
    assert is_unmet(requirement, "1")


def test_a_requirement_with_a_marker_gives_way_to_one_without():
    """That of an extra does not hide what the plugin itself asks for, in either order."""
    extra, own = 'tsjax-core[testing]; extra == "dev"', "tsjax-core>=9"
    assert core_requirement([extra, own]) == own
    assert core_requirement([own, extra]) == own
    assert core_requirement([extra]) == extra


def test_the_requirement_on_core_is_found_among_others():
    """Distributions whose names only begin like core's are not core."""
    others = ["jax>=0.1", "tsjax-core-extras>=2", "tsjax-core.extras", "tsjax-corex"]
    assert core_requirement(others) is None
    assert core_requirement([*others, "tsjax_core[viz]>=1"]) == "tsjax_core[viz]>=1"


def test_the_core_in_use_is_the_installed_one():
    """Its version is that of its metadata."""
    assert core_in_use() == metadata.version("tsjax-core")
