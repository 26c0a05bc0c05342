"""From the start of a process to the end of its first epoch, in seconds.

The case, as a new user has it: 100 000 samples in HDF5 files, a GRU of 64 units, and one epoch of
20 batches of 64 windows of 200 samples. Each round is a new process that imports, opens the data,
computes their statistics, builds the model, compiles, trains the epoch and validates on 2000
samples; its time is that from its start to the end of `fit`.

The first process of each contender is not counted. It leaves what later ones need not do again:
bytecode, the files in the system's cache, and the compiled programs of tsjax, which its command
line keeps likewise, here in a directory that the benchmark removes.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, compiled_programs, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals

_STEPS = 20


def parser() -> argparse.ArgumentParser:
    command = parser_of("startup", __doc__, seconds=None)
    command.add_argument("--samples", type=count, default=100_000, help="of training data")
    command.add_argument(
        "--case", choices=CASES, default="base", help="other sizes, in epochs of 20 batches"
    )
    return command


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, *others = contenders(options, ("tsjax", "tsfast"))
        ours = replace(ours, environment={**ours.environment, **compiled_programs(Path(folder))})
        meeting = Meeting(options, [ours, *others])
        table = Table("start to the end of the first epoch", "s", meeting.names, more=False)
        data = str(write_signals(Path(folder) / "data", samples=options.samples))
        case = replace(CASES[options.case], steps=_STEPS)
        task = {"task": "startup", "cell": "gru", "data": data, **case.options()}
        label = f"gru {options.case}"
        table.row(label, meeting.starts(label, task), meeting.lacking)
    meeting.close()
