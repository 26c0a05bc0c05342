"""Most resident memory of a training run of a GRU in the base case, in MB.

Each round is a new process: it imports, reads the data, and trains for --seconds. Measured twice:
in a first run, in which tsjax compiles, and in later ones, whose programs come from the directory
in which its command line keeps them.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, compiled_programs, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def parser() -> argparse.ArgumentParser:
    command = parser_of("memory", __doc__)
    command.add_argument("--samples", type=count, default=100_000, help="of training data")
    command.add_argument("--case", choices=CASES, default="base")
    command.add_argument("--steps", type=count, help="batches in an epoch, instead of the case's")
    return command


def main(options: argparse.Namespace) -> None:
    meeting = Meeting(options, contenders(options, ("tsjax", "tsfast")))
    table = Table("peak memory", "MB", meeting.names, more=False)
    case = CASES[options.case]
    case = replace(case, steps=options.steps or case.steps)
    with tempfile.TemporaryDirectory() as folder:
        data = str(write_signals(Path(folder) / "data", samples=options.samples))
        task = {"task": "memory", "cell": "gru", "data": data, **case.options()}
        task["seconds"] = options.seconds
        first, later = f"gru {options.case}, first run", f"gru {options.case}, later runs"
        table.row(first, meeting.fresh(first, task), meeting.lacking)
        ours, *others = meeting.contenders
        kept = {**ours.environment, **compiled_programs(Path(folder))}
        meeting.contenders = [replace(ours, environment=kept), *others]
        meeting.fresh(f"{later}: uncounted", task, rounds=1)
        table.row(later, meeting.fresh(later, task), meeting.lacking)
    meeting.close()
