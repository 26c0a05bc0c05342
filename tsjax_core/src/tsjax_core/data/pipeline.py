"""A data set made ready for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.data import arguments
from tsjax_core.data.balancing import balancing_weights
from tsjax_core.data.batches import GrainPipeline
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.sources import FullSequenceSource, WindowedSource
from tsjax_core.data.stats import ChannelStats, require_finite, scan_scalars, scan_signals
from tsjax_core.data.store import (
    SPLITS,
    Split,
    check_split_files,
    find_split_files,
    open_store,
)
from tsjax_core.data.weighting import weighted_source
from tsjax_core.protocols import SignalStore
from tsjax_core.types import NormStats, Signals

__all__ = ["GrainPipeline", "create_grain_dls"]

_RESIDENT_BYTES = 2**30


def create_grain_dls(
    u: Sequence[str],
    y: Sequence[str],
    dataset: str | Path | Mapping[str, Sequence[str | Path]],
    *,
    win_sz: int = 200,
    stp_sz: int = 1,
    valid_stp_sz: int | None = None,
    bs: int = 16,
    seed: int = 0,
    u_scalars: Sequence[str] = (),
    y_scalars: Sequence[str] = (),
    valid: Literal["windows", "files"] = "files",
    target_fs: float | None = None,
    resample: Literal["antialias", "linear"] = "antialias",
    dt: float | None = None,
    preload: bool = False,
    allow_nan: bool = False,
    resident: bool | None = None,
    delimiter: str = ",",
    time: str | None = None,
    n_batches: int | None = None,
    balance: str | None = None,
) -> GrainPipeline:
    """Return the pipeline of a data set of HDF5 or CSV files.

    All files are read once: their samples must be finite, and no channel of the training files
    may be constant. Means and standard deviations come from the training files alone.

    Args:
        u: Input channels. A channel is the path of a data set in an HDF5 file, `name:column` for
            a column of a 2-D one, or the name of a CSV column.
        y: Output channels; none of them is an input too.
        dataset: Directory with train/, valid/ and test/, or a list of files for each of these.
        win_sz: Samples in a window, two to four times what the system remembers, or more.
        stp_sz: Samples from the beginning of a training window to that of the next.
        valid_stp_sz: The same for validation windows; win_sz if not given.
        bs: Windows in a batch.
        seed: Decides the order of the windows in each epoch, 0 or more.
        u_scalars: Scalar inputs, attributes of HDF5 files with one value per file.
        y_scalars: Scalar targets, likewise.
        valid: Whether validation reads windows or whole files. Testing reads whole files, and so
            should what decides which model is the best.
        target_fs: Sampling rate in Hz to which all files are brought.
        resample: How that is done: antialias (zero-phase low-pass filter) or linear.
        dt: Sampling time in seconds of files that do not tell it.
        preload: Keep HDF5 signals in memory once they are read.
        allow_nan: Accept samples that are NaN or infinite, and leave them out of the statistics.
            Losses and metrics of core leave out targets that are NaN, each channel by itself; NaN
            in inputs reaches the model.
        resident: Keep the training signals on the device; if not given, where they take less
            than 1 GiB.
        delimiter: Character between the cells of CSV files.
        time: CSV column of time in seconds, which gives the sampling time.
        n_batches: Batches in an epoch of training: exactly so many, for which windows come again
            if they must. If not given, every window comes once.
        balance: Draw training windows with replacement, so that what it names gets equal shares
            of an epoch: "files", or a file attribute, each value of which is a category.

    Raises:
        ConfigError: An argument has a wrong value; `key` is its name.
        DataError: The files do not hold what is asked of them; which of its kinds says why.
    """
    names = {
        key: arguments.check_names(key, value)
        for key, value in (("u", u), ("y", y), ("u_scalars", u_scalars), ("y_scalars", y_scalars))
    }
    arguments.check_inputs_and_outputs(names)
    win_sz = whole_number("win_sz", win_sz, "samples", least=1)
    stp_sz = whole_number("stp_sz", stp_sz, "samples", least=1)
    valid_stp_sz = whole_number(
        "valid_stp_sz", win_sz if valid_stp_sz is None else valid_stp_sz, "samples", least=1
    )
    bs = whole_number("bs", bs, "windows", least=1)
    seed = whole_number("seed", seed)
    choice("valid", valid, ("windows", "files"))
    choice("resample", resample, ("antialias", "linear"))
    target_fs = None if target_fs is None else positive("target_fs", target_fs)
    dt = None if dt is None else positive("dt", dt)
    if n_batches is not None:
        n_batches = whole_number("n_batches", n_batches, "batches", least=1)

    if isinstance(dataset, Mapping):
        files = check_split_files(dataset)
    else:
        files = find_split_files(dataset)
    arguments.warn_of_overlap(files)
    stores: dict[Split, SignalStore] = {}
    for split in SPLITS:
        store = open_store(files[split], preload=preload, delimiter=delimiter, time=time)
        stores[split] = (
            store
            if target_fs is None
            else ResampledStore(store, target_fs=target_fs, method=resample, dt=dt)
        )

    def windows(split: Split, step: int) -> WindowedSource:
        return WindowedSource(stores[split], win_sz=win_sz, stp_sz=step, **names)

    train = windows("train", stp_sz)
    drawn = train if balance is None else weighted_source(train, balancing_weights(train, balance))
    test = FullSequenceSource(stores["test"], **names)
    valid_source: WindowedSource | FullSequenceSource
    if valid == "windows":
        valid_source = windows("valid", valid_stp_sz)
        valid_files = valid_source.records
    else:
        valid_source = valid_files = FullSequenceSource(stores["valid"], **names)
    records: dict[Split, FullSequenceSource] = {
        "train": train.records,
        "valid": valid_files,
        "test": test,
    }
    dt = 1 / target_fs if target_fs else arguments.common_dt(list(stores.values()), dt)
    signals = Signals(
        names["u"],
        names["y"],
        _checked_stats(records, allow_nan=allow_nan),
        dt,
        names["u_scalars"],
        names["y_scalars"],
    )
    if resident is None:
        resident = train.resident_bytes < _RESIDENT_BYTES
    return GrainPipeline(drawn, valid_source, test, signals, records, bs, seed, resident, n_batches)


def _checked_stats(
    records: Mapping[Split, FullSequenceSource], *, allow_nan: bool
) -> dict[str, NormStats]:
    """Return the statistics of the training split by batch key, after the checks of all splits."""
    scans = {split: _scan(source) for split, source in records.items()}
    if not allow_nan:
        require_finite(scan for by_key in scans.values() for scan in by_key.values())
    for scan in scans["train"].values():
        scan.require_varying("train")
    names = records["train"].names
    return {key: scan.norm_stats(names[key]) for key, scan in scans["train"].items()}


def _scan(records: FullSequenceSource) -> dict[str, ChannelStats]:
    """Return the statistics by batch key, after reading all sequences once and together."""
    sequences: list[str] = [key for key in ("u", "y") if key in records.names]
    signals = [name for key in sequences for name in records.names[key]]
    together = scan_signals(records.store, signals)
    scans: dict[str, ChannelStats] = dict.fromkeys(sequences, together)
    for key, values in records.scalars.items():
        scans[key] = scan_scalars(records.paths, records.names[key], values)
    return scans
