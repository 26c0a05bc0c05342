"""Truncated backpropagation through time: training on long records, chunk by chunk."""

from tsjax_tbptt.factory import TBPTTLearner
from tsjax_tbptt.source import TBPTTSource
from tsjax_tbptt.stateful import StatefulRNN, stateful

__all__ = ["StatefulRNN", "TBPTTLearner", "TBPTTSource", "stateful"]
