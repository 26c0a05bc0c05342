"""One sample at a time: microseconds per step of a GRU with linear output.

tsjax by `Simulator.step`, from a NumPy array to a NumPy array; torch by `nn.GRUCell` and
`nn.Linear` without gradients, from a tensor to a tensor.
"""

import argparse

from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.report import Table


def parser() -> argparse.ArgumentParser:
    command = parser_of("streaming_step", __doc__)
    command.add_argument("--hidden", type=count, default=64, help="units")
    return command


def main(options: argparse.Namespace) -> None:
    meeting = Meeting(options, contenders(options, ("tsjax", "torch")))
    table = Table("streaming step", "us", meeting.names, more=False)
    task = {"task": "streaming_step", "hidden": options.hidden, "seconds": options.seconds}
    label = f"gru {options.hidden}"
    table.row(label, meeting.turns(label, task), meeting.lacking)
    meeting.close()
