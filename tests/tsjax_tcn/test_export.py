"""The models of this plugin outside of tsjax, with their buffers of past inputs."""

from __future__ import annotations

import pytest

from tsjax_core.models.building import build_model
from tsjax_core.testing import sample_signals
from tsjax_core.testing.exports import check_c_export, check_export
from tsjax_tcn import CRNN, TCN


@pytest.mark.parametrize(
    "spec",
    [
        TCN(num_layers=3, hidden_size=4),
        TCN(num_layers=2, hidden_size=4, kernel_size=3, normalization="batchnorm"),
        CRNN(num_features=3, num_cnn_layers=2, cnn_hidden_size=4, rnn_hidden_size=5),
    ],
    ids=["tcn", "batchnorm", "crnn"],
)
def test_an_exported_step_gives_the_outputs_of_the_model(spec):
    """Sample by sample, with its Jacobians."""
    signals = sample_signals(2, 3)
    check_export(build_model(spec, signals, seed=0), signals)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        TCN(num_layers=3, hidden_size=4),
        CRNN(num_features=3, num_cnn_layers=2, cnn_hidden_size=4, rnn_hidden_size=5),
    ],
    ids=["tcn", "crnn"],
)
def test_the_c_header_runs_ten_thousand_steps(spec, tmp_path):
    """In float, with its Jacobians."""
    signals = sample_signals(2, 3)
    check_c_export(build_model(spec, signals, seed=0), signals, tmp_path)
