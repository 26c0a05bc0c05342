"""Who takes part, and the options that the commands share."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


def parser_of(
    name: str, doc: str | None, *, rounds: int = 5, seconds: float | None = 1.0
) -> argparse.ArgumentParser:
    """Return a parser with the options that all commands share."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", help="environment of the peers; TSJAX_PEERS if not given")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each contender")
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
    told = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    return python, frozenset(json.loads(told.stdout))


class Meeting:
    """Turns of several contenders at several tasks, and what all of them ran on."""

    def __init__(self, options: argparse.Namespace, contenders: Sequence[Contender]) -> None:
        self.rounds: int = options.rounds
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

    def fresh(self, label: str, task: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the figures of all rounds of one task, in a new process each time."""
        present = [each for each in self.contenders if each.python is not None]

        def measure(contender: Contender) -> Any:
            with workers([contender], task) as (ready, _):
                self._note(ready)
                return ready[contender.name].measure()

        calls = {each.name: (lambda each=each: measure(each)) for each in present}
        return take_turns(calls, self.rounds, label)

    def each(
        self, label: str, tasks: Mapping[str, Mapping[str, Any]], more: Mapping[str, Any]
    ) -> dict[str, list[Any]]:
        """Return a figure of each contender at its own of `tasks`, in a new process each."""
        present = [each for each in self.contenders if each.python is not None]

        def measure(contender: Contender) -> Any:
            with workers([contender], {**tasks[contender.name], **more}) as (ready, _):
                self._note(ready)
                return ready[contender.name].measure()

        return take_turns({x.name: (lambda x=x: measure(x)) for x in present}, 1, label)

    def starts(self, label: str, task: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the seconds until a new process is ready, of all rounds but a first one."""
        present = [each for each in self.contenders if each.python is not None]

        def measure(contender: Contender) -> float:
            with workers([contender], task) as (ready, _):
                self._note(ready)
                return ready[contender.name].seconds_to_ready

        for contender in present:
            tell(f"{label}: {contender.name} starts for the first time")
            measure(contender)
        return take_turns({x.name: (lambda x=x: measure(x)) for x in present}, self.rounds, label)

    def close(self) -> None:
        """Print the machine, the versions, and how those are installed who did not take part."""
        print(f"\n{machine()}, {self.rounds} rounds\n{told_versions(self.versions)}")
        for name, reason in self.reasons.items():
            print(f"{name}: left out, {reason}")
        if self.lacking:
            print(f"not installed: {', '.join(self.lacking)}. Install with\n{INSTALL}")

    def _note(self, ready: Mapping[str, Worker]) -> None:
        self.versions |= {name: worker.versions for name, worker in ready.items()}
