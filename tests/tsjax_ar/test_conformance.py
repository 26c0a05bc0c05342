"""The models of the plugin keep the contract of stateful models."""

from __future__ import annotations

from tsjax_ar.autoregression import AR
from tsjax_core import GRU, LSTM
from tsjax_core.testing import StatefulModelConformance
from tsjax_tcn import TCN


class TestARFreeRun(StatefulModelConformance):
    spec = AR(model=LSTM(hidden_size=3, num_layers=2, hidden_dropout=0.1), init_window=5)
    causal = True
    reads = ("u", "y")
    init_window = 5


class TestARScheduled(StatefulModelConformance):
    spec = AR(
        model=GRU(hidden_size=3, scalar_inputs=True, weight_dropout=0.1),
        init_window=3,
        training="scheduled",
        schedule_end=1.0,
    )
    causal = True
    reads = ("u", "y", "u_scalar")
    init_window = 3


class TestARAroundConvolutions(StatefulModelConformance):
    spec = AR(
        model=TCN(num_layers=2, hidden_size=3, normalization="batchnorm"),
        init_window=6,
        training="teacher_forcing",
    )
    causal = True
    reads = ("u", "y")
    init_window = 6
