"""Simulation of a saved model on a file of inputs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsjax_core.data.hdf5_layout import DT_TOLERANCE
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.store import open_store
from tsjax_core.errors import ConfigError, DataError, RunDirectoryError
from tsjax_core.experiments.experiment import Experiment
from tsjax_core.experiments.run import load_run
from tsjax_core.inference.predict import predict
from tsjax_core.protocols import AttributeStore, SampledStore, SignalStore
from tsjax_core.types import HostArray


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
    store = _open(experiment, data, signals.dt)
    inputs: list[HostArray] = []
    for key in saved.spec.reads:
        if key.endswith("_scalar"):
            if not isinstance(store, AttributeStore):
                raise ConfigError(
                    f"the model in {run} reads the scalars {', '.join(signals.names[key])}, and "
                    f"{data} has no attributes. Give an HDF5 file.",
                    key="data",
                )
            inputs.append(store.read_attributes(data, signals.names[key]))
        else:
            inputs.append(store.read_signals(data, signals.names[key]))
    if not len(inputs[0]):
        raise DataError(f"{data}: there is no sample to simulate.", path=data)
    y = predict(saved.model, *inputs)
    names = signals.names[signals.target]
    rows = y if y.ndim == 2 else y[None]
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, names, rows, signals.dt)
    return Prediction(out, names, len(rows))


def _open(experiment: Experiment, data: Path, dt: float | None) -> SignalStore:
    """Return the store of `data`, read as the experiment reads its files."""
    options = experiment.data
    kept = {name: options[name] for name in ("delimiter", "time") if name in options}
    if data.suffix.lower() != ".csv":
        kept.pop("time", None)
    store: SignalStore = open_store([data], **kept)
    if options.get("target_fs") is not None:
        return ResampledStore(
            store,
            target_fs=options["target_fs"],
            method=options.get("resample", "antialias"),
            dt=options.get("dt"),
        )
    found = store.get_dt(data) if isinstance(store, SampledStore) else None
    if dt is not None and found is not None and abs(found / dt - 1.0) > DT_TOLERANCE:
        raise DataError(
            f"{data}: the sampling time is {found:.9g} s, and the model's is {dt:.9g} s. Resample "
            "the file, or train with target_fs, which resamples every file.",
            path=data,
        )
    return store


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
