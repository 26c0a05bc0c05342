"""Error of an experiment after a time of training: RMSE of the free simulation of each test file.

tsjax trains the experiment for as many epochs as fit into the budget; its schedule ends with them,
and the epoch that the experiment monitors as the best is kept. TSFast trains its own recipe on the
same signals: GRU 100, windows of 200 (or of the shortest file) in batches of 64, epochs of 50,
n_skip 50, L1, Adam 3e-3, flat-cosine. Each seed is a new process. Compilation, and the epochs by
which those of the budget are counted, come before and take none of it.

Files are simulated from zero state, and their first --skip samples do not count. The error is in
units of the outputs, over all of them. With --steps, both make so many steps of their own batches,
however long these take, in equal epochs; `--set data.bs=64 --set data.stp_sz=1` gives tsjax such
batches too.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.turns import ROOT, BenchmarkError

if TYPE_CHECKING:
    from tsjax_core.experiments.experiment import Experiment

EXPERIMENT = "examples/wiener_hammerstein.toml"
_WIDTH = 36
# What TSFast's own loaders have too, or what does not change the signals.
_COMMON = {
    "dataset", "u", "y", "win_sz", "stp_sz", "valid_stp_sz", "bs", "seed", "valid", "dt",
    "preload", "resident", "n_batches", "balance",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    command = parser_of("accuracy", __doc__, rounds=None, seconds=None)
    command.add_argument(
        "experiment",
        nargs="?",
        default=str(ROOT / EXPERIMENT),
        help=f"a TOML file as of tsjax train; {EXPERIMENT} if not given",
    )
    command.add_argument("--data", type=Path, help="data set, instead of that of the experiment")
    command.add_argument("--set", action="append", default=[], help="as of tsjax train")
    command.add_argument("--seeds", type=count, default=3, help="trainings of each contender")
    command.add_argument("--budget", type=float, default=60.0, help="seconds of training")
    command.add_argument("--steps", type=count, help="steps of training, instead of seconds")
    command.add_argument("--skip", type=int, default=50, help="samples that do not count")
    command.add_argument("--alone", action="store_true", help="without TSFast")
    return command


def main(options: argparse.Namespace) -> None:
    overrides = list(options.set)
    if options.data is not None:
        overrides.append(f"data.dataset={options.data.absolute()}")
    experiment, files = _read(options.experiment, overrides)
    common = {name: getattr(options, name) for name in ("skip", "budget", "steps")}
    ours = {"file": str(Path(options.experiment).absolute()), "overrides": overrides}
    theirs = {"data": files, "u": list(experiment.data["u"]), "y": list(experiment.data["y"])}
    tasks = {"tsjax": ours, "tsfast": theirs}
    names = ["tsjax"] if options.alone else ["tsjax", "tsfast"]
    reason = unreadable(experiment.data, files)
    present = [name for name in names if not (reason and name == "tsfast")]
    options.rounds = options.seeds
    found = [replace(each, options=tasks[each.name]) for each in contenders(options, present)]
    meeting = Meeting(options, found)
    if reason and not options.alone:
        meeting.reasons["tsfast"] = reason
    figures: dict[str, list[Mapping[str, Any]]] = {}
    for seed in range(options.seeds):
        task = {"task": "accuracy", "seed": seed, **common}
        label = f"seed {seed + 1} of {options.seeds}"
        for name, told in meeting.fresh(label, task, rounds=1).items():
            figures.setdefault(name, []).extend(told)
    asked = f"{options.steps} steps" if options.steps else f"{options.budget:g} s of training"
    print(f"\nRMSE after {asked}: median of {options.seeds} seeds, in brackets their range")
    print("\n".join(rows(figures)))
    meeting.close()


def _read(file: str, overrides: Sequence[str]) -> "tuple[Experiment, dict[str, list[str]]]":
    """Return the experiment and the files of each split of its data."""
    from tsjax_core.data.store import check_split_files, find_split_files
    from tsjax_core.errors import TsjaxError
    from tsjax_core.experiments.experiment import load_experiment

    if not Path(file).is_file():
        raise BenchmarkError(f"{file} is no file; give an experiment of tsjax.")
    try:
        experiment = load_experiment(file, overrides)
        dataset = experiment.data["dataset"]
        find = check_split_files if isinstance(dataset, Mapping) else find_split_files
        files = {split: [str(p) for p in paths] for split, paths in find(dataset).items()}
    except TsjaxError as error:
        raise BenchmarkError(str(error)) from error
    return experiment, files


def unreadable(data: Mapping[str, Any], files: Mapping[str, Sequence[str]]) -> str | None:
    """Return why TSFast has not the same signals from the table [data], None if it has."""
    if more := sorted(set(data) - _COMMON):
        return f"it has no same signals where [data] has {', '.join(more)}"
    if columns := [name for name in (*data["u"], *data["y"]) if ":" in name]:
        return f"it has no columns of data sets, such as {columns[0]}"
    if any(path.endswith(".csv") for path in files["test"]):
        return "it reads HDF5 files, and these are CSV"
    return None


def rows(figures: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the lines of a table: contenders in columns, then steps, seconds and each file.

    Each of the figures is what one seed gave: `rmse` by file, `steps` and `seconds`.
    """
    files = list(
        dict.fromkeys(f for seeds in figures.values() for told in seeds for f in told["rmse"])
    )
    lines = [f"{'':24}" + "".join(f"{name:>{_WIDTH}}" for name in figures)]
    for name in ("steps", "seconds"):
        cells = (_cell([told[name] for told in seeds]) for seeds in figures.values())
        lines.append(f"{name:24}" + "".join(cells))
    for file in files:
        cells = (_cell([told["rmse"][file] for told in seeds]) for seeds in figures.values())
        lines.append(f"{file:24}" + "".join(cells))
    return lines


def _cell(values: Sequence[float]) -> str:
    lowest, middle, highest = (_told(x) for x in (min(values), median(values), max(values)))
    return f"{f'{middle}  [{lowest} .. {highest}]':>{_WIDTH}}"


def _told(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
