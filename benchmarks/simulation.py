"""Simulation of a long record from zero state: samples per second of a GRU with linear output.

tsjax by `predict`, TSFast by its `InferenceWrapper`, both NumPy in and NumPy out; torch by
`nn.GRU` and `nn.Linear` without gradients.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def parser() -> argparse.ArgumentParser:
    command = parser_of("simulation", __doc__)
    command.add_argument("--samples", type=count, default=100_000, help="of the record")
    command.add_argument("--hidden", type=count, default=64, help="units")
    return command


def main(options: argparse.Namespace) -> None:
    meeting = Meeting(options, contenders(options, ("tsjax", "tsfast", "torch")))
    table = Table("simulation", "samples/s", meeting.names)
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "task": "simulation",
            "data": str(write_signals(Path(folder), samples=4000)),
            "hidden": options.hidden,
            "samples": options.samples,
            "seconds": options.seconds,
        }
        label = f"gru {options.hidden}, {options.samples} samples"
        table.row(label, meeting.turns(label, task), meeting.lacking)
    meeting.close()
