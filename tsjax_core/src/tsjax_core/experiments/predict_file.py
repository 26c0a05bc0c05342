"""Simulation of a saved model on a file of inputs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsjax_core.errors import ConfigError, DataError, RunDirectoryError
from tsjax_core.experiments.experiment import Experiment
from tsjax_core.experiments.new_files import open_as_trained
from tsjax_core.experiments.run import load_run
from tsjax_core.inference.initial_state import InitialState
from tsjax_core.inference.predict import predict
from tsjax_core.protocols import AttributeStore
from tsjax_core.training.compatibility import window_of
from tsjax_core.types import HostArray, Signals


@dataclass(frozen=True)
class Prediction:
    """What was written: the file, the names of the outputs in it, and its samples."""

    path: Path
    outputs: tuple[str, ...]
    samples: int


def predict_file(run: Path, data: Path, out: Path | None = None) -> Prediction:
    """Write the outputs of the model in `run` for the inputs in `data` to the new file `out`.

    Both are HDF5 or CSV by their endings; `out` is `<data>_predicted` in the current directory
    unless given. `data` is read as the run read its own files: with their delimiter and column of
    time, and at the sampling rate of the model where the run resampled its data.

    Raises:
        RunDirectoryError: `run` holds no finished run, or `out` exists.
        ConfigError: `out` is neither HDF5 nor CSV.
        DataError: `data` lacks an input, has another sampling time than the model, or no sample.
        ModelError: Samples are not finite.
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
    store = open_as_trained(experiment, [data], signals.dt)
    inputs: list[HostArray] = []
    initial = InitialState(experiment.train.initial_state, experiment.train.init_samples)
    window = max(window_of(saved.spec), initial.samples if initial.needs_outputs else 0)
    measured = None
    if window:
        measured = _read_outputs(experiment, data, signals, window)
    for key in saved.spec.reads:
        if key.endswith("_scalar"):
            if not isinstance(store, AttributeStore):
                raise ConfigError(
                    f"the model in {run} reads the scalars {', '.join(signals.names[key])}, and "
                    f"{data} has no attributes. Give an HDF5 file.",
                    key="data",
                )
            inputs.append(store.read_attributes(data, signals.names[key]))
        elif key == "y" and measured is not None and window_of(saved.spec):
            inputs.append(measured)
        else:
            inputs.append(store.read_signals(data, signals.names[key]))
    if not len(inputs[0]):
        raise DataError(f"{data}: there is no sample to simulate.", path=data)
    y = predict(
        saved.model,
        *inputs,
        initial_state=initial.policy,
        init_samples=initial.samples,
        y=measured,
    )
    names = signals.names[signals.target]
    rows = y if y.ndim == 2 else y[None]
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, names, rows, signals.dt)
    return Prediction(out, names, len(rows))


def _read_outputs(experiment: Experiment, data: Path, signals: Signals, window: int) -> HostArray:
    """Return the measured outputs; those beyond the first `window` samples may be missing."""
    outputs = signals.outputs
    try:
        store = open_as_trained(experiment, [data], signals.dt, allow_empty=True)
        return store.read_signals(data, outputs)
    except DataError as error:
        raise DataError(
            f"{error} The model reads the measured outputs ({', '.join(outputs)}) of the first "
            f"{window} samples; cells after these may be empty.",
            path=data,
        ) from error


def _write(path: Path, names: tuple[str, ...], rows: HostArray, dt: float | None) -> None:
    if path.suffix.lower() == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            writer.writerows([f"{value:.9g}" for value in row] for row in rows.tolist())
        return
    import h5py

    with h5py.File(path, "w") as file:
        if dt is not None:
            file.attrs["dt"] = dt
        for channel, name in enumerate(names):
            # A colon asks for a column of a 2-D data set when the file is read again.
            file.create_dataset(name.replace(":", "_"), data=np.ascontiguousarray(rows[:, channel]))
