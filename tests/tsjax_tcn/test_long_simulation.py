"""Long records, streams and single samples through models whose state is past inputs."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from tsjax_core import Simulator, predict, predict_stateful
from tsjax_core.inference import chunks
from tsjax_tcn import CRNN, TCN

SPECS = {
    "tcn": TCN(num_layers=4, hidden_size=6, normalization="batchnorm"),
    "tcn, scalars": TCN(num_layers=3, hidden_size=4, kernel_size=3, scalar_inputs=True),
    "crnn": CRNN(num_features=3, cell="lstm", cnn_hidden_size=4, rnn_hidden_size=5),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_long_record_a_stream_and_single_samples_agree(case, spec):
    """Each gives the outputs of one call for the whole record."""
    model = spec.build(case.signals, rngs=nnx.Rngs(0))
    model.eval()
    u = case.inputs(0, 3, 9_001)
    further = [np.float32([[1.0], [2.0], [0.5]])] if spec.scalar_inputs else []
    whole = np.asarray(model(u, *further))
    atol = 1e-5 * case.signals.stats["y"].std
    assert chunks.is_long([u])
    assert np.all(np.abs(predict(model, u, *further) - whole) < atol)
    # Chunks that are shorter and longer than what the convolutions remember.
    begun, state = predict_stateful(model, u[:, :30], chunk=6, further=further)
    y, _ = predict_stateful(model, u[:, 30:330], state, chunk=100, further=further)
    assert np.all(np.abs(np.concatenate([begun, y], 1) - whole[:, :330]) < atol)
    simulator = Simulator(model, further=[x[1] for x in further])
    simulator.reset(jax.tree.map(lambda x: x[1:2], state))
    y = np.stack([simulator.step(sample) for sample in u[1, 30:300]])
    assert np.all(np.abs(y - whole[1, 30:300]) < atol)
