"""Each clause on sources and stores finds what breaks it, and no other clause does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from tsjax_core.testing import SourceConformance, StoreConformance, clauses_of, failures

SOURCE = (Path(__file__).parent / "reader_mutants.py").read_text(encoding="utf-8")

SOURCES = {
    "OneMoreThanDeclared": "test_length_is_as_declared",
    "CountsFromTheEnd": "test_indices_out_of_range_are_refused",
    "NoEnd": "test_indices_out_of_range_are_refused",
    "DoublePrecision": "test_samples_are_float32_arrays",
    "OutputsInOneColumnWithoutAxis": "test_samples_are_float32_arrays",
    "ShorterOutput": "test_sequences_of_a_sample_are_equally_long",
    "OneChannelMoreAtTheEnd": "test_samples_have_equal_channels",
    "AddsNoise": "test_equal_indices_give_equal_samples",
    "GivesItsOwnSamples": "test_equal_indices_give_equal_samples",
    "WrapsItsBatch": "test_batches_are_stacked_samples",
    "HoldsALambda": "test_other_processes_read_the_same",
    "DependsOnTheProcess": "test_other_processes_read_the_same",
    "SortsItsBatch": "test_batches_are_stacked_samples",
    "LocatesOneTooFar": "test_windows_are_parts_of_the_resident_signals",
    "PositionsInPairs": "test_positions_number_the_samples_of_a_sequence",
    "PositionsAsNumbers": "test_samples_are_float32_arrays",
    "FewerAreOthers": "test_epochs_are_drawn_alike",
    "OneOrderForAll": "test_epochs_are_drawn_alike",
    "OneBatchTooFew": "test_planned_batches_show_every_sample",
    "ForgetsItsWeights": "test_samples_of_weight_zero_are_not_drawn",
}

STORES = {
    "PathsInTurn": "test_paths_are_fixed",
    "OneMoreThanRead": "test_lengths_are_those_of_the_signals",
    "DoublePrecisionStore": "test_signals_are_columns_of_float32",
    "OwnOrder": "test_signals_are_columns_of_float32",
    "FiltersWhatIsAsked": "test_part_equals_part_of_the_whole",
    "CutsTheRange": "test_ranges_outside_the_signal_are_refused",
    "RefusesWithoutTheFile": "test_ranges_outside_the_signal_are_refused",
    "CutsTheRangeOfTheSecond": "test_ranges_outside_the_signal_are_refused",
    "CountsNothingUnasked": "test_lengths_are_those_of_the_signals",
    "WrapsItsWindows": "test_windows_are_parts_of_the_signals",
    "RaisesWhatCannotBeSent": "test_other_processes_read_the_same",
    "AttributesInTurn": "test_attributes_are_one_number_each",
    "ZerosForUnknown": "test_unknown_signal_is_refused",
    "RefusesWithoutTheName": "test_unknown_signal_is_refused",
    "GivesItsOwnMemory": "test_reading_again_gives_the_same",
    "HoldsAFile": "test_other_processes_read_the_same",
    "WindowsOneTooFar": "test_windows_are_parts_of_the_signals",
    "AttributesAsRows": "test_attributes_are_one_number_each",
    "SamplingRate": "test_sampling_time_is_positive",
}


@pytest.fixture
def mutants(site):
    """Put the mutants where another process finds them, and return their module."""
    site.install("readers", SOURCE)
    return import_module("fake_readers._plugin")


def failed(contract, **facts) -> set[str]:
    found = failures(type("Conformance", (contract,), facts))
    print(*found.items(), sep="\n")
    return set(found)


@pytest.mark.parametrize("name, clause", SOURCES.items())
def test_exactly_one_clause_finds_the_source(mutants, name, clause):
    """What is broken is told by the clause on it and by no other."""
    assert failed(SourceConformance, source=getattr(mutants, name)(), length=5) == {clause}


@pytest.mark.parametrize("name, clause", STORES.items())
def test_exactly_one_clause_finds_the_store(mutants, name, clause):
    """What is broken is told by the clause on it and by no other."""
    store = getattr(mutants, name)()
    facts = {"signals": ("a", "b"), "attributes": ("mass",)}
    assert failed(StoreConformance, store=store, **facts) == {clause}


def test_sound_readers_keep_every_clause(mutants):
    """The source and the store that all mutants are made from pass."""
    assert failed(SourceConformance, source=mutants.SoundSource(), length=5) == set()
    assert failed(SourceConformance, source=mutants.Ordered(), length=5) == set()
    assert failed(StoreConformance, store=mutants.SoundStore(), signals=("a", "b")) == set()


def test_every_clause_has_a_mutant():
    """No clause stands that nothing has been seen to break."""
    assert set(SOURCES.values()) == set(clauses_of(SourceConformance))
    assert set(STORES.values()) == set(clauses_of(StoreConformance))
