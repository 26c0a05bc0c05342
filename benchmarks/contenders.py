"""Who takes part, and the options that the commands share."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import machine, told_versions
from benchmarks.turns import BenchmarkError, Contender, Worker, take_turns, tell, workers

INSTALL = (
    "python3 -m venv peers && peers/bin/pip install torch==2.13.0 tsfast==0.5.0\n"
    "then give --peers peers, or set TSJAX_PEERS"
)
ABSENT = "not installed"

# Large temporaries then come from memory that the process has, and not from the system anew.
_TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


def count(text: str) -> int:
    """Return the whole number in an argument, such as 64 or 1e6, at least 1."""
    if (value := float(text)) < 1 or value % 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(value)


def parser_of(
    name: str, doc: str | None, *, rounds: int | None = 5, seconds: float | None = 1.0
) -> argparse.ArgumentParser:
    """Return a parser with the options that commands share; None leaves an option out."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # `all` hands its options on: an abbreviation would not mean the same to every command.
        allow_abbrev=False,
    )
    parser.add_argument("--peers", help="environment of the peers; TSJAX_PEERS if not given")
    if rounds is not None:
        parser.add_argument("--rounds", type=count, default=rounds, help="turns of each contender")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help="of each turn")
    parser.add_argument(
        "--allocator",
        choices=("default", "tuned"),
        default="default",
        help="tuned: glibc keeps large blocks, in every process",
    )
    return parser


def contenders(options: argparse.Namespace, names: Sequence[str]) -> list[Contender]:
    """Return those of `names` in this order: tsjax, flax, tsfast, torch.

    Raises:
        BenchmarkError: The environment of the peers that was given is none.
    """
    environment = allocator(options)
    peers, present = _peers(options.peers)
    found = []
    for name in names:
        own = name in ("tsjax", "flax")
        python = Path(sys.executable) if own else peers if name in present else None
        found.append(Contender(name, python, f"{name}_worker", environment))
    return found


def allocator(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the variables of the memory allocator that was chosen."""
    return _TUNED if options.allocator == "tuned" else {}


def compiled_programs(folder: Path) -> Mapping[str, str]:
    """Return the variables by which jax keeps all compiled programs in `folder`."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _peers(given: str | None) -> tuple[Path | None, frozenset[str]]:
    """Return the interpreter of the peers, and which of them it has."""
    given = given or os.environ.get("TSJAX_PEERS")
    if not given:
        return None, frozenset()
    # Not resolved: the path tells the interpreter which environment it belongs to.
    folder = Path(given).absolute()
    places = (folder / "bin" / "python", folder / "Scripts" / "python.exe")
    python = next((place for place in places if place.exists()), None)
    if python is None:
        raise BenchmarkError(f"{given} holds no Python environment. Make one:\n{INSTALL}")
    question = (
        "import importlib.util as u, json;"
        "print(json.dumps([n for n in ('torch', 'tsfast') if u.find_spec(n)]))"
    )
    try:
        told = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(
            f"{python} does not run ({error}). Make it anew:\n{INSTALL}"
        ) from error
    return python, frozenset(json.loads(told.stdout))


class Meeting:
    """Turns of several contenders at several tasks, and what all of them ran on."""

    def __init__(self, options: argparse.Namespace, contenders: Sequence[Contender]) -> None:
        self.rounds: int = options.rounds
        self.allocator: str = options.allocator
        self.contenders = list(contenders)
        self.versions: dict[str, dict[str, str]] = {}
        self.reasons: dict[str, str] = {}
        self.lacking = {each.name: ABSENT for each in contenders if each.python is None}

    @property
    def names(self) -> list[str]:
        """Names of all contenders, whether they are installed or not."""
        return [each.name for each in self.contenders]

    def turns(self, label: str, task: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the figures of all rounds of one task, in processes that all rounds share."""
        tell(f"{label}: starting")
        with workers(self.contenders, task) as (ready, missing):
            self.reasons |= missing
            self._note(ready)
            return take_turns({n: w.measure for n, w in ready.items()}, self.rounds, label)

    def fresh(
        self, label: str, task: Mapping[str, Any], rounds: int | None = None
    ) -> dict[str, list[Any]]:
        """Return the figures of all rounds of one task, in a new process each time."""
        return self._one_by_one(label, task, Worker.measure, rounds or self.rounds)

    def starts(self, label: str, task: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the seconds until a new process is ready, of all rounds but a first one."""

        def seconds(worker: Worker) -> float:
            return worker.seconds_to_ready

        self._one_by_one(f"{label}: uncounted", task, seconds, 1)
        return self._one_by_one(label, task, seconds, self.rounds)

    def close(self) -> None:
        """Print the machine, the versions, and how those are installed who did not take part."""
        print(f"\n{machine()}\n{told_versions(self.versions)}")
        print(f"rounds: {self.rounds}, allocator: {self.allocator}")
        for name, reason in self.reasons.items():
            print(f"{name}: left out, {reason}")
        if self.lacking:
            print(f"not installed: {', '.join(self.lacking)}. Install with\n{INSTALL}")

    def _one_by_one(
        self, label: str, task: Mapping[str, Any], figure: Callable[[Worker], Any], rounds: int
    ) -> dict[str, list[Any]]:
        def measure(contender: Contender) -> Any:
            with workers([contender], task) as (ready, missing):
                self.reasons |= missing
                self._note(ready)
                return figure(ready[contender.name]) if ready else None

        present = [each for each in self.contenders if each.python is not None]
        figures = take_turns({x.name: partial(measure, x) for x in present}, rounds, label)
        return {name: each for name, each in figures.items() if name not in self.reasons}

    def _note(self, ready: Mapping[str, Worker]) -> None:
        self.versions |= {name: worker.versions for name, worker in ready.items()}
