"""The models of this plugin outside of tsjax."""

from __future__ import annotations

import pytest

from tsjax_core.models.building import build_model
from tsjax_core.testing import sample_signals
from tsjax_core.testing.exports import check_c_export, check_export
from tsjax_ss import LTI, Hammerstein, NeuralSS, Wiener, WienerHammerstein


@pytest.mark.parametrize(
    "spec",
    [
        LTI(order=2),
        NeuralSS(order=3, hidden_size=4),
        NeuralSS(order=2, features="monomials", degree=3, direct=False, horizon=6),
        Wiener(order=2, hidden_size=3, features="softplus"),
        Hammerstein(order=2, hidden_size=3),
        WienerHammerstein(order=2, orders=(2, 2), hidden_size=3),
    ],
    ids=["lti", "neural", "monomials", "wiener", "hammerstein", "wiener_hammerstein"],
)
def test_an_exported_step_gives_the_outputs_of_the_model(spec):
    """Sample by sample, with its Jacobians."""
    signals = sample_signals(2, 3)
    check_export(build_model(spec, signals, seed=0), signals)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [NeuralSS(order=3, hidden_size=4), WienerHammerstein(order=2, orders=(2, 2), hidden_size=3)],
    ids=["neural", "wiener_hammerstein"],
)
def test_the_c_header_runs_ten_thousand_steps(spec, tmp_path):
    """In float, with its Jacobians."""
    signals = sample_signals(2, 3)
    check_c_export(build_model(spec, signals, seed=0), signals, tmp_path)
