"""Contenders in processes of their own, which take turns.

Whatever else the machine does meets all of them alike: in each round every contender measures the
same work for the same short time while the others wait for their turn.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

THREADS = 2
"""Threads of each contender, and cores that all of them share."""

ROOT = Path(__file__).parents[1]


class BenchmarkError(Exception):
    """A benchmark cannot be run; the text says why and what to do."""


@dataclass(frozen=True)
class Contender:
    """Who takes part: the interpreter and the module of its worker, or why it cannot.

    Args:
        name: Its column in the report.
        python: The interpreter that runs it, None where it is not installed.
        module: The module of its worker.
        environment: Variables beyond those that all contenders have.
        options: Options of its tasks, beyond those that all contenders have.
    """

    name: str
    python: Path | None
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the command of its process."""
        return [str(self.python), "-m", f"benchmarks.workers.{self.module}"]


def variables(contender: Contender) -> dict[str, str]:
    """Return the environment of a contender's process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS))
    # Bytecode is kept for all of them: some installers compile it, others leave that to Python.
    common = {**threads, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **common, **contender.environment}


class Worker:
    """The process of a contender, ready to measure once `prepared` has returned."""

    def __init__(self, contender: Contender, task: Mapping[str, Any]) -> None:
        self.name = contender.name
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            contender.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables(contender),
        )
        self._write({**task, **contender.options})

    def prepared(self) -> str | None:
        """Wait until the worker is ready; return what it lacks for the task, None if nothing."""
        answer = self._read()
        self.versions: dict[str, str] = answer.get("versions", {})
        self.seconds_to_ready = time.perf_counter() - self.begun
        missing: str | None = answer.get("missing")
        return missing

    def measure(self) -> Any:
        """Let the worker measure once and return its figure."""
        self._write("go")
        return self._read()["figure"]

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # reading tells that the process has ended

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise BenchmarkError(
                f"the process of {self.name} ended with status {status}; what it said is above."
            )
        return json.loads(line)


@contextmanager
def workers(
    contenders: list[Contender], task: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Start the workers of those who are installed; also give what any of them lacks.

    They prepare at the same time, and nobody measures meanwhile.
    """
    ready: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        started = [Worker(each, task) for each in contenders if each.python is not None]
        for worker in started:
            stack.callback(worker.stop)
        for worker in started:
            if (lacking := worker.prepared()) is None:
                ready[worker.name] = worker
            else:
                missing[worker.name] = lacking
        yield ready, missing


def take_turns(
    measurements: Mapping[str, Callable[[], Any]], rounds: int, label: str
) -> dict[str, list[Any]]:
    """Return the figures of each measurement, one a round.

    Every second round goes in reverse, so that nobody always follows the same one.
    """
    figures: dict[str, list[Any]] = {name: [] for name in measurements}
    for number in range(rounds):
        tell(f"{label}: round {number + 1} of {rounds}" if rounds > 1 else label)
        for name in list(measurements)[:: -1 if number % 2 else 1]:
            figures[name].append(measurements[name]())
    return figures


def tell(text: str) -> None:
    """Print progress on standard error."""
    print(text, file=sys.stderr, flush=True)
