"""Temporal convolutional networks: causal dilated convolutions over measured signals."""

from tsjax_tcn.crnn import CRNN
from tsjax_tcn.factory import CRNNLearner, TCNLearner
from tsjax_tcn.tcn import TCN

__all__ = ["CRNN", "TCN", "CRNNLearner", "TCNLearner"]
