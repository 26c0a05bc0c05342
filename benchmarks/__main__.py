"""Run a benchmark: `python -m benchmarks NAME [options]`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import parser_of
from benchmarks.turns import THREADS, BenchmarkError

COMMANDS = {
    "training": "windows per second of RNN, GRU, LSTM and TCN",
    "startup": "from the start of the process to the end of the first epoch",
    "data": "batches per second without training",
    "simulation": "a record of 100 000 samples",
    "streaming_step": "one sample at a time",
    "memory": "most memory of a training run",
    "scaling": "tsjax over the size of the data, in memory and from disk",
    "population": "many models at once against one after the other",
    "accuracy": "error of an experiment after a time of training",
    "published": "error on measured benchmarks beside published figures",
    "causal_convolution": "forms of a convolution against flax",
    "checkpoints": "what saving after every epoch costs",
}


def main(line: Sequence[str]) -> int:
    """Run the command that a line names first, and return the exit status."""
    name, *arguments = line or [""]
    if name not in COMMANDS and name != "all":
        listed = "\n".join(f"  {each:20} {what}" for each, what in COMMANDS.items())
        told = f"there is no benchmark {name!r}" if name else "name a benchmark"
        print(
            f"{told}; there are\n{listed}\n"
            f"  {'all':20} all but accuracy and published, which need measured data\n"
            "python -m benchmarks NAME --help tells the options.",
            file=sys.stderr,
        )
        return 2
    try:
        if name == "all":
            work = options_of_all(arguments)
        else:
            work = {name: _module(name).parser().parse_args(arguments)}
        if hasattr(os, "sched_setaffinity"):
            # Inherited by all processes that are started: the same cores for everybody.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        for each, options in work.items():
            _module(each).main(options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def options_of_all(arguments: Sequence[str]) -> dict[str, argparse.Namespace]:
    """Return the options of every command that needs no data; each has those it knows."""
    about = "All benchmarks but accuracy and published, one after the other."
    parser_of("all", about).parse_args(arguments)
    return {
        name: _module(name).parser().parse_known_args(arguments)[0]
        for name in COMMANDS
        if name not in ("accuracy", "published")
    }


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
