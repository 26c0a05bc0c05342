"""The data path alone: batches per second of 64 windows of 200 samples, without training.

In memory: tsjax cuts windows of signals that are on the device; TSFast has its `cache`. Streamed:
every batch is read from the file, which is contiguous or compressed with gzip.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Meeting, contenders, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("data", __doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="of training data")
    parser.add_argument("--steps", type=int, default=32, help="batches in an epoch")
    options = parser.parse_args(arguments)
    meeting = Meeting(options, contenders(options, ("tsjax", "tsfast")))
    table = Table("data path", "batches/s", meeting.names)
    sizes = {"batch": 64, "window": 200, "steps": options.steps, "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("contiguous", "gzip"):
            compressed = layout == "gzip"
            data = write_signals(
                Path(folder) / layout, samples=options.samples, compressed=compressed
            )
            for resident in (True, False):
                task = {"task": "data_path", "data": str(data), "resident": resident, **sizes}
                label = f"{layout}, {'in memory' if resident else 'streamed'}"
                table.row(label, meeting.turns(label, task), meeting.lacking)
    meeting.close()
