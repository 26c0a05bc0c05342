"""Most resident memory of a training run of a GRU in the base case, in MB.

Each round is a new process: it imports, reads the data, and trains for a second.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, contenders, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("memory", __doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="of training data")
    parser.add_argument("--case", choices=CASES, default="base")
    parser.add_argument("--steps", type=int, help="batches in an epoch, instead of the case's")
    options = parser.parse_args(arguments)
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
