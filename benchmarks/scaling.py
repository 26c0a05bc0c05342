"""tsjax over the size of its data: a GRU in the base case, signals in memory and from disk.

Printed are windows per second and the most resident memory. 100 000 000 samples take 0.8 GB of
disk: give --folder where they fit.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.contenders import Meeting, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals
from benchmarks.turns import tell


def parser() -> argparse.ArgumentParser:
    command = parser_of("scaling", __doc__)
    command.add_argument(
        "--sizes",
        nargs="+",
        type=count,
        default=[100_000, 1_000_000],
        help="samples of training data, such as 1e5 1e8",
    )
    command.add_argument("--folder", type=Path, help="where the data are written")
    command.add_argument("--steps", type=count, help="batches in an epoch, instead of the case's")
    return command


def main(options: argparse.Namespace) -> None:
    (ours,) = contenders(options, ("tsjax",))
    kinds = {"streamed": False, "in memory": True}
    meeting = Meeting(
        options, [replace(ours, name=n, options={"resident": r}) for n, r in kinds.items()]
    )
    case = CASES["base"]
    case = replace(case, steps=options.steps or case.steps)
    speed = Table("training over the size of the data", "windows/s", list(kinds))
    memory: dict[int, dict[str, float]] = {}
    for samples in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            tell(f"{samples} samples: writing")
            data = str(write_signals(Path(folder), samples=samples))
            task = {"task": "scaling", "cell": "gru", "data": data, **case.options()}
            label = f"{samples:.0e} samples"
            figures = meeting.turns(label, {**task, "seconds": options.seconds})
        speed.row(label, {name: [rate for rate, _ in each] for name, each in figures.items()})
        memory[samples] = {name: max(peak for _, peak in each) for name, each in figures.items()}
    table = Table("peak memory", "MB", list(kinds), more=False)
    for samples, peaks in memory.items():
        table.row(f"{samples:.0e} samples", {name: [peak] for name, peak in peaks.items()})
    meeting.close()
