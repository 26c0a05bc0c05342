"""State-space models that begin as linear models of the data."""

from tsjax_ss.factory import NeuralStateSpaceLearner
from tsjax_ss.neural import NeuralStateSpace

__all__ = ["NeuralStateSpace", "NeuralStateSpaceLearner"]
