"""Tables of figures and ratios, and what they were measured on."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.turns import THREADS

WIDTH = 30


class Table:
    """A row per piece of work, a column per contender; rows are printed as they come.

    A contender's cell has its median figure and, but for the first, the ratio of the first
    contender's figure to its own: median and range of the rounds' ratios.
    """

    def __init__(self, title: str, unit: str, columns: Sequence[str], *, more: bool = True) -> None:
        self.columns = tuple(columns)
        self.unit = unit
        better = "more" if more else "less"
        print(f"\n{title}: {unit}, {better} is better; in brackets {columns[0]} / column")
        names = "".join(f"{name:>{WIDTH}}" for name in self.columns[1:])
        print(f"{'':28}{self.columns[0]:>12}{names}", flush=True)

    def row(
        self, label: str, figures: Mapping[str, list[float]], lacking: Mapping[str, str] = {}
    ) -> None:
        """Print a row; `lacking` has the word for contenders without figures."""
        first = figures.get(self.columns[0])
        cells = [f"{label:28}", f"{'-' if not first else _short(median(first)):>12}"]
        for name in self.columns[1:]:
            own = figures.get(name)
            cells.append(f"{_cell(first, own) if own else lacking.get(name, '-'):>{WIDTH}}")
        print("".join(cells), flush=True)


def _cell(first: list[float] | None, own: list[float]) -> str:
    told = _short(median(own))
    if not first:
        return told
    ratios = [a / b for a, b in zip(first, own, strict=True)]
    return f"{told}  [{median(ratios):.2f}, {min(ratios):.2f}..{max(ratios):.2f}]"


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.1f}"


def machine() -> str:
    """Return the processor, the cores in use and the system."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [s for s in cpuinfo.read_text().splitlines() if s.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return (
        f"{name}, {os.cpu_count()} cores of which {THREADS} are used, "
        f"{platform.system()} {platform.release()}"
    )


def told_versions(versions: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line per contender with the versions of what it runs on."""
    return "\n".join(
        f"{name}: " + ", ".join(f"{library} {number}" for library, number in each.items())
        for name, each in versions.items()
    )
