"""What a checkpoint after every epoch costs, and how long it takes to resume.

Learners train in turn in one process, without checkpoints and with them; printed
are the median epochs of each and their difference as a share of the epoch without.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.contenders import count
from benchmarks.report import machine, told_versions
from tsjax_core import Checkpoints, GrainPipeline, Learner, create_grain_dls, make_learner
from tsjax_core.data.simulated import write_duffing

SIZES = ((16, 2_000), (64, 8_000), (64, 40_000))
"""Hidden units of a GRU, and samples of training data."""

LEARNERS = 3
"""Learners of each kind, and so runs of epochs without and with checkpoints."""

_SETTLING = 2
"""Epochs of each learner that compile and are not counted."""


def seconds_of_epochs(learner: Learner, folder: Path | None, rounds: int) -> list[float]:
    """Return the time from one result to the next, as the loop sees it."""
    results = learner.fit_iter(rounds + _SETTLING, lr=1e-3)
    if folder is not None:
        results = Checkpoints(folder).follow(results, learner)
    moments = [time.perf_counter()]
    moments += [time.perf_counter() for _ in results]
    return [after - before for before, after in pairwise(moments)][_SETTLING:]


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks checkpoints",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--rounds", type=count, default=40, help="epochs of each learner")
    command.add_argument(
        "--size",
        nargs=2,
        type=count,
        metavar=("HIDDEN", "SAMPLES"),
        help="units of a GRU and samples of training data, instead of three such sizes",
    )
    return command


def main(options: argparse.Namespace) -> None:
    print(
        f"{'hidden':>6} {'samples':>8} {'plain ms':>9} {'saved ms':>9} {'share':>7} {'resume':>8}"
    )
    for hidden_size, n in [options.size] if options.size else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = write_duffing(Path(folder) / "data", n_train=1, n=n)
            data = create_grain_dls(["u"], ["y"], path, win_sz=200, stp_sz=20, bs=64)

            def learners(
                data: GrainPipeline = data, hidden_size: int = hidden_size
            ) -> Iterator[Learner]:
                while True:
                    yield make_learner(data, "core/gru", hidden_size=hidden_size)

            new = learners()
            plain, saved = [], []
            for pair in range(LEARNERS):
                plain += seconds_of_epochs(next(new), None, options.rounds)
                saved += seconds_of_epochs(
                    next(new), Path(folder) / f"checkpoints-{pair}", options.rounds
                )
            fresh = next(new)
            begin = time.perf_counter()
            fresh.resume(Path(folder) / "checkpoints-0")
            resumed = time.perf_counter() - begin
        without, with_ = median(plain), median(saved)
        print(
            f"{hidden_size:6} {n:8} {1e3 * without:9.1f} {1e3 * with_:9.1f} "
            f"{with_ / without - 1:7.1%} {1e3 * resumed:5.0f} ms"
        )
    libraries = ("tsjax-core", "jax", "flax", "orbax-checkpoint")
    told = told_versions({"tsjax": {name: version(name) for name in libraries}})
    print(f"\n{machine()}\n{told}\nrounds: {options.rounds}")
