"""A data set made ready for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tsjax_core.checks import choice, positive, whole_number
from tsjax_core.data import arguments
from tsjax_core.data.balancing import balancing_weights
from tsjax_core.data.batches import GrainPipeline
from tsjax_core.data.csv_dialect import DECIMALS
from tsjax_core.data.offsets import check_offsets, warn_of_levels
from tsjax_core.data.opening import divide, make_source, open_divided, open_splits
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.sources import FullSequenceSource, WindowedSource
from tsjax_core.data.stats import (
    ChannelStats,
    blame_samples,
    require_finite,
    require_measured,
    scan_scalars,
    scan_signals,
)
from tsjax_core.data.store import Split
from tsjax_core.data.weighting import weighted_source
from tsjax_core.protocols import ResidentSource, SignalStore, Source
from tsjax_core.types import NormStats, Signals

__all__ = ["GrainPipeline", "create_grain_dls"]

_RESIDENT_BYTES = 2**30


def create_grain_dls(
    u: Sequence[str],
    y: Sequence[str],
    dataset: str | Path | Sequence[Any] | Mapping[str, Any],
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
    delimiter: str | None = None,
    decimal: Literal[".", ","] | None = None,
    skip_rows: int | None = None,
    time: str | None = None,
    time_unit: str | None = None,
    gaps: Literal["refuse", "split"] = "refuse",
    groups: str | None = None,
    offsets: Mapping[str, float] | None = None,
    n_batches: int | None = None,
    balance: str | None = None,
    further: Mapping[str, Sequence[str]] | None = None,
    store: str | Mapping[str, Any] | Callable[..., SignalStore] | None = None,
    source: str | Mapping[str, Any] | Callable[..., Source] | None = None,
    split: Sequence[float] | None = None,
    split_by: Literal["time", "files"] | None = None,
) -> GrainPipeline:
    """Return the pipeline of a data set: HDF5, CSV or MATLAB files, or arrays in memory.

    All files are read once: their samples must be finite, and no channel of the training files
    may be constant. Means and standard deviations come from the training files alone.

    Args:
        u: Input channels. A channel is the path of a data set in an HDF5 file, `name:column` for
            a column of a 2-D one, or the name of a CSV column.
        y: Output channels; none of them is an input too.
        dataset: Directory with train/, valid/ and test/, or a list of files for each of these, or a
            list of records: mappings from names to arrays, or data frames. Without these splits, a
            file, a directory or list of files, a record, or a list of records, which `split` cuts.
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
        dt: Sampling time in seconds of files that do not state it.
        preload: Keep HDF5 signals in memory once they are read.
        allow_nan: Accept samples that are NaN or infinite, and empty cells of CSV files, which
            count as NaN, and leave them out of the statistics.
            Losses and metrics of core leave out targets that are NaN, each channel by itself; NaN
            in inputs reaches the model.
        resident: Keep the training signals on the device; if not given, where they take less
            than 1 GiB.
        delimiter: Character between the cells of CSV files, a space for any run of blanks; noticed
            if not given, as the encoding is.
        decimal: Decimal sign of CSV files, a point or a comma; noticed if not given.
        skip_rows: Lines of CSV files above the names of the columns; noticed if not given.
        time: Column or data set of times, which gives the sampling time: numbers, or in CSV files
            dates and times of day. If not given, one that is called like a time and is even; an
            empty text for none.
        time_unit: Its unit: s, ms, us, ns, min, h or d. If not given, the one at the end of its
            name, such as "t [ms]" or "time_us", or what the file says. Without any, numbers that
            are dates counted from 1970 are taken as such, and others are seconds.
        gaps: What is done with gaps between times: refuse the file, or split it into a record for
            each stretch.
        groups: Groups of HDF5 files that are records of their own: a name in which * stands for
            any text, such as "exp*".
        offsets: Numbers that are taken off signals, by name, in the precision of the file, for
            signals whose changes are small beside their level.
        n_batches: Batches in an epoch of training: exactly so many, for which windows come again
            if they must. If not given, every window comes once.
        balance: Draw training windows with replacement, so that what it names gets equal shares
            of an epoch: "files", or a file attribute, each value of which is a category.
        further: Further signals by the batch key under which losses and transforms see them. They
            are not scaled and may hold NaN.
        store: Another store than that of the files' format, by name or as a table of its name and
            options. It is given what it declares of paths, store (that of the format), preload,
            delimiter, decimal, skip_rows, time, time_unit, gaps, offsets, target_fs and dt.
        source: Another source of training windows, by name or as a table of its name and options.
            It is given what it declares of store, records, u, y, win_sz, stp_sz, bs and seed.
        split: Shares of training, validation and test of a `dataset` without splits of its own,
            [0.7, 0.15, 0.15] if not given.
        split_by: time: each file is cut into three stretches in this order, and no window reaches
            from one into the next; the default. files: whole files, in their order.

    Raises:
        ConfigError: An argument has a wrong value; `key` is its name.
        DataError: The files do not hold what is asked of them; which of its kinds says why.
    """
    names: dict[str, Any] = {
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
    choice("gaps", gaps, ("refuse", "split"))
    if decimal is not None:
        choice("decimal", decimal, DECIMALS)
    target_fs = None if target_fs is None else positive("target_fs", target_fs)
    dt = None if dt is None else positive("dt", dt)
    if n_batches is not None:
        n_batches = whole_number("n_batches", n_batches, "batches", least=1)

    further_names = arguments.check_further(further)
    sampled = [*names["u"], *names["y"], *(n for group in further_names.values() for n in group)]
    options: dict[str, Any] = {
        "store": store,
        "preload": preload,
        "delimiter": delimiter,
        "decimal": decimal,
        "skip_rows": skip_rows,
        "time": time,
        "time_unit": time_unit,
        "gaps": gaps,
        "groups": groups,
        "offsets": check_offsets(offsets) or None,
        "target_fs": target_fs,
        "resample": resample,
        "dt": dt,
        "allow_empty": allow_nan,
    }
    division = divide(dataset, split, split_by)
    if division is None:
        stores = open_splits(dataset, **options)
    else:
        stores = open_divided(dataset, division, sampled, **options)
    arguments.warn_of_overlap({part: store.paths for part, store in stores.items()})
    arguments.check_offset_names(offsets, sampled)
    arguments.check_same_numbers(stores, names["u"], names["y"])
    names = {**names, "further": further_names}

    def windows(split: Split, step: int) -> WindowedSource:
        return WindowedSource(stores[split], win_sz=win_sz, stp_sz=step, **names)

    drawn: Any
    if source is None:
        drawn = windows("train", stp_sz)
        train = drawn.records
    else:
        # A source of its own may take files that are shorter than a window.
        train = FullSequenceSource(stores["train"], **names)
        facts = {
            "store": stores["train"],
            "records": train,
            "u": names["u"],
            "y": names["y"],
            "win_sz": win_sz,
            "stp_sz": stp_sz,
            "bs": bs,
            "seed": seed,
        }
        drawn = make_source(source, facts)
    if balance is not None:
        drawn = weighted_source(drawn, balancing_weights(drawn, balance))
    test = FullSequenceSource(stores["test"], **names)
    valid_source: WindowedSource | FullSequenceSource
    if valid == "windows":
        valid_source = windows("valid", valid_stp_sz)
        valid_files = valid_source.records
    else:
        valid_source = valid_files = FullSequenceSource(stores["valid"], **names)
    records: dict[Split, FullSequenceSource] = {
        "train": train,
        "valid": valid_files,
        "test": test,
    }
    arguments.check_lengths(records)
    dt = 1 / target_fs if target_fs else arguments.common_dt(list(stores.values()), dt)
    scans = {split: _scan(source) for split, source in records.items()}
    signals = Signals(
        names["u"],
        names["y"],
        _stats_of(records["train"], scans, allow_nan=allow_nan),
        dt,
        names["u_scalars"],
        names["y_scalars"],
        further_names,
        arguments.find_units(stores["train"], sampled),
    )
    arguments.warn_of_copies(scans)
    warn_of_levels(signals)
    require_measured(scans, names["y"])
    checksums = {split: _checksum(by_key) for split, by_key in scans.items()}
    if resident is None:
        resident = isinstance(drawn, ResidentSource) and drawn.resident_bytes < _RESIDENT_BYTES
    return GrainPipeline(
        drawn,
        valid_source,
        test,
        signals,
        records,
        bs,
        seed,
        resident,
        n_batches,
        checksums=checksums,
        division=division,
        missing=_count_missing(stores, scans),
        blamed=blame_samples(scans, names["u"]),
    )


def _stats_of(
    train: FullSequenceSource, scans: Mapping[Split, Mapping[str, ChannelStats]], *, allow_nan: bool
) -> dict[str, NormStats]:
    """Return the statistics of the training split by batch key, after the checks of all splits."""
    if not allow_nan:
        require_finite(scan for by_key in scans.values() for scan in by_key.values())
    for scan in scans["train"].values():
        scan.require_varying("train")
    return {key: scan.norm_stats(train.names[key]) for key, scan in scans["train"].items()}


def _count_missing(
    stores: Mapping[Split, SignalStore], scans: Mapping[Split, Mapping[str, ChannelStats]]
) -> dict[str, str]:
    """Return a text for each output with missing samples: how many are measured, and were."""
    texts = {}
    for split, store in stores.items():
        scan = scans[split].get("y")
        if scan is None:
            continue
        for path, signal in scan.nonfinite:
            kept = scan.lengths[path] - scan.nonfinite[path, signal]
            text = f"{kept} of {scan.lengths[path]} samples are measured"
            if isinstance(store, ResampledStore) and store.ratio(path) != 1:
                before, _ = store.count_targets(path, signal)
                text += f", of {before} before resampling"
            texts[f"{split}: {signal} in {path.name}"] = text
    return texts


def _checksum(scans: Mapping[str, ChannelStats]) -> int:
    """Return one checksum of what several scans read, some of which may be one and the same."""
    return sum(scan.checksum for scan in {id(scan): scan for scan in scans.values()}.values())


def _scan(records: FullSequenceSource) -> dict[str, ChannelStats]:
    """Return the statistics by batch key, after reading all sequences once and together."""
    measured = [key for key in ("u", "y") if key in records.names]
    signals = [name for key in measured for name in records.names[key]]
    others = [key for key in records.sequence_keys if key not in measured]
    further = [name for key in others for name in records.names[key] if name not in signals]
    together = scan_signals(records.store, signals, further)
    scans: dict[str, ChannelStats] = dict.fromkeys(measured, together)
    for key, values in records.scalars.items():
        scans[key] = scan_scalars(records.paths, records.names[key], values)
    return scans
