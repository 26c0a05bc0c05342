"""The models and losses of the plugin keep their contracts."""

from __future__ import annotations

from functools import cache

import jax
import pytest
from flax import nnx

from tsjax_ar import (
    AR,
    FranSys,
    consistency,
    diagnosis_loss,
    fransys_losses,
    one_step_loss,
    one_step_sync,
    state_sync,
    temporal_activation,
    transition_smoothness,
)
from tsjax_core import GRU, LSTM, RNN
from tsjax_core.testing import LossConformance, StatefulModelConformance
from tsjax_core.testing.samples import sample_batch, sample_signals

# Convolutions are models inside, where they are installed.
TCN = pytest.importorskip("tsjax_tcn").TCN


class TestAR(StatefulModelConformance):
    steps = 12
    chunks = (1, 5, 2)
    channels = ((2, 3), (1, 1))
    spec = AR(model=RNN(hidden_size=3, kernel="plain"), init_window=3)
    causal = True
    reads = ("u", "y")
    init_window = 3


class TestFranSys(StatefulModelConformance):
    steps = 12
    chunks = (1, 5, 2)
    channels = ((2, 3), (1, 1))
    spec = FranSys(
        diagnosis=TCN(num_layers=1, hidden_size=3),
        prognosis=RNN(hidden_size=2, kernel="plain"),
        init_window=4,
        shortest_window=2,
        encoder_size=3,
        encoder_share=0.5,
    )
    causal = True
    reads = ("u", "y")
    init_window = 4


@pytest.mark.slow
class TestARScheduledWithScalars(StatefulModelConformance):
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


@pytest.mark.slow
class TestFranSysOfLSTMs(StatefulModelConformance):
    spec = FranSys(
        diagnosis=TCN(num_layers=2, hidden_size=4, normalization="batchnorm"),
        prognosis=LSTM(hidden_size=3, num_layers=2, normalization="layernorm", hidden_dropout=0.1),
        init_window=6,
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


@cache
def values_of_fransys():
    """Return the intermediate values in training, for the batch that losses are called with."""
    signals = sample_signals(2, 3)
    spec = FranSys(
        diagnosis=RNN(hidden_size=3),
        prognosis=RNN(hidden_size=2),
        init_window=6,
        shortest_window=3,
        encoder_size=2,
    )
    model = spec.build(signals, rngs=nnx.Rngs(0))
    batch = sample_batch(signals)
    run = jax.jit(lambda u, y, key: model.call_with_aux(u, y, key=key, progress=0.5)[1])
    return run(batch["u"], batch["y"], jax.random.key(0))


class OfFranSys(LossConformance):
    """A loss of what FranSys gives in training; it has no target of its own."""

    __test__ = False
    minimum = None

    @classmethod
    def setup_class(cls):
        cls.aux = values_of_fransys()


class TestStateSync(OfFranSys):
    __test__ = True
    loss = state_sync()


class TestStateSyncByCosine(OfFranSys):
    __test__ = True
    loss = state_sync("cos_pow")


class TestStateSyncByPercentage(OfFranSys):
    __test__ = True
    loss = state_sync("mape")


class TestDiagnosisLoss(OfFranSys):
    __test__ = True
    loss = diagnosis_loss()


class TestOneStepSync(OfFranSys):
    __test__ = True
    loss = one_step_sync()


class TestOneStepLoss(OfFranSys):
    __test__ = True
    loss = one_step_loss(error="mse", skip=4)


class TestTemporalActivation(OfFranSys):
    __test__ = True
    loss = temporal_activation()


class TestTransitionSmoothness(OfFranSys):
    __test__ = True
    loss = transition_smoothness()


class TestConsistency(OfFranSys):
    __test__ = True
    loss = consistency()


class TestFranSysLosses(OfFranSys):
    __test__ = True
    loss = fransys_losses(p_one_step_sync=1.0, p_temporal_activation=0.1)
