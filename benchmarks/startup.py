"""From the start of a process to the end of its first epoch, in seconds.

Each round is a new process that imports, opens the data, builds a GRU in the base case, trains an
epoch of 20 batches and validates. The first process of each contender is not counted: it leaves
what later ones need not do again, tsjax its compiled programs in a directory of its own, as the
command line of tsjax keeps them.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, compiled_programs, contenders, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals

_STEPS = 20


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("startup", __doc__, seconds=None)
    parser.add_argument("--samples", type=int, default=100_000, help="of training data")
    parser.add_argument("--case", choices=CASES, default="base")
    options = parser.parse_args(arguments)
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
