"""State-space models that begin as linear models of the data."""

from tsjax_ss.factory import (
    HammersteinLearner,
    NeuralStateSpaceLearner,
    WienerHammersteinLearner,
    WienerLearner,
)
from tsjax_ss.hammerstein import Hammerstein
from tsjax_ss.neural import NeuralStateSpace
from tsjax_ss.wiener import Wiener
from tsjax_ss.wiener_hammerstein import WienerHammerstein

__all__ = [
    "Hammerstein",
    "HammersteinLearner",
    "NeuralStateSpace",
    "NeuralStateSpaceLearner",
    "Wiener",
    "WienerHammerstein",
    "WienerHammersteinLearner",
    "WienerLearner",
]
