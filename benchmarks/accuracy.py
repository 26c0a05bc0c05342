"""Error of an experiment after a time of training: RMSE of the free simulation of each test file.

tsjax trains the experiment for as many epochs as fit into the budget, by its own schedule, which
ends with them. TSFast trains its own recipe on the same signals: GRU 100, windows of 200 in
batches of 64, L1, Adam 3e-3, flat-cosine. Compilation and a calibration before are not counted.
Each seed is a new process. Files are simulated from zero state, and the first --skip samples do
not count. With --steps, both make so many steps of the same batches instead.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import Meeting, contenders, parser_of
from benchmarks.turns import BenchmarkError


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("accuracy", __doc__, rounds=3, seconds=None)
    parser.add_argument("experiment", help="a TOML file, such as examples/wiener_hammerstein.toml")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training")
    parser.add_argument("--steps", type=int, help="steps of training, instead of seconds")
    parser.add_argument("--skip", type=int, default=50, help="samples that do not count")
    parser.add_argument("--set", action="append", default=[], help="as of tsjax train")
    parser.add_argument("--alone", action="store_true", help="without TSFast")
    options = parser.parse_args(arguments)
    if not Path(options.experiment).is_file():
        raise BenchmarkError(f"{options.experiment} is no file; give an experiment of tsjax.")
    meeting = Meeting(options, contenders(options, ("tsjax",) if options.alone else _BOTH))
    tasks = {"tsjax": _ours(options), "tsfast": _tsfast(options)}
    figures: dict[str, list[Any]] = {}
    for seed in range(options.rounds):
        label = f"seed {seed}, {seed + 1} of {options.rounds}"
        for name, (told,) in meeting.each(label, tasks, {"seed": seed}).items():
            figures.setdefault(name, []).append(told)
    _print(options, figures)
    meeting.close()


_BOTH = ("tsjax", "tsfast")


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "task": "accuracy",
        "file": str(Path(options.experiment).absolute()),
        "overrides": options.set,
        "skip": options.skip,
        "budget": options.budget,
        "steps": options.steps,
    }


def _tsfast(options: argparse.Namespace) -> dict[str, Any]:
    from tsjax_core.experiment import load_experiment

    data = load_experiment(options.experiment, options.set).data
    signals = {key: list(data[key]) for key in ("u", "y")}
    common = {name: getattr(options, name) for name in ("skip", "budget", "steps")}
    return {"task": "accuracy", "data": data["dataset"], **signals, **common}


def _print(options: argparse.Namespace, figures: Mapping[str, Sequence[Any]]) -> None:
    asked = f"{options.steps} steps" if options.steps else f"{options.budget:g} s"
    print(f"\nRMSE after {asked}: median over the seeds, and their range")
    for name, seeds in figures.items():
        steps, seconds = (median(told[key] for told in seeds) for key in ("steps", "seconds"))
        print(f"{name}: {steps:.0f} steps in {seconds:.1f} s")
        for file in seeds[0]["rmse"]:
            errors = sorted(told["rmse"][file] for told in seeds)
            print(f"  {file:24}{median(errors):10.4g}   {errors[0]:.4g} .. {errors[-1]:.4g}")
