"""A contender's side of the turns: a task is read, prepared, and measured whenever asked.

The parent writes a line of JSON, the task and its options, and then a line for each turn. The
answers are lines of JSON too: what the contender runs on once it is ready, then a figure a turn.
Only the standard library is used: the contenders' environments have nothing else in common.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

Measure = Callable[[], Any]


class Missing(Exception):  # noqa: N818 - it is no failure of the contender
    """What the task needs does not exist in this contender; the text says what."""


def serve(tasks: Mapping[str, Callable[..., Measure]], libraries: tuple[str, ...]) -> None:
    """Answer the parent on standard output until it closes standard input.

    Each of `tasks` prepares a measurement, compiles and warms up, and returns it. Whatever
    libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    options = json.loads(sys.stdin.readline())
    try:
        measure = tasks[options.pop("task")](**options)
    except Missing as reason:
        print(json.dumps({"missing": str(reason)}), file=answers)
        return
    versions = {"python": platform.python_version()} | {name: version(name) for name in libraries}
    print(json.dumps({"versions": versions}), file=answers)
    for _ in sys.stdin:
        print(json.dumps({"figure": measure()}), file=answers)


def rate(work: Callable[[], int], seconds: float) -> float:
    """Return what `work` does in a second; it is called until `seconds` are over."""
    begin = time.perf_counter()
    done = work()
    while time.perf_counter() - begin < seconds:
        done += work()
    return done / (time.perf_counter() - begin)


def peak_memory() -> float:
    """Return the most memory that this process had resident, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
