"""Simulation of a saved model on a file of inputs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsjax_core.data.store import open_store
from tsjax_core.errors import ConfigError, RunDirectoryError
from tsjax_core.inference import predict
from tsjax_core.protocols import AttributeStore
from tsjax_core.run import load_run
from tsjax_core.types import HostArray


@dataclass(frozen=True)
class Prediction:
    """What was written: the file, the names of the outputs in it, and its samples."""

    path: Path
    outputs: tuple[str, ...]
    samples: int


def predict_file(run: Path, data: Path, out: Path | None = None) -> Prediction:
    """Write the outputs of the model in `run` for the inputs in `data` to the new file `out`.

    Both are HDF5 or CSV by their endings; `out` is `<data>_predicted` beside `data` unless given.

    Raises:
        RunDirectoryError: `run` holds no finished run, or `out` exists.
        ConfigError: `out` is neither HDF5 nor CSV.
        DataError: `data` lacks an input, or its samples are not finite.
    """
    out = data.with_name(f"{data.stem}_predicted{data.suffix}") if out is None else out
    if out.exists():
        raise RunDirectoryError(
            f"{out} exists; nothing was written. Choose another file with --out.", path=out
        )
    if out.suffix not in (".csv", ".hdf5", ".h5"):
        raise ConfigError(f"{out}: write to a file that ends in .csv, .hdf5 or .h5.", key="out")
    _, saved = load_run(run)
    signals = saved.signals
    store = open_store([data])
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
    y = predict(saved.model, *inputs)
    names = signals.names[signals.target]
    rows = y if y.ndim == 2 else y[None]
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, names, rows, signals.dt)
    return Prediction(out, names, len(rows))


def _write(path: Path, names: tuple[str, ...], rows: HostArray, dt: float | None) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            writer.writerows(rows.tolist())
        return
    import h5py

    with h5py.File(path, "w") as file:
        if dt is not None:
            file.attrs["dt"] = dt
        for channel, name in enumerate(names):
            file.create_dataset(name, data=np.ascontiguousarray(rows[:, channel]))
