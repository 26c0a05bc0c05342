"""Simulation of a long record from zero state: samples per second of a GRU with linear output.

tsjax by `predict`, TSFast by its `InferenceWrapper`, both NumPy in and NumPy out; torch by
`nn.GRU` and `nn.Linear` without gradients.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Meeting, contenders, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("simulation", __doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="of the record")
    parser.add_argument("--hidden", type=int, default=64, help="units")
    options = parser.parse_args(arguments)
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
