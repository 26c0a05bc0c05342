"""The models of the plugin keep the contract of stateful models."""

from __future__ import annotations

import pytest

from tsjax_ar import AR, FranSys
from tsjax_core import GRU, LSTM
from tsjax_core.testing import StatefulModelConformance
from tsjax_tcn import TCN


class TestAR(StatefulModelConformance):
    steps = 12
    chunks = (1, 5, 2)
    spec = AR(
        model=LSTM(hidden_size=3, scalar_inputs=True, weight_dropout=0.1),
        init_window=3,
        training="scheduled",
        schedule_end=1.0,
    )
    causal = True
    reads = ("u", "y", "u_scalar")
    init_window = 3


@pytest.mark.slow
class TestARAroundConvolutions(StatefulModelConformance):
    spec = AR(
        model=TCN(num_layers=2, hidden_size=3, normalization="batchnorm"),
        init_window=6,
        training="teacher_forcing",
    )
    causal = True
    reads = ("u", "y")
    init_window = 6


class TestFranSys(StatefulModelConformance):
    steps = 12
    chunks = (1, 5, 2)
    spec = FranSys(
        diagnosis=TCN(num_layers=2, hidden_size=4, normalization="batchnorm"),
        prognosis=LSTM(hidden_size=3, num_layers=2, normalization="layernorm", hidden_dropout=0.1),
        init_window=6,
        shortest_window=2,
        encoder_size=3,
        encoder_share=0.5,
    )
    causal = True
    reads = ("u", "y")
    init_window = 6


@pytest.mark.slow
class TestFranSysWithScalars(StatefulModelConformance):
    spec = FranSys(
        diagnosis=GRU(hidden_size=3),
        prognosis=GRU(hidden_size=4, num_layers=2, residual=True, scalar_inputs=True),
        init_window=3,
    )
    causal = True
    reads = ("u", "y", "u_scalar")
    init_window = 3
