"""The models of the plugin keep the contract of stateful models."""

from __future__ import annotations

import pytest

from tsjax_core.testing import StatefulModelConformance
from tsjax_ss import LTI, Hammerstein, NeuralSS, Wiener, WienerHammerstein


class OfStateSpace(StatefulModelConformance):
    __test__ = False
    causal = True
    steps = 12
    chunks = (1, 5, 2)
    channels = ((2, 3), (1, 1))


@pytest.mark.slow
class TestLTI(OfStateSpace):
    __test__ = True
    spec = LTI(order=2)


class TestNeural(OfStateSpace):
    __test__ = True
    spec = NeuralSS(order=3, hidden_size=4)


@pytest.mark.slow
class TestNeuralOfMonomials(OfStateSpace):
    __test__ = True
    spec = NeuralSS(order=2, features="monomials", degree=3, direct=False, horizon=6)


class TestWiener(OfStateSpace):
    __test__ = True
    spec = Wiener(order=2, hidden_size=3, features="softplus")


@pytest.mark.slow
class TestHammerstein(OfStateSpace):
    __test__ = True
    spec = Hammerstein(order=2, features="monomials", degree=2, direct=False)


class TestWienerHammerstein(OfStateSpace):
    __test__ = True
    spec = WienerHammerstein(order=2, orders=(2, 2), hidden_size=3)
