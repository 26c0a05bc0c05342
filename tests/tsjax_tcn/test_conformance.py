"""The models of the plugin keep the contract of stateful models."""

from __future__ import annotations

import pytest

from tsjax_core.testing import StatefulModelConformance
from tsjax_tcn import CRNN, TCN


class TestTCN(StatefulModelConformance):
    spec = TCN(num_layers=2, hidden_size=4, layers_per_block=2, dropout=0.1, scalar_inputs=True)
    causal = True
    reads = ("u", "u_scalar")


@pytest.mark.slow
class TestTCNWithBatchNorm(StatefulModelConformance):
    spec = TCN(num_layers=2, hidden_size=4, kernel_size=3, normalization="batchnorm")
    causal = True


class TestCRNN(StatefulModelConformance):
    spec = CRNN(
        num_features=3,
        num_cnn_layers=2,
        num_rnn_layers=2,
        cnn_hidden_size=4,
        rnn_hidden_size=4,
        cell="lstm",
        cnn_normalization="layernorm",
        rnn_normalization="layernorm",
        hidden_dropout=0.1,
    )
    causal = True
