"""Each clause on plugins finds the plugin that breaks it, and no other clause does."""

from __future__ import annotations

import pytest

from tsjax_core.testing import PluginConformance, clauses_of, failures

SOUND = """
from tsjax_core import hookimpl

def peak(pred, target, y_mean, y_std):
    return 0.0

@hookimpl
def tsjax_metrics():
    return {"peak": peak}
"""

HOOK = "\n@hookimpl\ndef tsjax_losses():\n    "

BROKEN = {
    "test_plugin_can_be_used": SOUND + HOOK + "raise OSError('gone')",
    "test_offers_are_as_declared": SOUND + HOOK + "return {'peak': peak}",
    "test_components_have_one_name_each": SOUND.replace("{", "{'crest': peak, "),
    "test_listing_is_cheap": "import matplotlib" + SOUND,
}


def failed(**facts) -> set[str]:
    given = {"namespace": "mine", "offers": {"metric": {"peak"}}, **facts}
    found = failures(type("Conformance", (PluginConformance,), given))
    print(*found.items(), sep="\n")
    return set(found)


@pytest.mark.parametrize("clause, source", BROKEN.items())
def test_exactly_one_clause_finds_the_plugin(site, clause, source):
    """What is broken is told by the clause on it and by no other."""
    site.install("mine", source)
    names = {"peak", "crest"} if "crest" in source else {"peak"}
    assert failed(offers={"metric": names}) == {clause}


def test_two_distributions_with_one_namespace_are_found(site):
    """That each alone would work does not help."""
    site.install("mine", SOUND)
    site.install("mine", SOUND, distribution="fake-other")
    assert failed() == {"test_namespace_belongs_to_one_distribution"}


def test_plugin_that_is_not_installed_is_told(site, capsys):
    """Every clause that needs the plugin says that nobody has the namespace."""
    assert failed() == set(clauses_of(PluginConformance)) - {"test_listing_is_cheap"}
    assert "no installed distribution has the namespace 'mine'" in capsys.readouterr().out


def test_sound_plugin_keeps_every_clause(site):
    """The plugin that all mutants are made from passes."""
    site.install("mine", SOUND)
    assert failed() == set()


def test_every_clause_has_a_mutant():
    """No clause stands that nothing has been seen to break."""
    one = {"test_namespace_belongs_to_one_distribution"}
    assert set(BROKEN) | one == set(clauses_of(PluginConformance))
