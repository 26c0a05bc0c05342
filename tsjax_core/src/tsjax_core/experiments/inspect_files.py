"""What measured files hold, before anything is trained: what `tsjax inspect` prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tsjax_core.data.arguments import check_names
from tsjax_core.data.csv import CSVStore
from tsjax_core.data.cutting import cut_at_gaps
from tsjax_core.data.store import find_files, open_store
from tsjax_core.data.time_axis import time_rank
from tsjax_core.errors import DataError, UnsupportedDatasetError
from tsjax_core.judging.excitation import (
    ChannelFacts,
    describe_channel,
    estimate_memory,
    measure_excitation,
    require_records,
    suggest_windows,
)
from tsjax_core.protocols import SampledStore, SignalStore, TimedStore, UnitStore
from tsjax_core.types import HostArray

_MOST_FILES = 8
_MOST_SAMPLES = 2_000_000


def inspect_files(
    files: Sequence[Path],
    console: Console,
    *,
    u: Sequence[str] = (),
    y: Sequence[str] = (),
    data: dict[str, Any] | None = None,
) -> None:
    """Print how files are written and sampled, and what their signals are good for.

    Args:
        files: HDF5, CSV or MATLAB files, or directories with such files.
        console: Where it is printed.
        u: Inputs; with outputs, what they excite and how long the memory is.
        y: Outputs.
        data: Further options of `open_store` that say how the files are read.

    Raises:
        ConfigError, DataError: The options or the files are wrong.
    """
    inputs, outputs = check_names("u", list(u)), check_names("y", list(y))
    paths = [path for each in files for path in find_files(each)]
    # All that can be said is said: gaps are counted, and empty cells are missing samples.
    options = {**(data or {}), "gaps": "split", "allow_empty": True}
    store = open_store(paths, **options)
    for path in list(store.paths)[:_MOST_FILES]:
        _print_file(store, path, console)
    if len(store.paths) > _MOST_FILES:
        console.print(f"and {len(store.paths) - _MOST_FILES} more records")
    if inputs:
        _print_excitation(cut_at_gaps(store), inputs, outputs, console)
    else:
        names = [name for name in _names(store, store.paths[0]) if not time_rank(name)]
        if len(names) > 1:
            shown = shlex.quote(str(files[0]))
            console.print(
                "Name inputs and outputs to see what they excite, and how long the memory is:\n"
                f"  tsjax inspect {shown} --u {shlex.quote(names[0])} --y {shlex.quote(names[-1])}"
            )


def _names(store: SignalStore, path: Path) -> list[str]:
    given: Any = store
    names: list[str] = given.signal_names(path)
    return names


def _print_file(store: SignalStore, path: Path, console: Console) -> None:
    names = _names(store, path)
    readable: dict[str, ChannelFacts] = {}
    texts = []
    for name in names:
        try:
            values = store.read_signals(
                path, [name], 0, min(_MOST_SAMPLES, store.get_seq_len(path, name))
            )
        except UnsupportedDatasetError:
            texts.append(name)
            continue
        readable[name] = describe_channel(values[:, 0])
    console.print(f"{path}: {_describe_sampling(store, path, list(readable))}")
    if isinstance(store, CSVStore):
        console.print(f"read as: {store.describe(path)}")
    table = Table("signal", "unit", "samples", "least", "largest", "mean", "std", "remarks")
    for column in table.columns[2:7]:
        column.justify = "right"
    for name, facts in readable.items():
        unit = store.get_unit(path, name) if isinstance(store, UnitStore) else ""
        numbers = (facts.low, facts.high, facts.mean, facts.std)
        remarks = list(facts.remarks())
        if time_rank(name.rpartition("/")[2]):
            remarks = ["called like a time"]
        table.add_row(
            name, unit, str(facts.count), *(f"{x:.5g}" for x in numbers), "; ".join(remarks)
        )
    console.print(table)
    if texts:
        console.print(f"no numbers: {', '.join(texts)}")


def _describe_sampling(store: SignalStore, path: Path, names: Sequence[str]) -> str:
    lengths = {store.get_seq_len(path, name) for name in names}
    samples = " and ".join(str(length) for length in sorted(lengths)) or "no"
    dt = store.get_dt(path) if isinstance(store, SampledStore) else None
    if dt is None:
        rate = "the sampling time is not stated"
    else:
        total = max(lengths, default=0) * dt
        rate = f"every {dt:.6g} s ({1 / dt:.6g} Hz), {total:.6g} s in all"
    gaps = len(store.get_stretches(path)) - 1 if isinstance(store, TimedStore) else 0
    cut = f", {gaps} {'gap' if gaps == 1 else 'gaps'}" if gaps > 0 else ""
    return f"{samples} samples, {rate}{cut}"


def _print_excitation(
    store: SignalStore, inputs: Sequence[str], outputs: Sequence[str], console: Console
) -> None:
    records: list[tuple[HostArray, HostArray]] = []
    for path in store.paths:
        both = store.read_signals(path, [*inputs, *outputs])
        records.append((both[:, : len(inputs)], both[:, len(inputs) :]))
    require_records(records)
    dt = store.get_dt(store.paths[0]) if isinstance(store, SampledStore) else None
    unit = "cycles per sample" if dt is None else "Hz"
    excited = measure_excitation([u for u, _ in records], dt)
    for name, (highest, band) in zip(inputs, excited, strict=True):
        facts = describe_channel(np.concatenate([u for u, _ in records])[:, inputs.index(name)])
        hardly = any("hardly" in each or each == "constant" for each in facts.remarks())
        console.print(
            f"{name} excites up to {highest:.4g} {unit}, {100 * band:.0f} % of the band."
            + (" This input was hardly moved: its influence will be found badly." * hardly)
        )
    if not outputs:
        return
    try:
        memories = estimate_memory(records)
    except DataError as error:
        console.print(f"The memory is not known: {error}")
        return
    for output, row in zip(outputs, memories, strict=True):
        for name, memory in zip(inputs, row, strict=True):
            if memory is None:
                console.print(f"{output} shows no answer to {name} that ends, by a linear model.")
                continue
            times = [
                f"{n} samples" + (f" ({n * dt:.4g} s)" if dt else "")
                for n in (memory.delay, memory.length)
            ]
            console.print(
                f"{output} answers to {name} after {times[0]}, and remembers it for {times[1]}."
            )
    if (windows := suggest_windows(memories)) is not None:
        console.print(f"Suggested: win_sz = {windows[0]}, n_skip = {windows[1]}.")
