"""Run a benchmark: `python -m benchmarks NAME [options]`."""

import importlib
import os
import sys

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
    "causal_convolution": "forms of a convolution against flax",
    "checkpoints": "what saving after every epoch costs",
}


def main() -> int:
    name, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name not in COMMANDS and name != "all":
        listed = "\n".join(f"  {each:20} {what}" for each, what in COMMANDS.items())
        told = f"there is no benchmark {name!r}" if name else "name a benchmark"
        print(
            f"{told}; there are\n{listed}\n"
            f"  {'all':20} all but accuracy, which needs an experiment\n"
            "python -m benchmarks NAME --help tells the options.",
            file=sys.stderr,
        )
        return 2
    if hasattr(os, "sched_setaffinity"):
        # Inherited by all processes that are started: the same cores for everybody.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    names = [name] if name != "all" else [each for each in COMMANDS if each != "accuracy"]
    try:
        for each in names:
            importlib.import_module(f"benchmarks.{each}").main(arguments)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
