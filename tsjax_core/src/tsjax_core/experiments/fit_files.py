"""From measured files to a model that is judged, by a recipe: what `tsjax fit` does."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tsjax_core.data.csv import CSVStore
from tsjax_core.data.offsets import LevelWarning, find_levels
from tsjax_core.data.pipeline import GrainPipeline, create_grain_dls
from tsjax_core.data.store import find_files, open_store
from tsjax_core.directories import check_new_directory
from tsjax_core.errors import ConfigError, ConstantChannelError, DataError
from tsjax_core.experiments.components import locate_error
from tsjax_core.experiments.experiment import load_tables, parse_experiment
from tsjax_core.experiments.recipes import (
    Candidate,
    Recipe,
    Tried,
    check_recipe,
    explain_absent,
    plan_candidates,
    try_candidates,
)


def fit_files(
    files: Sequence[Path],
    u: Sequence[str],
    y: Sequence[str],
    out: Path,
    console: Console,
    *,
    recipe: Recipe = "auto",
    seconds: float = 60.0,
    data: dict[str, Any] | None = None,
) -> Tried:
    """Train the models of a recipe on measured files, print how good they are, and keep all.

    Each candidate is a run in its own directory of `out`, whose experiment can be edited. The best
    has the least loss on the validation part; the test decides nothing.

    Args:
        files: HDF5 or CSV files, or one directory.
        u: Input signals.
        y: Output signals.
        out: New directory.
        console: Where the table is printed.
        recipe: fast (a linear and a nonlinear state space in a quarter of the time), accurate (the
            same in all of it), or auto (these and a GRU).
        seconds: Time for training, shared by the candidates.
        data: Further options of `create_grain_dls`, such as dt, time or split.

    Raises:
        RunDirectoryError: `out` exists and is not empty.
        ConfigError, DataError: The options or the files are wrong; nothing has been written then.
        TrainingError: No candidate could be trained.
    """
    check_recipe(recipe, seconds)
    check_new_directory(out)
    paths = [str(path.absolute()) for path in files]
    # A gap cuts a record; nothing is joined over it.
    options = {"valid": "files", "gaps": "split", **(data or {})}
    options |= {"dataset": paths[0] if len(paths) == 1 else paths, "u": list(u), "y": list(y)}
    return _follow_recipe(options, [], out, console, recipe, seconds)


def train_by_recipe(
    file: Path,
    changes: Sequence[str],
    out: Path,
    console: Console,
    *,
    recipe: Recipe = "auto",
    seconds: float = 60.0,
) -> Tried:
    """Train the models of a recipe on the data of an experiment.

    The recipe chooses windows, training and polish. A model that the experiment has is trained as
    the experiment says, and compared with them.

    Raises:
        RunDirectoryError, ConfigError, DataError, TrainingError: As of `fit_files`.
    """
    check_recipe(recipe, seconds)
    check_new_directory(out)
    tables = load_tables(file, changes)
    own = []
    if "model" in tables:
        experiment = parse_experiment(tables, file=file)
        own = [Candidate("experiment", experiment, "as the experiment says")]
    # Any model serves for reading the table of the data.
    given = {"data": tables.get("data", {}), "model": {"name": "core/linear"}}
    data = {"valid": "files", **parse_experiment(given, file=file).data}
    return _follow_recipe(data, own, out, console, recipe, seconds)


def _follow_recipe(
    data: dict[str, Any],
    own: Sequence[Candidate],
    out: Path,
    console: Console,
    recipe: Recipe,
    seconds: float,
) -> Tried:
    """Plan, train and judge the candidates of a recipe, and those of one's own."""
    pipeline = _read(data, console)
    console.print(_describe(pipeline))
    candidates = [*plan_candidates(pipeline, data, recipe, seconds), *own]
    tried = try_candidates(candidates, out, console)
    for sentence in explain_absent(pipeline, recipe):
        console.print(sentence)
    console.print("Try next:")
    for command in (
        f"report {shlex.quote(str(out / tried.best))}",
        f"predict {shlex.quote(str(out / tried.best))} FILE",
    ):
        console.print(f"  tsjax {command}")
    return tried


def _read(data: dict[str, Any], console: Console) -> GrainPipeline:
    """Return the data, and take the level off signals that hardly vary beside it.

    What is taken off is added to the options `data`, from which the candidates are planned.
    """
    for path in _described_files(data):
        console.print(path)
    for _ in range(len(data["u"]) + len(data["y"]) + 1):
        taken = dict(data.get("offsets") or {})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LevelWarning)
                pipeline = create_grain_dls(**{**data, "win_sz": 1, "stp_sz": 1})
        except ConfigError as error:
            raise locate_error(error, "data", None) from error
        except ConstantChannelError as error:
            if error.level is None or error.signal is None or error.signal in taken:
                raise
            levels = {error.signal: error.level}
        else:
            found = find_levels(pipeline.signals).items()
            levels = {name: level for name, level in found if name not in taken}
            if not levels:
                return pipeline
        data["offsets"] = {**taken, **levels}
        for name, level in levels.items():
            console.print(f"{name}: its level of {level:.9g} is taken off (offsets in [data])")
    raise AssertionError("each signal is taken off once")


def _described_files(data: Mapping[str, Any]) -> list[str]:
    """Return how the first CSV file is read, a line or none."""
    dataset = data["dataset"]
    try:
        paths = find_files(dataset)
    except DataError:
        return []
    own = ("delimiter", "decimal", "skip_rows", "time", "time_unit", "gaps", "offsets")
    store = open_store(paths, **{key: data[key] for key in own if data.get(key) is not None})
    if not isinstance(store, CSVStore):
        return []
    return [f"{paths[0].name}: {store.describe(paths[0])}"]


def _describe(pipeline: GrainPipeline) -> str:
    """Return what was read, without the windows, which are not chosen yet."""
    lines = pipeline.summary().splitlines()
    whole = (re.sub(r"\s+\d+ windows? of 1$", "", line) for line in lines if "batches" not in line)
    return "\n".join(whole)
