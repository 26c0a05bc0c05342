"""Error of tsjax on measured benchmarks after a time of training, beside published figures.

Each row is `tsjax train` in a process of its own, and its time is that of the whole process.
Choices such as the kept iteration are made on validation; the test files decide nothing. The
published figures are those of the papers and of the README of the data; the unit is that of the
outputs, in the row and in what stands beside it.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tomli_w

from benchmarks.contenders import count
from benchmarks.report import machine
from benchmarks.turns import ROOT, BenchmarkError

_OVERHEAD = 12.0
"""Seconds of a process beside its iterations: start, evaluation and figures."""


@dataclass(frozen=True)
class Row:
    """A model on a set of data.

    Args:
        data: Folder of the set.
        label: The model, as the table names it.
        experiment: A file of `examples/`, or None for the tables that stand here.
        changes: As of `--set`.
        seconds: Time of the process in which it is to end.
        beside: Published figures, as the table shows them.
    """

    data: str
    label: str
    experiment: str | None
    changes: tuple[str, ...]
    seconds: float
    beside: str


_SILVERBOX = (
    "multisine 0.301 mV, full arrow 0.26, the other arrow 0.259 (published best); 0.33, 1.31, 0.30 "
    "(TSFast)"
)
_HAMMERSTEIN = "0.241 mV (SUBNET), 0.42 (PNLSS), 0.452 (dynoNet), 3.46 (TSFast in 60 s)"
_NEURAL = ("model.name=ss/neural",)

ROWS = (
    Row("silverbox", "ss/neural, 12 tanh units", "silverbox_state_space.toml",
        ("model.features=tanh", "model.hidden_size=12"), 60, _SILVERBOX),
    Row("silverbox", "ss/neural, cubic monomials", "silverbox_state_space.toml",
        (), 60, _SILVERBOX),
    Row("wiener_hammerstein", "ss/wiener_hammerstein", "wiener_hammerstein_state_space.toml",
        (), 60, _HAMMERSTEIN),
    Row("wiener_hammerstein", "ss/neural, 16 units", "wiener_hammerstein_state_space.toml",
        (*_NEURAL, "model.hidden_size=16"), 180, _HAMMERSTEIN),
    Row("wiener_hammerstein", "ss/neural, 24 units", "wiener_hammerstein_state_space.toml",
        (*_NEURAL, "model.hidden_size=24"), 600, _HAMMERSTEIN),
    Row("cascaded_tanks", "ss/neural, 4 starts", None,
        (*_NEURAL, "model.order=2", "model.hidden_size=8", "polish.starts=4"), 60,
        "0.191 (grey box), 0.306 (continuous-time SUBNET)"),
    Row("industrial_robot", "core/linear", None, ("model.name=core/linear",), 60, "none known"),
    Row("industrial_robot", "ss/neural, 12 units", None,
        (*_NEURAL, "model.order=12", "model.hidden_size=12"), 60, "none known"),
    Row("actuator", "core/linear", None, ("model.name=core/linear",), 60, "0.99 (ARX)"),
    Row("dryer", "core/linear", None, ("model.name=core/linear",), 60, "0.119 (ARX)"),
    Row("ballbeam", "core/linear", None, ("model.name=core/linear",), 60, "none known"),
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--data", type=Path, required=True, help="folder with one for each set")
    command.add_argument("--sets", nargs="+", help="only these sets")
    command.add_argument("--seeds", type=count, default=3, help="trainings of each row")
    command.add_argument(
        "--most-seconds", type=float, default=180.0, help="leave rows out that take longer"
    )
    return command


def main(options: argparse.Namespace) -> None:
    asked = options.sets or [row.data for row in ROWS]
    rows = [row for row in ROWS if row.data in asked and row.seconds <= options.most_seconds]
    if not rows:
        known = ", ".join(dict.fromkeys(row.data for row in ROWS))
        raise BenchmarkError(f"no row is left; --sets are {known}.")
    for row in rows:
        if not (options.data / row.data).is_dir():
            raise BenchmarkError(f"there is no folder {options.data / row.data}; see --data.")
    print(machine())
    print(f"RMSE of each test file: median of {options.seeds} seeds, in brackets their range")
    for row in rows:
        print(f"\n{row.data}, {row.label}, {row.seconds:g} s; beside: {row.beside}", flush=True)
        print("\n".join(measure(row, options.data, range(options.seeds))), flush=True)


def measure(row: Row, data: Path, seeds: Sequence[int]) -> list[str]:
    """Train a row with each seed, and return its lines."""
    errors: dict[str, list[float]] = {}
    spent = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            train(row, data / row.data, seed, Path(folder))
            spent.append(time.perf_counter() - begin)
            with (Path(folder) / "run" / "report" / "scores.csv").open(encoding="utf-8") as stream:
                for line in csv.DictReader(stream):
                    if line["output"] == "baseline" or not line["rmse"]:
                        continue
                    name = " ".join(filter(None, (line["file"], line["output"])))
                    errors.setdefault(name, []).append(float(line["rmse"]))
    lines = [
        f"  {name:42} {median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
        for name, values in errors.items()
    ]
    return [*lines, f"  {'seconds of the process':42} {median(spent):.0f}"]


def train(row: Row, data: Path, seed: int, folder: Path) -> None:
    """Run `tsjax train` for a row."""
    file = ROOT / "examples" / row.experiment if row.experiment else folder / "experiment.toml"
    if row.experiment is None:
        file.write_text(tomli_w.dumps(tables(data)), encoding="utf-8")
    changes = [
        f"data.dataset={data.absolute()}",
        f"polish.seconds={row.seconds - _OVERHEAD:g}",
        f"train.seed={seed}",
        *row.changes,
    ]
    program = "from tsjax_core.cli import main; main()"
    command = [sys.executable, "-c", program, "train", str(file), "--out"]
    command += [str(folder / "run"), *(x for change in changes for x in ("--set", change))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{row.data}, {row.label}: {done.stderr.strip()}")


def tables(data: Path) -> dict[str, object]:
    """Return an experiment on the signals u... and y... of a set."""
    import h5py

    with h5py.File(next(iter(sorted((data / "train").iterdir())))) as file:
        names = sorted(file)
    u, y = ([name for name in names if name.startswith(letter)] for letter in "uy")
    return {
        "data": {"dataset": str(data), "u": u, "y": y, "valid": "files"},
        "model": {"name": "core/linear"},
        "train": {
            "epochs": 0,
            "initial_state": "window",
            "init_samples": 50,
            "metrics": ["core/rmse", "core/fit_percent"],
        },
        "polish": {"patience": 40},
    }
