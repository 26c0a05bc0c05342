"""Training: windows per second of RNN, GRU, LSTM and TCN.

tsjax and TSFast train real epochs through their learners, on the same files; torch and flax run a
hand-written loop over batches that are made before. Without --cells and --cases: every cell in
the case base, and the GRU in all cases.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES, CELLS
from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals


def parser() -> argparse.ArgumentParser:
    command = parser_of("training", __doc__)
    command.add_argument("--cells", nargs="+", choices=CELLS)
    command.add_argument("--cases", nargs="+", choices=CASES)
    command.add_argument("--samples", type=count, default=100_000, help="of training data")
    command.add_argument("--steps", type=count, help="batches in an epoch, instead of the case's")
    command.add_argument("--devices", type=count, default=1, help="of tsjax, as which cores count")
    return command


def main(options: argparse.Namespace) -> None:
    if options.cells or options.cases:
        work = [(cell, c) for c in options.cases or ["base"] for cell in options.cells or CELLS]
    else:
        work = [(cell, "base") for cell in CELLS] + [("gru", c) for c in CASES if c != "base"]

    taking_part = contenders(options, ("tsjax", "tsfast", "torch", "flax"))
    if options.devices > 1:
        ours = taking_part[0]
        flag = f"--xla_force_host_platform_device_count={options.devices}"
        taking_part[0] = replace(
            ours,
            environment={**ours.environment, "XLA_FLAGS": flag},
            options={"devices": options.devices},
        )
    meeting = Meeting(options, taking_part)
    table = Table("training", "windows/s", meeting.names)
    with tempfile.TemporaryDirectory() as folder:
        data = write_signals(Path(folder), samples=options.samples)
        for cell, name in work:
            case = CASES[name]
            case = replace(case, steps=options.steps or case.steps)
            task = {"task": "training", "cell": cell, "data": str(data), **case.options()}
            label = f"{cell} {name}"
            figures = meeting.turns(label, {**task, "seconds": options.seconds})
            table.row(label, figures, meeting.lacking)
    meeting.close()
