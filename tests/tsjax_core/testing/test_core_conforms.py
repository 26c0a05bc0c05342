"""Core's own components keep the contracts that plugins keep."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np

from tsjax_core import (
    GRU,
    LSTM,
    RNN,
    CSVStore,
    FullSequenceSource,
    HDF5Store,
    ResampledStore,
    WindowedSource,
    activation_regularizer,
    add_bias,
    add_grouped_noise,
    add_noise,
    add_varying_noise,
    also_in_evaluation,
    compose_losses,
    compose_transforms,
    cut_loss,
    fit_percent,
    hardest,
    ignore_nan,
    mae,
    masked_loss,
    mse,
    normalized_huber,
    normalized_log_cosh,
    normalized_mae,
    normalized_mse,
    nrmse,
    random_length,
    rmse,
    skip_n,
    temporal_activation_regularizer,
    time_weighted,
    truncate_schedule,
    vaf,
    vary_length,
    weighted_loss,
    weighted_source,
    with_probability,
)
from tsjax_core.models.linear import ARX, Linear
from tsjax_core.testing import (
    LossConformance,
    MetricConformance,
    ModelConformance,
    PluginConformance,
    SourceConformance,
    StatefulModelConformance,
    StoreConformance,
    TransformConformance,
)


class TestRNN(StatefulModelConformance):
    spec = RNN(hidden_size=5, num_layers=2, residual=True, normalization="layernorm")
    causal = True


class TestGRU(StatefulModelConformance):
    spec = GRU(
        hidden_size=5, num_layers=2, input_dropout=0.1, hidden_dropout=0.1, weight_dropout=0.1
    )
    causal = True


class TestLSTM(StatefulModelConformance):
    spec = LSTM(hidden_size=5, linear_layers=1, scalar_inputs=True)
    causal = True
    reads = ("u", "u_scalar")


class TestGRUOfScalars(ModelConformance):
    spec = GRU(hidden_size=5, output="last")
    causal = True
    target = "y_scalar"


class TestLinear(StatefulModelConformance):
    spec = Linear(order=3)
    causal = True


class TestARX(StatefulModelConformance):
    spec = ARX(order=2, direct=False)
    causal = True


class TestMSE(LossConformance):
    loss = mse


class TestMAE(LossConformance):
    loss = mae


class TestNormalizedMSE(LossConformance):
    loss = normalized_mse


class TestNormalizedMAE(LossConformance):
    loss = normalized_mae


class TestComposedLoss(LossConformance):
    loss = compose_losses((mse, 0.5), (mae, 2.0))


class TestNormalizedHuber(LossConformance):
    loss = normalized_huber(delta=0.5)


class TestNormalizedLogCosh(LossConformance):
    loss = normalized_log_cosh


class TestSkipN(LossConformance):
    loss = skip_n(normalized_mse, 5)


class TestCutLoss(LossConformance):
    loss = cut_loss(normalized_mae, left=2, right=3)


class TestMaskedLoss(LossConformance):
    loss = masked_loss(normalized_mse, [True, False, True])


class TestWeightedLoss(LossConformance):
    loss = weighted_loss(normalized_mae, lambda batch: abs(batch["u"][..., 0]))


class TestTimeWeighted(LossConformance):
    loss = time_weighted(normalized_mse)


class TestRandomLength(LossConformance):
    loss = random_length(normalized_mse, shortest=3, longest=20)


class TestHardest(LossConformance):
    loss = hardest(normalized_mse, share=0.5)


class TestIgnoreNaN(LossConformance):
    loss = ignore_nan(normalized_mae)


class TestNestedLosses(LossConformance):
    loss = hardest(time_weighted(skip_n(masked_loss(rmse, [True, False, True]), 5)))


class WithHidden:
    """Intermediate values (batch, time, hidden_size), and a term that does not see the target."""

    aux = {"hidden": jnp.sin(jnp.arange(3.0 * 24 * 2)).reshape(3, 24, 2)}
    minimum = None


class TestActivationRegularizer(WithHidden, LossConformance):
    loss = activation_regularizer()


class TestTemporalActivationRegularizer(WithHidden, LossConformance):
    loss = temporal_activation_regularizer()


class TestMSEMetric(MetricConformance):
    metric = mse
    best = 0.0


class TestMAEMetric(MetricConformance):
    metric = mae
    best = 0.0


class TestRMSE(MetricConformance):
    metric = rmse
    best = 0.0


class TestNRMSE(MetricConformance):
    metric = nrmse
    best = 0.0


class TestFitPercent(MetricConformance):
    metric = fit_percent
    best = 100.0
    higher_is_better = True


class TestVAF(MetricConformance):
    metric = vaf
    best = 100.0
    higher_is_better = True


class TestNoise(TransformConformance):
    transform = add_noise(std=[0.1, 0.2, 0.3], mean=1.0)


class TestVaryingNoise(TransformConformance):
    transform = add_varying_noise()


class TestGroupedNoise(TransformConformance):
    transform = add_grouped_noise([0.1, 0.2], [0, 1, 1])


class TestBias(TransformConformance):
    transform = add_bias(p=0.5)


class TestTruncateSchedule(TransformConformance):
    transform = truncate_schedule(10)


class TestVaryLength(TransformConformance):
    transform = vary_length(10)


class TestWithProbability(TransformConformance):
    transform = with_probability(add_noise(), 0.5)


class TestComposedTransform(TransformConformance):
    transform = compose_transforms(vary_length(10), add_noise(), also_in_evaluation(add_bias()))


class WithFiles:
    """Three files of unequal length in a directory that lives as long as the test class."""

    signals = ("a", "b", "y")

    @classmethod
    def write(cls) -> list[Path]:
        cls.directory = tempfile.TemporaryDirectory()
        rng = np.random.default_rng(0)
        paths = []
        for number, n in enumerate((90, 41, 60)):
            paths.append(Path(cls.directory.name) / f"{number}.hdf5")
            with h5py.File(paths[-1], "w") as file:
                file.attrs["dt"] = 0.5
                file.attrs["mass"] = 1.0 + number
                for name in cls.signals:
                    file[name] = rng.standard_normal(n)
        return paths

    @classmethod
    def teardown_class(cls) -> None:
        cls.directory.cleanup()


class TestHDF5Store(WithFiles, StoreConformance):
    attributes = ("mass",)

    @classmethod
    def setup_class(cls) -> None:
        cls.store = HDF5Store(cls.write())


class TestPreloadedHDF5Store(WithFiles, StoreConformance):
    attributes = ("mass",)

    @classmethod
    def setup_class(cls) -> None:
        cls.store = HDF5Store(cls.write(), preload=True)


class TestCSVStore(WithFiles, StoreConformance):
    @classmethod
    def setup_class(cls) -> None:
        cls.directory = tempfile.TemporaryDirectory()
        path = Path(cls.directory.name) / "a.csv"
        values = np.random.default_rng(0).standard_normal((50, 3))
        np.savetxt(path, values, delimiter=",", header="a,b,y", comments="")
        cls.store = CSVStore([path])


class TestResampledStore(WithFiles, StoreConformance):
    attributes = ("mass",)

    @classmethod
    def setup_class(cls) -> None:
        cls.store = ResampledStore(HDF5Store(cls.write()), target_fs=3.0)


class TestFullSequenceSource(WithFiles, SourceConformance):
    length = 3

    @classmethod
    def setup_class(cls) -> None:
        cls.source = FullSequenceSource(
            HDF5Store(cls.write()), ["a", "b"], ["y"], u_scalars=["mass"]
        )


class TestWindowedSource(WithFiles, SourceConformance):
    length = 18

    @classmethod
    def setup_class(cls) -> None:
        cls.source = WindowedSource(
            HDF5Store(cls.write()), ["a"], ["b", "y"], win_sz=20, stp_sz=8, u_scalars=["mass"]
        )


class TestWeightedSource(WithFiles, SourceConformance):
    length = 18

    @classmethod
    def setup_class(cls) -> None:
        windows = WindowedSource(
            HDF5Store(cls.write()), ["a"], ["b", "y"], win_sz=20, stp_sz=8, u_scalars=["mass"]
        )
        cls.source = weighted_source(windows, np.arange(18))


class TestPlugin(PluginConformance):
    namespace = "core"
    offers = {
        "model": {"rnn", "gru", "lstm", "arx", "linear"},
        "loss": {
            "activation_regularizer",
            "cut_loss",
            "hardest",
            "ignore_nan",
            "mae",
            "masked",
            "mse",
            "normalized_huber",
            "normalized_log_cosh",
            "normalized_mae",
            "normalized_mse",
            "random_length",
            "skip_n",
            "temporal_activation_regularizer",
            "time_weighted",
        },
        "transform": {
            "noise",
            "varying_noise",
            "grouped_noise",
            "bias",
            "truncate_schedule",
            "vary_length",
            "with_probability",
        },
        "metric": {"mse", "mae", "rmse", "nrmse", "fit_percent", "vaf"},
        "source": {"windowed", "full_sequence", "weighted"},
        "store": {"hdf5", "csv", "resampled"},
        "plot": {"batch", "results", "history"},
    }
    not_imported = ("grain", "matplotlib", "orbax", "ray", "typer")
