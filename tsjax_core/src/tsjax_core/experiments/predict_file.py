"""Simulation or prediction of a saved model on a file of measured signals."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.data.checks import listing
from tsjax_core.directories import replaced_file
from tsjax_core.errors import (
    ConfigError,
    DataError,
    MissingSignalError,
    ModelError,
    RunDirectoryError,
)
from tsjax_core.experiments.experiment import Experiment
from tsjax_core.experiments.new_files import open_as_trained
from tsjax_core.experiments.run import load_run
from tsjax_core.inference.initial_state import InitialState
from tsjax_core.inference.predict import predict
from tsjax_core.inference.saved_model import SavedModel
from tsjax_core.protocols import AheadModel, AttributeStore, SignalStore
from tsjax_core.training.compatibility import window_of
from tsjax_core.types import HostArray, Signals


@dataclass(frozen=True)
class OutputScore:
    """How well one output was simulated: RMSE in its unit, and fit in %, 100 at best."""

    rmse: float
    fit_percent: float


@dataclass(frozen=True)
class Prediction:
    """What was written: the file, the names of its columns, its samples, and scores by output.

    Scores are those of the samples that were measured, without the first `n_skip` of the training.
    """

    path: Path
    columns: tuple[str, ...]
    samples: int
    scores: Mapping[str, OutputScore] = field(default_factory=dict)


def predict_file(
    run: Path, data: Path, out: Path | None = None, *, horizon: int | None = None
) -> Prediction:
    """Write time, inputs, measured and simulated outputs for the file `data` to the new file `out`.

    A simulated output has the name of the output with `_simulated` behind it, or `_predicted` with
    a `horizon`. Both files are HDF5 or CSV by their endings; `out` is `<data>_predicted` in the
    current directory unless given. `data` is read as the run read its own files: with their
    delimiter and column of time, and at the sampling rate of the model where the run resampled its
    data.

    Args:
        run: A finished run.
        data: File with the inputs, and with measured outputs or without.
        out: New file.
        horizon: Steps between the last measured output that is used and the output that is
            predicted from it; without it, outputs are simulated from the inputs.

    Raises:
        RunDirectoryError: `run` holds no finished run, or `out` exists.
        ConfigError: `out` is neither HDF5 nor CSV, or `horizon` is no whole number above 0.
        DataError: `data` lacks a signal, has another sampling time than the model, or no sample.
        ModelError: Samples are not finite, or the model does not predict from measured outputs.
    """
    out = Path(f"{data.stem}_predicted{data.suffix}") if out is None else out
    if out.exists():
        raise RunDirectoryError(
            f"{out} exists; nothing was written. Choose another file with --out.", path=out
        )
    if out.suffix.lower() not in (".csv", ".hdf5", ".h5", ".hdf"):
        raise ConfigError(
            f"{out}: write to a file that ends in .csv, .hdf5, .h5 or .hdf.", key="out"
        )
    experiment, saved = load_run(run)
    signals = saved.signals
    store = open_as_trained(experiment, [data], signals.dt, allow_empty=True)
    if len(store.paths) > 1:
        raise DataError(
            f"{data}: holds {len(store.paths)} records ({listing(store.paths, shown=3)}), between "
            "which the state is not known; give each in a file of its own.",
            path=data,
        )
    data = store.paths[0]
    measured = _read_measured(store, data, signals)
    inputs = [
        x
        for key in saved.spec.reads
        if (x := _read_input(key, store, data, saved, measured)) is not None
    ]
    if not len(inputs[0]):
        raise DataError(f"{data}: there is no sample to simulate.", path=data)
    if horizon is None:
        y = _simulate(saved, experiment, data, inputs, measured)
    else:
        y = _predict_ahead(saved, data, inputs, measured, horizon)
    if signals.target != "y":
        columns = dict(zip(signals.names[signals.target], y[:, None], strict=True))
        _write(out, columns, signals.dt)
        return Prediction(out, tuple(columns), 1)
    ending = "simulated" if horizon is None else "predicted"
    columns = {}
    if signals.dt is not None and "time" not in (*signals.inputs, *signals.outputs):
        columns["time"] = np.arange(len(y)) * signals.dt
    # What was taken off is there again, in double precision.
    level = experiment.data.get("offsets") or {}
    u = store.read_signals(data, signals.inputs)
    for name, values in zip(signals.inputs, u.T, strict=True):
        columns[name] = values + np.float64(level[name]) if name in level else values
    for what, values in (("", measured), (f"_{ending}", y)):
        for at, name in enumerate(signals.outputs if values is not None else ()):
            assert values is not None
            column = values[:, at]
            columns[name + what] = column + np.float64(level[name]) if name in level else column
    _write(out, columns, signals.dt)
    skipped = max(experiment.train.n_skip or 0, window_of(saved.spec))
    scores = {} if measured is None else _score(signals, y[skipped:], measured[skipped:])
    return Prediction(out, tuple(columns), len(y), scores)


def _read_measured(store: SignalStore, data: Path, signals: Signals) -> HostArray | None:
    """Return the measured outputs (time, n_y), NaN where they are missing; None without them."""
    if signals.target != "y":
        return None
    try:
        found = store.read_signals(data, signals.outputs)
    except MissingSignalError:
        return None
    return found if np.isfinite(found).any() else None


def _read_input(
    key: str, store: SignalStore, data: Path, saved: SavedModel, measured: HostArray | None
) -> HostArray | None:
    """Return what the model reads under a batch key."""
    signals = saved.signals
    if key.endswith("_scalar"):
        if not isinstance(store, AttributeStore):
            raise ConfigError(
                f"the model reads the scalars {', '.join(signals.names[key])}, and {data} has no "
                "attributes. Give an HDF5 file.",
                key="data",
            )
        return store.read_attributes(data, signals.names[key])
    if key == "y":
        return _require(measured, saved, data, window_of(saved.spec))
    return store.read_signals(data, signals.names[key])


def _require(measured: HostArray | None, saved: SavedModel, data: Path, samples: int) -> HostArray:
    if measured is None:
        raise DataError(
            f"{data} has no measured outputs ({', '.join(saved.signals.outputs)}), and the model "
            f"reads those of the first {samples} samples; cells after these may be empty.",
            path=data,
        )
    return measured


def _simulate(
    saved: SavedModel,
    experiment: Experiment,
    data: Path,
    inputs: list[HostArray],
    measured: HostArray | None,
) -> HostArray:
    initial = InitialState(experiment.train.initial_state, experiment.train.init_samples)
    if initial.needs_outputs:
        measured = _require(measured, saved, data, initial.samples)
    return predict(
        saved.model,
        *inputs,
        initial_state=initial.policy,
        init_samples=initial.samples,
        y=measured,
    )


def _predict_ahead(
    saved: SavedModel,
    data: Path,
    inputs: list[HostArray],
    measured: HostArray | None,
    horizon: int,
) -> HostArray:
    steps = whole_number("horizon", horizon, "samples", least=1)
    model: Any = saved.model
    if not isinstance(model, AheadModel):
        raise ModelError(
            f"{saved.name} does not predict from measured outputs; it simulates from inputs alone. "
            "Leave --horizon out, or train a model that predicts ahead, such as ar/ar."
        )
    if measured is None:
        raise DataError(
            f"{data} has no measured outputs ({', '.join(saved.signals.outputs)}), from which "
            "--horizon predicts.",
            path=data,
        )
    read = dict(zip(saved.spec.reads, inputs, strict=True))
    further = [x for key, x in read.items() if key not in ("u", "y")]
    batch = [jnp.asarray(x, jnp.float32)[None] for x in (read["u"], measured, *further)]
    ahead: HostArray = np.asarray(model.predict_ahead(*batch, steps=steps))[0]
    return ahead


def _score(signals: Signals, y: HostArray, measured: HostArray) -> dict[str, OutputScore]:
    """Return the scores of the outputs that have two measured samples or more."""
    scores = {}
    for at, name in enumerate(signals.outputs):
        known = np.isfinite(measured[:, at])
        if known.sum() < 2:
            continue
        target = measured[known, at].astype(np.float64)
        error = float(np.sqrt(np.mean(np.square(y[known, at] - target))))
        spread = float(target.std())
        fit = 100.0 * (1.0 - error / spread) if spread > 0.0 else float("nan")
        scores[name] = OutputScore(error, fit)
    return scores


def _write(path: Path, columns: Mapping[str, HostArray], dt: float | None) -> None:
    """Write columns of one length to a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as fresh:
        if path.suffix.lower() == ".csv":
            with fresh.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                # Each number is written so that it is read as the same one.
                digits = [9 if values.dtype == np.float32 else 15 for values in columns.values()]
                rows = zip(*(values.tolist() for values in columns.values()), strict=True)
                # A missing sample is an empty cell.
                writer.writerows(
                    [
                        "" if math.isnan(value) else f"{value:.{places}g}"
                        for value, places in zip(row, digits, strict=True)
                    ]
                    for row in rows
                )
            return
        import h5py

        with h5py.File(fresh, "w") as file:
            if dt is not None:
                file.attrs["dt"] = dt
            for name, values in columns.items():
                # A colon asks for a column of a 2-D data set when the file is read again.
                file.create_dataset(name.replace(":", "_"), data=np.ascontiguousarray(values))
