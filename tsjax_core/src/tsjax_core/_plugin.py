"""Core's own components, registered as any plugin's are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type]:
    from tsjax_core.models.linear import ARX, Linear
    from tsjax_core.models.recurrent import GRU, LSTM, RNN

    return {"rnn": RNN, "gru": GRU, "lstm": LSTM, "arx": ARX, "linear": Linear}


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core.losses import (
        channels,
        missing,
        regression,
        regularizers,
        robust,
        selection,
        weights,
        window,
    )

    plain = ("normalized_mse", "normalized_mae", "mse", "mae")
    return {
        **{name: getattr(regression, name) for name in plain},
        "normalized_huber": robust.normalized_huber,
        "normalized_log_cosh": robust.normalized_log_cosh,
        "skip_n": window.skip_n,
        "cut_loss": window.cut_loss,
        "masked": channels.masked_loss,
        "time_weighted": weights.time_weighted,
        "random_length": selection.random_length,
        "hardest": selection.hardest,
        "ignore_nan": missing.ignore_nan,
        "activation_regularizer": regularizers.activation_regularizer,
        "temporal_activation_regularizer": regularizers.temporal_activation_regularizer,
    }


@hookimpl
def tsjax_metrics() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core.losses import regression

    names = ("mse", "mae", "rmse", "nrmse", "fit_percent", "vaf")
    return {name: getattr(regression, name) for name in names}


@hookimpl
def tsjax_transforms() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core.transforms import noise, probability, truncate

    return {
        "noise": noise.add_noise,
        "varying_noise": noise.add_varying_noise,
        "grouped_noise": noise.add_grouped_noise,
        "bias": noise.add_bias,
        "truncate_schedule": truncate.truncate_schedule,
        "vary_length": truncate.vary_length,
        "with_probability": probability.with_probability,
    }


@hookimpl
def tsjax_sources() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core.data.sources import FullSequenceSource, WindowedSource
    from tsjax_core.data.weighting import weighted_source

    return {
        "windowed": WindowedSource,
        "full_sequence": FullSequenceSource,
        "weighted": weighted_source,
    }


@hookimpl
def tsjax_stores() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core.data.csv import CSVStore
    from tsjax_core.data.hdf5 import HDF5Store
    from tsjax_core.data.resample import ResampledStore

    return {"hdf5": HDF5Store, "csv": CSVStore, "resampled": ResampledStore}


@hookimpl
def tsjax_plots() -> Mapping[str, Callable[..., Any]]:
    from tsjax_core import viz
    from tsjax_core.judging import figures

    return {"batch": viz.plot_batch, "results": figures.plot_results, "history": viz.plot_history}
