"""Many models of one shape: windows per second of all, trained together and one after the other.

Members that are trained together are spread over two devices, as which the cores count. One after
the other, each is trained on one device, and for comparison on two. Measured twice: with learners
that are trained on and on, and with new ones each time, which have to be built and whose programs
come from a cache of compiled ones.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import Meeting, compiled_programs, contenders, count, parser_of
from benchmarks.report import Table
from benchmarks.signals import write_signals
from benchmarks.turns import THREADS, Contender


def parser() -> argparse.ArgumentParser:
    command = parser_of("population", __doc__, seconds=None)
    command.add_argument("--members", type=count, default=16, help="models")
    command.add_argument("--hidden", type=count, default=32, help="units of each")
    command.add_argument("--batch", type=count, default=16, help="windows in a batch")
    command.add_argument("--window", type=count, default=100, help="samples in a window")
    command.add_argument("--steps", type=count, default=32, help="batches in an epoch")
    command.add_argument("--epochs", type=count, default=10, help="of each fit")
    return command


def main(options: argparse.Namespace) -> None:
    (ours,) = contenders(options, ("tsjax",))
    with tempfile.TemporaryDirectory() as folder:
        data = str(write_signals(Path(folder) / "data", samples=50_000))
        ours = replace(ours, environment={**ours.environment, **compiled_programs(Path(folder))})
        _measure(options, ours, data)


def _measure(options: argparse.Namespace, ours: Contender, data: str) -> None:
    two = {**ours.environment, "XLA_FLAGS": f"--xla_force_host_platform_device_count={THREADS}"}
    ways = {
        "together": {"together": True, "devices": THREADS},
        "in sequence": {"together": False, "devices": 1},
        f"in sequence on {THREADS}": {"together": False, "devices": THREADS},
    }
    meeting = Meeting(
        options,
        [
            replace(
                ours,
                name=name,
                options=way,
                environment=two if way["devices"] > 1 else ours.environment,
            )
            for name, way in ways.items()
        ],
    )
    table = Table(f"{options.members} models", "windows/s of all", list(ways))
    names = ("members", "hidden", "batch", "window", "steps", "epochs")
    task = {"task": "population"} | {name: getattr(options, name) for name in names}
    for label, fresh in (("trained on", False), ("new learners", True)):
        name = f"gru {options.hidden}, {label}"
        table.row(name, meeting.turns(name, {**task, "data": data, "fresh": fresh}))
    meeting.close()
