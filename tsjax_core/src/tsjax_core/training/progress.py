"""What an epoch gave, and how a fit shows it: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)

from tsjax_core.types import HostArray

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave. `epoch` counts from 0, `seconds` is the time that it took.

    `train_loss` is the mean over the epoch's steps whose loss is finite, NaN where none is, and
    `terms` that of each named loss term. `skipped` counts the steps whose update the optimizer
    left out. `valid_loss` and `metrics` are computed on the whole validation split after the
    epoch. Terms that declare more than prediction and target are part of `valid_loss` only where
    all do. `quantities` are the physical parameters of a `MeasuringModel` after the epoch, such as
    `damping [N s/m]`. `step_losses` has the loss of every step, (steps,), finite or not. Results
    are equal if their numbers are, however long they took.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    skipped: int = 0
    quantities: Mapping[str, float] = field(default_factory=dict)
    step_losses: HostArray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def follow(
    results: Iterable[EpochResult],
    n_epochs: int | None,
    done: Callable[[], float],
    console: Console | None = None,
) -> Generator[EpochResult, None, None]:
    """Yield `results` unchanged and show how far the fit is, on standard error.

    `done` gives the share of the fit that is done, 0 to 1, at any time. Without `n_epochs` the
    results are those of iterations, whose number is not known.
    """
    steps = "iteration" if n_epochs is None else "epoch"
    total = "" if n_epochs is None else f"/{n_epochs}"
    first = 0 if n_epochs is None else 1
    console = Console(stderr=True) if console is None else console
    if not console.is_terminal:
        for result in results:
            line = f"{steps} {result.epoch + first}{total}  {describe(result)}"
            print(f"{line}  {result.seconds:.1f} s", file=sys.stderr, flush=True)  # noqa: T201
            yield result
        return
    columns = (
        TextColumn(f"{steps} {{task.fields[epoch]}}{total}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[text]}", markup=False),
        _TimeLeft(done),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0, epoch=0, text="compiling")
        for result in results:
            text = describe(result)
            bar.update(task, completed=done(), epoch=result.epoch + first, text=text)
            yield result


def describe(result: EpochResult) -> str:
    """Return losses and metrics of an epoch as one line."""
    values = {"train": result.train_loss, "valid": result.valid_loss, **result.metrics}
    texts = [f"{name} {value:.4g}" for name, value in values.items()]
    if result.skipped:
        texts.append(f"skipped {result.skipped} of {len(result.step_losses)} steps")
    return "  ".join(texts)


class _TimeLeft(ProgressColumn):
    """Moves the bar within an epoch, and gives the time left from the pace since the first steps.

    The display refreshes by itself, and asks how far the fit is when it does. Before the first
    steps are made, programs are compiled: the column then shows how long that has taken, and the
    time is no part of the pace.
    """

    def __init__(self, done: Callable[[], float]) -> None:
        super().__init__()
        self._done = done
        self._begun: float | None = None
        self._first: tuple[float, float] | None = None

    def render(self, task: Task) -> RenderableType:
        """Return the time left as text, or the time that compiling has taken."""
        done = task.completed = self._done()
        elapsed = task.elapsed or 0.0
        if done >= 1.0:
            return "0:00:00 left"
        if self._begun is None:
            self._begun = done
        if self._first is None:
            if done <= self._begun:
                return f"{timedelta(seconds=round(elapsed))} elapsed"
            self._first = elapsed, done
        begin, share = self._first
        if done <= share:
            return "-:--:-- left"
        left = (elapsed - begin) * (1.0 - done) / (done - share)
        return f"{timedelta(seconds=round(left))} left"
