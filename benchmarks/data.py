"""The data path alone: batches per second of 64 windows of 200 samples, without training.

In memory: tsjax cuts windows of signals that are on the device; TSFast has its `cache`. Streamed:
every batch is read from the file, which is contiguous or compressed with gzip.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def parser() -> argparse.ArgumentParser:
    command = parser_of("data", __doc__)
    command.add_argument("--samples", type=count, default=100_000, help="of training data")
    command.add_argument("--steps", type=count, default=32, help="batches in an epoch")
    return command


def main(options: argparse.Namespace) -> None:
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
