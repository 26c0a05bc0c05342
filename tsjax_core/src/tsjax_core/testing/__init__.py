"""Contracts as test classes: what a component of a plugin must keep, clause by clause.

A test file of a plugin derives a class from the contract of its component and declares the facts:

    from tsjax_core.testing import ModelConformance

    from tsjax_acme import Wiener


    class TestWiener(ModelConformance):
        spec = Wiener(hidden_size=4)
        causal = True

pytest then runs every clause as a test of its own. Needs pytest: `pip install tsjax-core[testing]`.
"""

from tsjax_core.testing.contract import Conformance, clauses_of, failures
from tsjax_core.testing.losses import LossConformance
from tsjax_core.testing.metrics import MetricConformance
from tsjax_core.testing.models import ModelConformance
from tsjax_core.testing.plugins import PluginConformance
from tsjax_core.testing.samples import sample_batch, sample_signals
from tsjax_core.testing.sources import SourceConformance
from tsjax_core.testing.stateful import CarryingModelConformance, StatefulModelConformance
from tsjax_core.testing.stores import StoreConformance
from tsjax_core.testing.transforms import TransformConformance

__all__ = [
    "CarryingModelConformance",
    "Conformance",
    "LossConformance",
    "MetricConformance",
    "ModelConformance",
    "PluginConformance",
    "SourceConformance",
    "StatefulModelConformance",
    "StoreConformance",
    "TransformConformance",
    "clauses_of",
    "failures",
    "sample_batch",
    "sample_signals",
]
