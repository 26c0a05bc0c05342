"""From the arguments of a data set to the stores that read its splits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tsjax_core.data.arrays import ArrayStore
from tsjax_core.data.cutting import (
    DEFAULT_SHARES,
    Division,
    cut_at_gaps,
    has_splits,
    is_record,
)
from tsjax_core.data.resample import ResampledStore
from tsjax_core.data.store import (
    SPLITS,
    Split,
    check_split_files,
    check_splits,
    find_files,
    find_split_files,
    open_store,
)
from tsjax_core.errors import ConfigError
from tsjax_core.experiments.components import find_component, make_component
from tsjax_core.protocols import BatchedSource, SignalStore, Source
from tsjax_core.registry.hookspecs import Kind
from tsjax_core.signatures import name_of

Named: TypeAlias = str | Mapping[str, Any]
"""A component by its name, or by a table of its name and options."""


def open_splits(
    dataset: Any, *, store: Named | Callable[..., SignalStore] | None, **options: Any
) -> dict[Split, SignalStore]:
    """Return the store of each split of `dataset`: a directory, or files or records by split.

    `options` are those of `open_signals`.
    """
    if isinstance(dataset, Mapping) and _has_records(dataset):
        records = check_splits(dataset, of="records")
        return {split: _open_arrays(records[split], split, options) for split in SPLITS}
    endings = getattr(_factory_of("store", store)[0], "endings", None)
    files = (
        check_split_files(dataset, endings)
        if isinstance(dataset, Mapping)
        else find_split_files(dataset, endings)
    )
    return {split: open_signals(files[split], store=store, **options) for split in SPLITS}


def open_divided(
    dataset: Any,
    division: Division,
    signals: Sequence[str],
    *,
    store: Named | Callable[..., SignalStore] | None,
    **options: Any,
) -> dict[Split, SignalStore]:
    """Return the store of each split that `division` makes of a `dataset` without splits.

    `dataset` is a file, a directory of files, a list of files, a record, or a list of records, and
    `signals` are those that are read. `options` are those of `open_signals`. Files are resampled
    as a whole, before they are cut.
    """
    records = [dataset] if is_record(dataset) else dataset
    in_memory = isinstance(records, list | tuple) and any(map(is_record, records))
    if in_memory:
        every: Sequence[Any] = tuple(records)
    else:
        endings = getattr(_factory_of("store", store)[0], "endings", None)
        every = find_files(records, endings)

    def open_records(some: Sequence[Any], name: str) -> SignalStore:
        if in_memory:
            return _open_arrays(some, name, options)
        return open_signals(some, store=store, **options)

    if division.by == "time":
        return division.divide_time(open_records(every, "record"), signals)
    if options.get("groups") is not None or options.get("gaps") == "split":
        # A file may hold several records.
        return division.divide_store(open_records(every, "record"), signals)
    parts = division.divide_records(every)
    return {split: open_records(parts[split], split) for split in SPLITS}


def divide(dataset: Any, split: Any, split_by: Any) -> Division | None:
    """Return how `dataset` is to be cut, None where it has splits of its own.

    Raises ConfigError for arguments that are wrong, or that are given and have no use.
    """
    if has_splits(dataset):
        for key, given in (("split", split), ("split_by", split_by)):
            if given is not None:
                raise ConfigError(
                    f"{key} = {given!r} was given, and dataset has splits of its own "
                    f"({', '.join(SPLITS)}); leave it out.",
                    key=key,
                )
        return None
    shares = DEFAULT_SHARES if split is None else split
    return Division(shares, "time" if split_by is None else split_by)


def open_signals(
    paths: Sequence[str | Path],
    *,
    store: Named | Callable[..., SignalStore] | None = None,
    preload: bool = False,
    delimiter: str | None = None,
    decimal: Literal[".", ","] | None = None,
    skip_rows: int | None = None,
    time: str | None = None,
    time_unit: str | None = None,
    gaps: Literal["refuse", "split"] = "refuse",
    groups: str | None = None,
    offsets: Mapping[str, float] | None = None,
    target_fs: float | None = None,
    resample: Literal["antialias", "linear"] = "antialias",
    dt: float | None = None,
    allow_empty: bool = False,
) -> SignalStore:
    """Return the store that reads `paths`, at the rate `target_fs` where that is given.

    `store` names another store than that of the files' format, with its options. It is given those
    of `paths`, `store` (that of the format), `preload`, `delimiter`, `decimal`, `skip_rows`,
    `time`, `time_unit`, `gaps`, `offsets`, `allow_empty`, `target_fs` and `dt` that it declares;
    one that declares `target_fs` resamples by itself. The other options are those of `open_store`;
    records are cut at gaps before they are resampled.
    """
    options = {"target_fs": target_fs, "resample": resample, "dt": dt}
    own: dict[str, Any] = {
        "preload": preload,
        "delimiter": delimiter,
        "decimal": decimal,
        "skip_rows": skip_rows,
        "time": time,
        "time_unit": time_unit,
        "gaps": gaps,
        "offsets": offsets,
        "allow_empty": allow_empty,
    }
    # Uneven rows are brought to the rate at once, by the times that only their file knows.
    even_fs = target_fs if resample == "linear" else None

    def open_files() -> SignalStore:
        opened = open_store(paths, **own, groups=groups, even_fs=even_fs)
        return cut_at_gaps(opened) if gaps == "split" else opened

    if store is None:
        return _resample(open_files(), options)
    facts: dict[str, Any] = {
        "paths": tuple(Path(path) for path in paths),
        **own,
        "target_fs": target_fs,
        "dt": dt,
    }
    declared = inspect.signature(_factory_of("store", store)[0]).parameters
    if "store" in declared:
        facts["store"] = open_files()
    made: SignalStore = make_named("store", store, facts)
    return made if "target_fs" in declared else _resample(made, options)


def make_source(
    source: Named | Callable[..., Source], facts: Mapping[str, Any]
) -> BatchedSource | Source:
    """Return the training source that `source` names, with those of `facts` that it declares.

    Raises ConfigError with the key `source` for what is no source.
    """
    made = make_named("source", source, facts)
    if not isinstance(made, Source):
        raise ConfigError(
            f"source: {name_of(source)} made a {type(made).__name__}, which is no source: it has "
            "no length or no samples by index.",
            key="source",
        )
    return made


def make_named(kind: Kind, named: Named | Callable[..., Any], facts: Mapping[str, Any]) -> Any:
    """Return what `named` makes of its options and of those of `facts` that it declares.

    Raises ConfigError for an option that is unknown, missing, of a wrong type, or one of the facts.
    """
    factory, options = _factory_of(kind, named)
    declared = inspect.signature(factory).parameters
    given = {name: value for name, value in facts.items() if name in declared}
    if taken := sorted(given.keys() & options.keys()):
        raise ConfigError(
            f"[data.{kind}] {taken[0]}: it is given to the {kind} by [data]; leave it out here.",
            key=f"{kind}.{taken[0]}",
        )
    return make_component(factory, options, where=f"data.{kind}", file=None, facts=given)


def _factory_of(kind: Kind, named: Any) -> tuple[Any, dict[str, Any]]:
    if named is None or (callable(named) and not isinstance(named, str)):
        return named, {}
    table = {"name": named} if isinstance(named, str) else named
    return find_component(kind, table, where=f"data.{kind}", file=None)


def _open_arrays(records: Sequence[Any], name: str, options: Mapping[str, Any]) -> SignalStore:
    own = ("offsets", "time", "time_unit", "gaps")
    given = {key: options[key] for key in own if options.get(key) is not None}
    store: SignalStore = ArrayStore(records, name, **given)
    if options.get("gaps") == "split":
        store = cut_at_gaps(store)
    return _resample(store, options)


def _resample(store: SignalStore, options: Mapping[str, Any]) -> SignalStore:
    if options.get("target_fs") is None:
        return store
    return ResampledStore(
        store,
        target_fs=options["target_fs"],
        method=options.get("resample", "antialias"),
        dt=options.get("dt"),
    )


def _has_records(dataset: Mapping[str, Any]) -> bool:
    """Return whether the splits hold records in memory and not the paths of files."""
    return any(
        _is_table(value)
        or (isinstance(value, list | tuple) and any(_is_table(each) for each in value))
        for value in dataset.values()
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "columns")
