"""What a plugin's distribution asks of core, judged against the core in use."""

from __future__ import annotations

from importlib import metadata

import pytest

from tsjax_core.registry.plugin_loading import core_in_use, core_requirement, is_unmet


@pytest.mark.parametrize(
    "requirement, unmet",
    [
        ("tsjax-core>=9", True),
        ("tsjax_core[viz]>=0.5", True),
        ("tsjax-core (>=0.5)", True),
        ("tsjax-core~=0.3.0", True),
        ("tsjax-core>=0.1, <0.4", True),
        ("tsjax-core>=9.0rc1", True),
        ("tsjax-core", False),
        ("TSJAX.Core<0.5,>=0.4", False),
        ("tsjax-core~=0.4.1", False),
        ("jax>=9", False),
    ],
)
def test_a_requirement_is_judged_by_the_core_in_use(requirement, unmet):
    """Against core 0.4.2."""
    assert is_unmet(requirement, "0.4.2") == unmet


@pytest.mark.parametrize(
    "requirement",
    ['tsjax-core>=9; python_version < "3"', "tsjax-core @ file:///wheels/tsjax_core.whl", "?"],
)
def test_what_is_not_certain_counts_as_met(requirement):
    """Markers and addresses are left to the installer."""
    assert not is_unmet(requirement, "0.4.2")


def test_a_development_version_is_judged_too():
    """As the release before which it stands."""
    assert not is_unmet("tsjax-core>=0.4", "0.4.2.dev3")
    assert is_unmet("tsjax-core>=9", "0.4.2.dev3")


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
