"""State-space models that begin as linear models of the data."""

from tsjax_ss.factory import (
    HammersteinLearner,
    NeuralSSLearner,
    WienerHammersteinLearner,
    WienerLearner,
)
from tsjax_ss.hammerstein import Hammerstein
from tsjax_ss.lti import LTI
from tsjax_ss.neural import NeuralSS
from tsjax_ss.wiener import Wiener
from tsjax_ss.wiener_hammerstein import WienerHammerstein

__all__ = [
    "LTI",
    "Hammerstein",
    "HammersteinLearner",
    "NeuralSS",
    "NeuralSSLearner",
    "Wiener",
    "WienerHammerstein",
    "WienerHammersteinLearner",
    "WienerLearner",
]
