import jax.numpy as jnp
import numpy as np
from flax import nnx
from tsjax_core.testing import StatefulModelConformance, sample_signals

from tsjax_acme import Modes


class TestModes(StatefulModelConformance):
    spec = Modes(n_modes=4, hidden_size=5)
    causal = True


def test_a_mode_rings_at_its_frequency_and_decays_with_its_time_constant():
    """After n samples without input, it is exp(-n / time constant + i n frequency)."""
    signals = sample_signals(n_u=1, n_y=1)
    model = Modes(n_modes=3).build(signals, rngs=nnx.Rngs(0))
    n = 20
    at_rest = jnp.full((1, n, 1), signals.stats["u"].mean)
    _, state = model.advance(at_rest, jnp.ones((1, 3), jnp.complex64))
    rate = -1.0 / np.exp(model.log_time_constant[...]) + 1j * np.asarray(model.frequency[...])
    np.testing.assert_allclose(state[0], np.exp(n * rate), rtol=1e-4, atol=1e-6)
