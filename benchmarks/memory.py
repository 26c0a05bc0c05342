"""Most resident memory of a training run of a GRU in the base case, in MB.

Each round is a new process: it imports, reads the data, and trains for --seconds.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, contenders, count, parser_of
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
        data = str(write_signals(Path(folder), samples=options.samples))
        task = {"task": "memory", "cell": "gru", "data": data, **case.options()}
        label = f"gru {options.case}"
        figures = meeting.fresh(label, {**task, "seconds": options.seconds})
        table.row(label, figures, meeting.lacking)
    meeting.close()
